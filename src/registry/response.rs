//! A response of a registry, and the errors of requests without one.

use std::time::SystemTime;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};

use super::error::RegistryErrorKind;
use super::error_response::ErrorResponse;
pub(super) use crate::http::authority;
use crate::http::{HttpError, Unanswered};

/// The most bytes that are read of an error response.
pub(super) const ERROR_MAX_BYTES: u64 = 64 * 1024;

/// A response with its body, read within a limit.
#[derive(Debug)]
pub(super) struct RegistryResponse {
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl RegistryResponse {
    /// Returns the text of a header, if it is present and not empty.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?.to_str().ok()?.trim();
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn refusal(&self) -> ErrorResponse {
        ErrorResponse::read(
            self.status.as_u16(),
            &self.headers,
            &self.body,
            SystemTime::now(),
        )
    }

    /// Returns this response as an error.
    pub(super) fn fault(&self) -> RegistryErrorKind {
        RegistryErrorKind::Refused {
            host: authority(&self.url),
            refusal: self.refusal(),
        }
    }
}

/// Returns an address that is safe to print. The query of a storage's address is a signature, and that of a realm may
/// be anything.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

pub(super) fn broken(url: &Url, source: HttpError) -> RegistryErrorKind {
    RegistryErrorKind::Body {
        host: authority(url),
        source,
    }
}

pub(super) fn unreachable(url: &Url, unanswered: Unanswered) -> RegistryErrorKind {
    RegistryErrorKind::Unreachable {
        host: authority(url),
        unanswered,
    }
}
