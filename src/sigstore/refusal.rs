//! The reasons why content is not the requested signature.

use std::error::Error;

use crate::domain::{Digest, SignatureFormat};

/// A cause of a type from another library.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// The signer of something, from an authentic certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedSigner {
    /// The certificate's subject.
    pub identity: String,
    /// The issuer that authenticated it.
    pub issuer: String,
}

/// The reason why content is not accepted. Callers treat the cases differently. The first is not a signature at all, so
/// callers continue with other content. The others are signatures that are refused.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    /// The content is another statement (provenance, an SBOM), or no statement. Nothing else of it was checked.
    #[error("it is not a signature but {}", said(predicate.as_deref()))]
    NotASignature {
        /// The type that the statement has.
        predicate: Option<String>,
    },
    /// The signature is of other content. Its authenticity was not checked.
    #[error("it signs {}, not `{wanted}`", signed(found.as_ref()))]
    OtherSubject {
        /// The expected digest.
        wanted: Digest,
        /// The signed digest, if it is a single one.
        found: Option<Digest>,
    },
    /// The signature is authentic, but by another signer.
    #[error(
        "it is by `{}` (issuer `{}`), not by {wanted}",
        found.identity, found.issuer
    )]
    IdentityMismatch {
        /// The actual signer.
        found: ObservedSigner,
        /// The expected signer, in words.
        wanted: String,
        /// The inputs that the actual signer does not meet.
        unmet: Vec<&'static str>,
    },
    /// The signature is authentic and by the expected signer, but from another workflow run than required.
    #[error(
        "its workflow's {claim} is {}, not `{wanted}`",
        found.as_ref().map_or_else(|| "not stated".to_owned(), |found| format!("`{found}`"))
    )]
    GithubClaimMismatch {
        /// The signer.
        signer: ObservedSigner,
        /// The claim: the end of the input `certificate-github-workflow-…`.
        claim: &'static str,
        /// The required value.
        wanted: String,
        /// The value in the certificate.
        found: Option<String>,
    },
    /// The signature is not authentic, so it proves nothing about anybody.
    #[error("it is not authentic")]
    Invalid {
        /// The failed check.
        #[source]
        source: Box<sigstore_verify::Error>,
    },
    /// The content is longer than any signature; nothing of it was read.
    #[error("it has {size} bytes, more than any signature")]
    TooLarge {
        /// The size in bytes.
        size: u64,
    },
    /// The signature is authentic, but something beside it is not covered by it.
    #[error("it contains `{name}`, which is not signed")]
    UnsignedContent {
        /// The name of the additional content.
        name: String,
    },
    /// The content cannot be parsed as a signature.
    #[error("it cannot be read as {}", form(*.format))]
    Unreadable {
        /// The expected format.
        format: SignatureFormat,
        /// The cause.
        #[source]
        source: Cause,
    },
}

impl VerificationError {
    pub(super) fn unreadable_bundle(source: Cause) -> Self {
        Self::Unreadable {
            format: SignatureFormat::Bundle,
            source,
        }
    }

    pub(super) fn unreadable_legacy(source: impl Into<Cause>) -> Self {
        Self::Unreadable {
            format: SignatureFormat::Legacy,
            source: source.into(),
        }
    }

    /// The signer, if that is certain: only a certificate in an authentic signature is trusted.
    #[must_use]
    pub fn signer(&self) -> Option<&ObservedSigner> {
        match self {
            Self::IdentityMismatch { found, .. } => Some(found),
            Self::GithubClaimMismatch { signer, .. } => Some(signer),
            Self::NotASignature { .. }
            | Self::OtherSubject { .. }
            | Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::UnsignedContent { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// The inputs that an authentic signature does not meet; empty if it is not known to be authentic.
    #[must_use]
    pub fn unmet(&self) -> Vec<&'static str> {
        match self {
            Self::IdentityMismatch { unmet, .. } => unmet.clone(),
            Self::GithubClaimMismatch { claim, .. } => vec![match *claim {
                "repository" => "certificate-github-workflow-repository",
                "ref" => "certificate-github-workflow-ref",
                "sha" => "certificate-github-workflow-sha",
                "name" => "certificate-github-workflow-name",
                _ => "certificate-github-workflow-trigger",
            }],
            Self::NotASignature { .. }
            | Self::OtherSubject { .. }
            | Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::UnsignedContent { .. }
            | Self::Unreadable { .. } => Vec::new(),
        }
    }
}

fn form(format: SignatureFormat) -> &'static str {
    match format {
        SignatureFormat::Bundle => "a Sigstore bundle of version 0.3",
        SignatureFormat::Legacy => "a keyless signature of cosign's legacy format",
    }
}

fn said(predicate: Option<&str>) -> String {
    predicate.map_or_else(
        || "no statement".to_owned(),
        |predicate| format!("a statement of type `{predicate}`"),
    )
}

fn signed(found: Option<&Digest>) -> String {
    found.map_or_else(|| "other content".to_owned(), |found| format!("`{found}`"))
}
