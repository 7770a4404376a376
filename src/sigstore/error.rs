//! Errors of signing, and of loading what signing and verifying need: the step and the cause.

use std::time::Duration;

use super::refusal::{Cause, VerificationError};
use crate::http::{CertificateProblem, TransportError};

/// The reason why nothing was signed, or why there is no trust material.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreError {
    /// The token endpoint returned no identity token.
    #[error("could not get an identity token")]
    Token(#[source] SigstoreErrorKind),
    /// The given identity token cannot be parsed.
    #[error("the identity token cannot be read: {0}")]
    TokenUnreadable(&'static str),
    /// The given identity token has expired, and no other can be requested.
    #[error("the identity token expired at {expired}")]
    TokenExpired {
        /// The time of expiry, in RFC 3339.
        expired: String,
    },
    /// Fulcio returned no certificate.
    #[error("could not get a signing certificate")]
    Certificate(#[source] SigstoreErrorKind),
    /// The transparency log accepted no entry, or did not return it.
    #[error("could not record the signature in the transparency log")]
    Log(#[source] SigstoreErrorKind),
    /// The timestamp authority returned no timestamp.
    #[error("could not get a timestamp for the signature")]
    Timestamp(#[source] SigstoreErrorKind),
    /// No key pair could be made, or signing with it failed.
    #[error("could not make the signature itself")]
    Key(#[source] sigstore_crypto::Error),
    /// No usable trust material or list of services exists.
    #[error("could not load the trusted root or the signing config")]
    Trust(#[source] TrustError),
    /// The signature that this run made does not verify, so it does not count as one.
    #[error("the signature just made does not verify")]
    SelfCheck(#[source] Box<VerificationError>),
}

impl SigstoreError {
    /// True if a service (token endpoint, Fulcio, log, timestamp authority) has an outage, which `on-signing-failure:
    /// warn` covers. These are not outages: a service that refuses, trust that cannot be established, and a failed
    /// check of our own signature.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Token(kind)
            | Self::Certificate(kind)
            | Self::Log(kind)
            | Self::Timestamp(kind) => kind.is_outage(),
            Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => false,
        }
    }

    /// The status of the service's response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Token(kind)
            | Self::Certificate(kind)
            | Self::Log(kind)
            | Self::Timestamp(kind) => kind.status(),
            Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => None,
        }
    }

    /// Returns the reason why no response of the service arrived.
    #[must_use]
    pub fn transport(&self) -> Option<&TransportError> {
        Some(self.failed_request()?.1)
    }

    /// The reason why the certificate of a service is not accepted, and the address of the service.
    #[must_use]
    pub fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        let (url, error) = self.failed_request()?;
        Some((error.certificate.as_deref()?, url))
    }

    fn failed_request(&self) -> Option<(&str, &TransportError)> {
        let (Self::Token(kind) | Self::Certificate(kind) | Self::Log(kind) | Self::Timestamp(kind)) =
            self
        else {
            return None;
        };
        if let SigstoreErrorKind::Transport { url, source } = kind {
            Some((url, source))
        } else {
            None
        }
    }
}

/// The reason why there is no trusted root, or no list of services to sign with.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The trusted root cannot be read.
    #[error("the trusted root cannot be read")]
    Root(#[source] Cause),
    /// The trusted root lacks something that every signature needs.
    #[error("the trusted root cannot be used: it names no {0}")]
    Empty(&'static str),
    /// The signing config cannot be read.
    #[error("the signing config cannot be read")]
    Config(#[source] Cause),
    /// The signing config does not name services that can be used together.
    #[error("the signing config cannot be used: {0}")]
    Services(&'static str),
    /// A service of the signing config has an address that this program does not use.
    #[error("the signing config cannot be used")]
    Address(#[source] SigstoreErrorKind),
    /// Trust was loaded for verification only, but signing was requested.
    #[error("no signing config was loaded")]
    NoServices,
    /// The TUF repository could not be read and nothing is cached.
    #[error("the TUF repository `{url}` could not be read, and no cache of it exists")]
    Unreachable {
        /// The repository.
        url: String,
        /// The reason why it could not be read.
        #[source]
        source: sigstore_tuf::Error,
    },
    /// The TUF repository could not be read, and the cache has expired or does not verify.
    #[error(
        "the TUF repository `{url}` could not be read ({online}), and its cache cannot be used"
    )]
    StaleCache {
        /// The repository.
        url: String,
        /// The reason why it could not be read.
        online: String,
        /// The reason why the cache cannot be used.
        #[source]
        source: sigstore_tuf::Error,
    },
    /// The TUF repository was reached, but its metadata does not verify.
    #[error("the TUF repository `{url}` serves metadata that does not verify")]
    Forged {
        /// The repository.
        url: String,
        /// The failed check.
        #[source]
        source: sigstore_tuf::Error,
    },
}

/// The failure of one request to a service. Addresses are printed without their query.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreErrorKind {
    /// The address is not allowed for requests.
    #[error("`{url}` is not an https address (plain http is for loopback hosts only)")]
    Address {
        /// The address.
        url: String,
    },
    /// The service responded, but not with success.
    #[error("`{url}` answered {status}: {message}")]
    Status {
        /// The address of the request.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the body, or the status in words.
        message: String,
        /// The wait that the service asks for.
        retry_after: Option<Duration>,
    },
    /// No response arrived, or it broke off.
    #[error("{}", transport_text(.url, .source))]
    Transport {
        /// The address of the request.
        url: String,
        /// The cause.
        #[source]
        source: TransportError,
    },
    /// The response is longer than any response of this service should be.
    #[error("the response of `{url}` exceeds {limit} bytes")]
    TooLong {
        /// The address of the request.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The response is not of the format that this service is known to return.
    #[error("the response of `{url}` cannot be read")]
    Unreadable {
        /// The address of the request.
        url: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The request was not sent: the certificate would have expired before the response.
    #[error(
        "no request was sent to `{url}`, because the signing certificate expires within a minute"
    )]
    CertificateEnds {
        /// The address of the request that was not sent.
        url: String,
    },
    /// The log accepted the entry, but does not return it yet.
    #[error("`{url}` does not show the new entry yet")]
    NotYet {
        /// The address of the request.
        url: String,
    },
}

impl SigstoreErrorKind {
    /// True if the service has an outage. There is no response, the status may pass, or the log has not processed an
    /// accepted entry.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_passing(*status),
            Self::Transport { source, .. } => source.is_outage(),
            Self::NotYet { .. } => true,
            Self::Address { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. } => false,
        }
    }

    /// The status of the response, if any.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Address { .. }
            | Self::Transport { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. }
            | Self::NotYet { .. } => None,
        }
    }

    pub(super) fn unreadable(url: &reqwest::Url, source: impl Into<Cause>) -> Self {
        Self::Unreadable {
            url: shown(url),
            source: source.into(),
        }
    }
}

/// Returns an address without its query, which may contain what must not be printed.
pub(super) fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn transport_text(url: &str, error: &TransportError) -> String {
    if error.certificate.is_some() {
        format!("`{url}` {}", error.state())
    } else {
        format!("no response from `{url}`")
    }
}
/// Reports whether a status may pass by itself.
///
/// 499: rekor-tiles 2.3.0 reports the cancellation of one client's request to all clients that wait for the same batch.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500..=599)
}
