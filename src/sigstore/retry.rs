//! The failures of Sigstore's services that are retried.

use std::time::Duration;

use super::error::{SigstoreError, SigstoreErrorKind, is_passing};
use crate::http::Transient;

impl Transient for SigstoreErrorKind {
    fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_passing(*status),
            // A request that could not even be made would fail again.
            Self::Transport { source, .. } => !source.is_lasting(),
            Self::NotYet { .. } => true,
            Self::Address { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Address { .. }
            | Self::Transport { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. }
            | Self::NotYet { .. } => None,
        }
    }
}

impl Transient for SigstoreError {
    // Only the request for a certificate includes another one, for a token, which has had its own retries.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Certificate(kind) if kind.is_transient())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Certificate(kind) => kind.retry_after(),
            Self::Token(_)
            | Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Log(_)
            | Self::Timestamp(_)
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| SigstoreErrorKind::Status {
            url: String::new(),
            status,
            message: String::new(),
            retry_after: None,
        };
        for passing in [408, 429, 499, 500, 502, 503, 504] {
            assert!(status(passing).is_transient(), "{passing}");
        }
        for lasting in [301, 307, 400, 401, 403, 404, 409, 422] {
            assert!(!status(lasting).is_transient(), "{lasting}");
        }
    }
}
