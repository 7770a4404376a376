//! An error of a copy, by the registry that it is of.

use std::borrow::Borrow;

use super::error::RegistryErrorKind;

/// An error of the source or of the destination.
#[derive(Debug, thiserror::Error)]
pub(super) enum Sided {
    #[error(transparent)]
    Source(RegistryErrorKind),
    #[error(transparent)]
    Destination(RegistryErrorKind),
    /// An error of the destination that an immediate restart can fix, with renewed credentials or with smaller
    /// requests.
    #[error(transparent)]
    Mended(RegistryErrorKind),
}

/// Gives the retry policy access to the error.
impl Borrow<RegistryErrorKind> for Sided {
    fn borrow(&self) -> &RegistryErrorKind {
        match self {
            Self::Source(fault) | Self::Destination(fault) | Self::Mended(fault) => fault,
        }
    }
}
