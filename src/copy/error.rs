//! The errors of copies.

use crate::context::ImageError;
use crate::layout::LayoutError;
use crate::record::RecordError;
use crate::referrers::ListError;
use crate::registry::RegistryError;
use crate::signatures::SignatureError;

/// The reason why content could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The registry refused a request, or sent an invalid response.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// An image cannot be read from a folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The list of what refers to the image cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// A signature could not be looked up.
    #[error(transparent)]
    Signature(Box<SignatureError>),
}

impl CopyError {
    /// Reports whether fetched content is the cause: no reader can use the content of that digest.
    #[must_use]
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_about_content(),
            Self::Layout(error) => error.is_about_content(),
            Self::Image(error) => error.is_about_content(),
            Self::Record(_) | Self::List(_) | Self::Signature(_) => false,
        }
    }

    /// Reports whether the content of a tag for lists prevents one more entry. Anyone with push access can cause that.
    #[must_use]
    pub(crate) fn is_about_list(&self) -> bool {
        matches!(self, Self::List(error) if error.is_about_list())
    }
}

impl From<RegistryError> for CopyError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<SignatureError> for CopyError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Registry(error) => Self::Registry(error),
            SignatureError::Record(error) => Self::Record(error),
            SignatureError::Image(error) => Self::Image(error),
            SignatureError::List(error) => Self::List(error),
            error @ (SignatureError::Sigstore(_)
            | SignatureError::NoToken(_)
            | SignatureError::NoLegacyLog
            | SignatureError::UnsupportedDigest(_)
            | SignatureError::NotStored { .. }
            | SignatureError::UnmetPolicy(_)
            | SignatureError::NoPolicy(_)) => Self::Signature(Box::new(error)),
        }
    }
}
