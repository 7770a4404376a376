//! What can go wrong while signing, or while getting what signing and verifying need: which step, and why.

use std::error::Error;
use std::time::Duration;

use super::refusal::Refusal;
use crate::http::{CertificateProblem, Through, Unanswered};

/// A cause of some other library's type.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// Why nothing was signed, or why it is not known whom to trust.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The token endpoint gave no identity token.
    #[error("could not get an identity token")]
    Token(#[source] Fault),
    /// What was given as identity token is none.
    #[error("the identity token cannot be read: {0}")]
    TokenUnreadable(&'static str),
    /// The identity token that was given is too old to be used, and there is no way to ask for another.
    #[error("the identity token expired at {expired}")]
    TokenExpired {
        /// When, in RFC 3339.
        expired: String,
    },
    /// Fulcio gave no certificate.
    #[error("could not get a signing certificate")]
    Certificate(#[source] Fault),
    /// The transparency log took no entry, or did not show it.
    #[error("could not record the signature in the transparency log")]
    Log(#[source] Fault),
    /// The timestamp authority gave no timestamp.
    #[error("could not get a timestamp for the signature")]
    Timestamp(#[source] Fault),
    /// No key pair could be made, or it did not sign.
    #[error("could not make the signature itself")]
    Key(#[source] sigstore_crypto::Error),
    /// There is no usable trust material or list of services.
    #[error("it is not known whom to trust")]
    Trust(#[source] TrustError),
    /// What this run produced does not verify, so it is not a signature.
    #[error("the signature just made does not verify")]
    SelfCheck(#[source] Box<Refusal>),
}

impl SigningError {
    /// Whether a service (token endpoint, Fulcio, log, timestamp authority) is out of order, which is what
    /// `on-signing-failure: warn` covers. A service that says no, trust that cannot be established and a failed check of our
    /// own work are none.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Token(fault)
            | Self::Certificate(fault)
            | Self::Log(fault)
            | Self::Timestamp(fault) => fault.is_outage(),
            Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => false,
        }
    }

    /// The status that the service answered, if it did answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Token(fault)
            | Self::Certificate(fault)
            | Self::Log(fault)
            | Self::Timestamp(fault) => fault.status(),
            Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => None,
        }
    }

    /// The proxy that was to bring the question to the service, where no answer came.
    #[must_use]
    pub fn proxy(&self) -> Option<&Through> {
        self.unanswered()?.1.through.as_ref()
    }

    /// Why the certificate of a service is not accepted, and the address of the service.
    #[must_use]
    pub fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        let (url, unanswered) = self.unanswered()?;
        Some((unanswered.certificate.as_deref()?, url))
    }

    fn unanswered(&self) -> Option<(&str, &Unanswered)> {
        let (Self::Token(fault)
        | Self::Certificate(fault)
        | Self::Log(fault)
        | Self::Timestamp(fault)) = self
        else {
            return None;
        };
        if let Fault::Transport { url, source } = fault {
            Some((url, source))
        } else {
            None
        }
    }
}

/// Why there is no trusted root, or no list of services to sign with.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The trusted root cannot be read.
    #[error("the trusted root cannot be read")]
    Root(#[source] Cause),
    /// The signing config cannot be read.
    #[error("the signing config cannot be read")]
    Config(#[source] Cause),
    /// The signing config does not name services that can be used together.
    #[error("the signing config cannot be used: {0}")]
    Services(&'static str),
    /// A service of the signing config has an address that is not used.
    #[error("the signing config cannot be used")]
    Address(#[source] Fault),
    /// Trust is loaded for verification only, and something was to be signed.
    #[error("no signing config was loaded")]
    NoServices,
    /// The TUF repository could not be reached and nothing is cached.
    #[error("the TUF repository `{url}` cannot be reached, and no cache of it is there")]
    Unreachable {
        /// The repository.
        url: String,
        /// Why it could not be reached.
        #[source]
        source: sigstore_tuf::Error,
    },
    /// The TUF repository could not be reached and what is cached has expired or does not verify.
    #[error(
        "the TUF repository `{url}` cannot be reached ({online}), and its cache cannot be used"
    )]
    StaleCache {
        /// The repository.
        url: String,
        /// Why it could not be reached.
        online: String,
        /// Why the cache cannot be used.
        #[source]
        source: sigstore_tuf::Error,
    },
    /// The TUF repository was reached, and what it serves does not verify.
    #[error("the TUF repository `{url}` serves metadata that does not verify")]
    Forged {
        /// The repository.
        url: String,
        /// What does not verify.
        #[source]
        source: sigstore_tuf::Error,
    },
}

/// What came of one request to a service. Addresses are shown without their query.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The address is not one that may be asked.
    #[error("`{url}` is not an https address (plain http is for loopback hosts only)")]
    Address {
        /// The address.
        url: String,
    },
    /// The service answered, and not with success.
    #[error("`{url}` answered {status}: {message}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the body, or the status in words.
        message: String,
        /// How long the service asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// There was no answer, or it broke off.
    #[error("no answer from `{url}`")]
    Transport {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: Unanswered,
    },
    /// The answer is longer than anything this service has to say.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what this service is known to answer.
    #[error("the answer of `{url}` cannot be read")]
    Unreadable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The service was not asked: the certificate would have ended before its answer.
    #[error("`{url}` was not asked, since the signing certificate ends within a minute")]
    CertificateEnds {
        /// What would have been asked.
        url: String,
    },
    /// The log took the entry and does not show it yet.
    #[error("`{url}` does not show the new entry yet")]
    NotYet {
        /// What was asked.
        url: String,
    },
}

impl Fault {
    /// Whether the service is out of order: nobody answers, or the answer is 408, 429 or 5xx, or the log does not get round
    /// to what it took.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Transport { source, .. } => source.is_outage(),
            Self::NotYet { .. } => true,
            Self::Address { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. } => false,
        }
    }

    /// The status that was answered, if any.
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
            url: super::exchange::shown(url),
            source: source.into(),
        }
    }
}
