//! The errors of finding, making and storing signatures.

use crate::context::ImageError;
use crate::domain::{Digest, TokenAbsence};
use crate::outcome::Subject;
use crate::record::RecordError;
use crate::referrers::ListError;
use crate::registry::RegistryError;
use crate::sigstore::{SigstoreError, VerificationError};

/// The reason why signatures could not be found, made or stored.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The registry refused a request, or sent an invalid response.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Sigstore did not sign.
    #[error(transparent)]
    Sigstore(Box<SigstoreError>),
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The signed image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The list of what refers to the image cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// No token identifies this run.
    #[error("no OIDC token identifies this run: {0}")]
    NoToken(TokenAbsence),
    /// Legacy signatures are requested, and no usable transparency log can record them.
    #[error(
        "input `signature-format`: `legacy` signatures need a Rekor v1, and the signing config names none that is valid"
    )]
    NoLegacyLog,
    /// A signature was made but could not be stored.
    #[error("could not store the signature of `{subject}`")]
    NotStored {
        /// The signed digest, and the repository for its signature.
        subject: Box<Subject>,
        /// The reason.
        #[source]
        source: Box<Self>,
    },
    /// This run cannot make a signature that meets the policy in the inputs.
    #[error("the signature of this run would not meet the inputs")]
    UnmetPolicy(#[source] Box<VerificationError>),
    /// The digest is not one that a signature can be made for.
    #[error(
        "`{0}` cannot be signed, and has no signature to verify: no verifier of such signatures, cosign included, accepts a SHA-512 digest"
    )]
    UnsupportedDigest(Digest),
    /// The required identity cannot be determined.
    #[error("the required signer is unknown: {0}")]
    NoPolicy(&'static str),
}

impl SignatureError {
    /// Reports whether a retry cannot help. Only absent content and a faulty response of a registry may change by the
    /// next try.
    #[must_use]
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_denied(),
            Self::Image(error) => !error.is_absence(),
            Self::Sigstore(_)
            | Self::Record(_)
            | Self::List(_)
            | Self::NoToken(_)
            | Self::NoLegacyLog
            | Self::NotStored { .. }
            | Self::UnmetPolicy(_)
            | Self::UnsupportedDigest(_)
            | Self::NoPolicy(_) => true,
        }
    }

    /// Reports whether content was fetched in which no signature can be proven: it is no list, or too much to read.
    /// Anyone with push access can cause that. A failed request never counts.
    #[must_use]
    pub(crate) fn shows_no_signature(&self) -> bool {
        match self {
            Self::Registry(error) => {
                error.is_about_content() || error.is_no_list() || error.is_long_list()
            }
            Self::Image(error) => error.is_about_content(),
            Self::List(error) => {
                matches!(
                    error,
                    ListError::Occupied { .. } | ListError::TooMany { .. }
                )
            }
            Self::Sigstore(_)
            | Self::Record(_)
            | Self::NoToken(_)
            | Self::NoLegacyLog
            | Self::NotStored { .. }
            | Self::UnmetPolicy(_)
            | Self::UnsupportedDigest(_)
            | Self::NoPolicy(_) => false,
        }
    }

    /// Reports whether `on-signing-failure: warn` excuses this error. It excuses an outage of Sigstore, and an outage
    /// of the registry that stores a signature. It also excuses a token that the job cannot get. It never excuses a
    /// service or a verification that refuses, a conflict, a full list, or an unknown state.
    #[must_use]
    pub fn is_signing_outage(&self) -> bool {
        match self {
            Self::Sigstore(error) => error.is_outage(),
            Self::NoToken(absence) => absence.is_excused(),
            Self::NotStored { source, .. } => {
                matches!(&**source, Self::Registry(error) if error.is_outage())
            }
            // A registry outage before any signature was made leaves the state unknown.
            Self::Registry(_)
            | Self::Record(_)
            | Self::Image(_)
            | Self::List(_)
            | Self::NoLegacyLog
            | Self::UnmetPolicy(_)
            | Self::UnsupportedDigest(_)
            | Self::NoPolicy(_) => false,
        }
    }
}

impl From<RegistryError> for SignatureError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<SigstoreError> for SignatureError {
    fn from(error: SigstoreError) -> Self {
        Self::Sigstore(Box::new(error))
    }
}
