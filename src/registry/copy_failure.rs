//! An error of a copy, by the registry that it is of.

use std::time::Duration;

use super::error::RegistryErrorKind;
use crate::http::Transient;

/// An error of the source or of the destination.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyFailure {
    #[error(transparent)]
    Source(RegistryErrorKind),
    #[error(transparent)]
    Destination(RegistryErrorKind),
    /// An error that an immediate restart can fix: with renewed credentials, with smaller requests, from another byte, or
    /// with a read of its own.
    #[error(transparent)]
    Restartable(RegistryErrorKind),
}

impl CopyFailure {
    /// Creates the failure of a read. A source that was read for others is not at fault, nor is the destination: this
    /// takes no attempt.
    pub(super) fn of_read(kind: RegistryErrorKind) -> Self {
        if let RegistryErrorKind::LeftOut { .. } = kind {
            Self::Restartable(kind)
        } else {
            Self::Source(kind)
        }
    }

    fn kind(&self) -> &RegistryErrorKind {
        match self {
            Self::Source(kind) | Self::Destination(kind) | Self::Restartable(kind) => kind,
        }
    }

    /// Returns the HTTP status of the error response.
    pub(super) fn status(&self) -> Option<u16> {
        self.kind().refusal().map(|refusal| refusal.status)
    }
}

impl Transient for CopyFailure {
    fn is_transient(&self) -> bool {
        self.kind().is_transient()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.kind().retry_after()
    }
}
