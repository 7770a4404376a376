//! Errors of requests without a whole response, and addresses as text.

use reqwest::Url;

use super::error::RegistryErrorKind;
pub(super) use crate::http::authority;
use crate::http::{BodyError, TransportError};

/// The most bytes that are read of an error response.
pub(super) const ERROR_MAX_BYTES: u64 = 64 * 1024;

/// Returns an address that is safe to print. The query of a storage's address is a signature, and that of a realm may
/// be anything.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

pub(super) fn broken(url: &Url, source: BodyError) -> RegistryErrorKind {
    RegistryErrorKind::Body {
        host: authority(url),
        source,
    }
}

pub(super) fn unreachable(url: &Url, error: TransportError) -> RegistryErrorKind {
    RegistryErrorKind::Unreachable {
        host: authority(url),
        error,
    }
}
