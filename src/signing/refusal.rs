//! Why something is not the signature that was asked for.

use crate::domain::{Digest, SignatureFormat};

use super::error::Cause;

/// Who signed something, as a certificate that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The certificate's subject.
    pub identity: String,
    /// The issuer that vouched for it.
    pub issuer: String,
}

/// Why something does not count. Callers treat the cases differently: the first is no signature at all, so one looks
/// further; the others are signatures that say no.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is some other statement (provenance, an SBOM), or no statement. Nothing else of it was looked at.
    #[error("it is not a signature but {}", said(predicate.as_deref()))]
    NotASignature {
        /// What kind of statement it says it is.
        predicate: Option<String>,
    },
    /// It is a signature of something else. Whether it holds was not looked at.
    #[error("it signs {}, not `{wanted}`", signed(found.as_ref()))]
    OtherSubject {
        /// What was asked about.
        wanted: Digest,
        /// What it is about, where that is a single digest.
        found: Option<Digest>,
    },
    /// It holds, and somebody else made it.
    #[error(
        "it is by `{}` (issuer `{}`), not by `{}` (issuer `{}`)",
        found.identity, found.issuer, wanted.identity, wanted.issuer
    )]
    IdentityMismatch {
        /// Who made it.
        found: Signer,
        /// Who should have, as text or pattern.
        wanted: Signer,
    },
    /// It holds and is by whom it should be, from another workflow run than it should be.
    #[error(
        "its workflow's {claim} is {}, not `{wanted}`",
        found.as_ref().map_or_else(|| "not stated".to_owned(), |found| format!("`{found}`"))
    )]
    GithubClaimMismatch {
        /// Who made it.
        signer: Signer,
        /// Which claim: the end of the flag `certificate-github-workflow-…`.
        claim: &'static str,
        /// What was asked for.
        wanted: String,
        /// What the certificate says.
        found: Option<String>,
    },
    /// Its cryptography does not hold, so it says nothing about anybody.
    #[error("it does not hold")]
    Invalid {
        /// Which check failed.
        #[source]
        source: Box<sigstore_verify::Error>,
    },
    /// It is longer than any signature; nothing of it was looked at.
    #[error("it has {size} bytes, more than any signature")]
    TooLarge {
        /// How many bytes it has.
        size: u64,
    },
    /// It holds, and something stands beside it that it does not vouch for.
    #[error("it holds `{name}`, for which nothing vouches")]
    Surplus {
        /// The name of that.
        name: String,
    },
    /// It is not a signature that can be read.
    #[error("it cannot be read as {}", form(*.format))]
    Unreadable {
        /// As what it was read.
        format: SignatureFormat,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl Refusal {
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

    /// Who made the signature, where that is certain: only a certificate whose signature holds is believed.
    #[must_use]
    pub fn signer(&self) -> Option<&Signer> {
        match self {
            Self::IdentityMismatch { found, .. } => Some(found),
            Self::GithubClaimMismatch { signer, .. } => Some(signer),
            Self::NotASignature { .. }
            | Self::OtherSubject { .. }
            | Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::Surplus { .. }
            | Self::Unreadable { .. } => None,
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
    found.map_or_else(|| "something else".to_owned(), |found| format!("`{found}`"))
}
