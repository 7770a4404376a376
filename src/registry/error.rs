//! What can go wrong between us and a registry, with all that a hint to the user needs to know.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::HelperNeeded;
use super::refusal::Refusal;
use crate::domain::{Digest, Host, ManifestError, Repository};
use crate::http::{CertificateProblem, HttpError, Through, Unanswered, UnansweredKind};

/// An operation on a registry that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not {operation} `{object}`")]
pub struct RegistryError {
    pub(super) operation: Operation,
    pub(super) object: String,
    pub(super) repository: Repository,
    pub(super) credentials: Option<&'static str>,
    pub(super) helper: Option<String>,
    #[source]
    pub(super) fault: Fault,
}

/// What was being done when a [`RegistryError`] came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a manifest, or its digest.
    Read,
    /// Storing a manifest.
    Write,
    /// Reading a blob.
    ReadBlob,
    /// Storing a blob.
    WriteBlob,
    /// Listing referrers.
    List,
}

/// Why AWS gave no login out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsRefusal {
    /// The keys are not known, or not any more.
    Keys,
    /// The keys do not have this permission.
    Permission(&'static str),
}

/// What AWS calls keys that it does not take ("Common errors" of each service's API reference).
const AWS_KEY_CODES: [&str; 6] = [
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
];

/// Why it failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The registry, or the storage that it redirects to, said no, or something that means neither yes nor no.
    #[error("`{host}` answered {refusal}")]
    Refused {
        /// Who answered.
        host: String,
        /// What.
        refusal: Refusal,
    },
    /// There is no token, so the registry was not asked again.
    #[error("could not get a token from `{host}`")]
    Token {
        /// The token server.
        host: String,
        /// Why not.
        #[source]
        fault: Arc<Self>,
    },
    /// AWS gives no login for its registry out.
    #[error("could not get a login from AWS (`{permission}` at `{host}`)")]
    Aws {
        /// Who was asked.
        host: String,
        /// The action that AWS was asked for, which is also the name of the permission.
        permission: &'static str,
        /// Why not.
        #[source]
        fault: Arc<Self>,
    },
    /// A variable of the environment says to ask AWS at an address that must not be asked.
    #[error("variable `{variable}` {reason}")]
    AwsEndpoint {
        /// Its name.
        variable: &'static str,
        /// What is wrong with its value.
        reason: &'static str,
    },
    /// The registry names a token server that must not be asked.
    #[error("it sends us for a token to `{realm}`, which {reason}")]
    Realm {
        /// The address, without its query.
        realm: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token server answered 200 without a token.
    #[error("its answer holds no token")]
    NoToken,
    /// The credentials are in a program of the machine that is not here.
    #[error(transparent)]
    Helper(#[from] HelperNeeded),
    /// No answer at all.
    #[error("`{host}` cannot be reached{}: {}", .unanswered.way(), .unanswered.cause)]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why not, and by which way.
        unanswered: Unanswered,
    },
    /// The answer did not come whole, or is too long.
    #[error("`{host}` did not answer as it should")]
    Body {
        /// Who answered.
        host: String,
        /// What is wrong.
        source: HttpError,
    },
    /// The bytes are not the ones that the digest names.
    #[error("the digest of the content is `{computed}`, not `{claimed}` ({claimant})")]
    Digest {
        /// What the bytes are.
        computed: Digest,
        /// What they were said to be.
        claimed: String,
        /// Who said so.
        claimant: &'static str,
    },
    /// The content is longer or shorter than the descriptor that names it says.
    #[error("the content has {arrived} bytes, not {claimed}")]
    Size {
        /// How many came; of content that is too long, so far.
        arrived: u64,
        /// How many there should be.
        claimed: u64,
    },
    /// The file that it is in cannot be read.
    #[error("the file cannot be read")]
    File(#[source] Arc<std::io::Error>),
    /// It says that it has stored what was not yet sent to its end.
    #[error("`{host}` says that it has the content, before all of it was sent")]
    Early {
        /// Who answered.
        host: String,
    },
    /// It has taken less of a part than was sent, or more.
    #[error(
        "`{host}` says that it has the content up to byte {taken}; it was sent up to byte {sent}"
    )]
    Partial {
        /// Who answered.
        host: String,
        /// The last byte that it has.
        taken: u64,
        /// The last byte that it was sent.
        sent: u64,
    },
    /// A manifest that cannot be read.
    #[error("what it answered is no manifest that can be used")]
    Manifest(#[source] Arc<ManifestError>),
    /// A list of referrers, or of tags, that cannot be read to its end.
    #[error("its list cannot be used: {0}")]
    Listing(String),
    /// A list of referrers that was read, and has more entries than are looked at.
    #[error("its list has more than {0}")]
    LongList(String),
    /// What is no list of referrers.
    #[error("what it answered is no list that can be used: {0}")]
    NoList(String),
    /// An address in an answer that must not be followed.
    #[error("it sends us on to `{address}`, which {reason}")]
    Address {
        /// The address, without its query.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Fault {
    /// A question that cannot even be put.
    pub(super) fn never_asked(host: impl Into<String>, cause: String) -> Self {
        Self::Unreachable {
            host: host.into(),
            unanswered: Unanswered {
                cause,
                kind: UnansweredKind::NotSent,
                through: None,
                certificate: None,
            },
        }
    }

    /// Why a server's certificate is not accepted, and which server that is.
    pub(super) fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        match self.kind() {
            Kind::Unreachable(host, unanswered) => Some((unanswered.certificate.as_deref()?, host)),
            Kind::Login(fault) => fault.certificate(),
            Kind::Refused(_) | Kind::Body(_) | Kind::Manifest | Kind::Size | Kind::Other => None,
        }
    }

    /// Whether trying again may help. A token that could not be had was tried for already.
    pub(super) fn is_transient(&self) -> bool {
        match self.kind() {
            Kind::Refused(refusal) => refusal.is_transient(),
            Kind::Unreachable(_, unanswered) => !unanswered.is_lasting(),
            Kind::Body(error) => matches!(error, HttpError::Broken(_)),
            Kind::Login(_) | Kind::Manifest | Kind::Size | Kind::Other => false,
        }
    }

    /// Whether the service is out of order, which is what `on-signing-failure: warn` covers: nobody answers, or the answer is
    /// 408, 429 or 5xx. What says no, and what makes no sense, is none.
    fn is_outage(&self) -> bool {
        match self.kind() {
            Kind::Refused(refusal) => refusal.is_outage(),
            Kind::Unreachable(_, unanswered) => unanswered.is_outage(),
            Kind::Body(HttpError::Broken(unanswered)) => unanswered.is_outage(),
            Kind::Login(fault) => fault.is_outage(),
            Kind::Body(
                HttpError::Setup { .. } | HttpError::Proxy { .. } | HttpError::TooLong { .. },
            )
            | Kind::Manifest
            | Kind::Size
            | Kind::Other => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self.kind() {
            Kind::Refused(refusal) => Some(refusal),
            Kind::Login(fault) => fault.refusal(),
            Kind::Unreachable(..) | Kind::Body(_) | Kind::Manifest | Kind::Size | Kind::Other => {
                None
            }
        }
    }

    /// What kind of fault it is. All are listed, so that a new one has to choose.
    fn kind(&self) -> Kind<'_> {
        match self {
            Self::Refused { refusal, .. } => Kind::Refused(refusal),
            Self::Unreachable { host, unanswered } => Kind::Unreachable(host, unanswered),
            Self::Body { source, .. } => Kind::Body(source),
            Self::Token { fault, .. } | Self::Aws { fault, .. } => Kind::Login(fault),
            Self::Manifest(_) => Kind::Manifest,
            Self::Size { .. } => Kind::Size,
            Self::AwsEndpoint { .. }
            | Self::Realm { .. }
            | Self::NoToken
            | Self::Helper(_)
            | Self::Digest { .. }
            | Self::File(_)
            | Self::Early { .. }
            | Self::Partial { .. }
            | Self::Listing(_)
            | Self::LongList(_)
            | Self::NoList(_)
            | Self::Address { .. } => Kind::Other,
        }
    }
}

/// The kinds of faults, by what follows from them.
enum Kind<'a> {
    /// A service said no.
    Refused(&'a Refusal),
    /// This host did not answer.
    Unreachable(&'a str, &'a Unanswered),
    /// An answer did not come whole.
    Body(&'a HttpError),
    /// There is no token, for this reason.
    Login(&'a Fault),
    /// What came is no manifest.
    Manifest,
    /// What came has not the size that was said.
    Size,
    /// An answer that makes no sense, or something on this machine.
    Other,
}

impl RegistryError {
    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Why it failed.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The repository that was being asked.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The registry that was being asked.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.repository.host()
    }

    /// What the registry or its token server said, where one of them said no.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.fault.refusal()
    }

    /// The HTTP status of that.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// Whether the registry, or its token server, does not let us: 401 or 403.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403)) && !self.is_throttled()
    }

    /// Whether the registry, or its token server, is out of order: nobody answers, or the answer is 408, 429 or 5xx.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.fault.is_outage()
    }

    /// Whether it was asked too often.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_throttling)
    }

    /// Whether a manifest was refused since the registry does not have, or does not see yet, what it points to. Registries
    /// say so of parts that they took a moment ago: behind a load balancer, or while others upload the same ones.
    #[must_use]
    pub fn lacks_parts(&self) -> bool {
        let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        let refusal = self
            .refusal()
            .filter(|_| self.operation == Operation::Write);
        refusal.is_some_and(|refusal| codes.iter().any(|code| refusal.has_code(code)))
    }

    /// Whether the content came and is the fault: what the digest names is no manifest, whoever reads it, or longer than
    /// anything that was asked for. A registry that gives something else, or nothing, is not that.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self.fault.kind() {
            Kind::Manifest => true,
            Kind::Body(error) => matches!(error, HttpError::TooLong { .. }),
            Kind::Size => self.operation == Operation::ReadBlob,
            Kind::Refused(_) | Kind::Unreachable(..) | Kind::Login(_) | Kind::Other => false,
        }
    }

    /// Whether a tag holds what cannot be read as the list that it is for. Whoever may push can put that there.
    #[must_use]
    pub fn is_no_list(&self) -> bool {
        let is_list_fault = matches!(self.fault, Fault::Listing(_) | Fault::NoList(_));
        self.operation == Operation::Read && is_list_fault
    }

    /// Whether a list came, and has more entries than are looked at. Whoever may push can make it as long.
    #[must_use]
    pub fn is_long_list(&self) -> bool {
        matches!(self.fault, Fault::LongList(_))
    }

    /// Why the certificate of the registry, or of a server that it sends us to, is not accepted, and which server that is.
    #[must_use]
    pub fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        self.fault.certificate()
    }

    /// The proxy that was to bring the question there, where no answer came.
    #[must_use]
    pub fn proxy(&self) -> Option<&Through> {
        let mut kind = self.fault.kind();
        if let Kind::Login(cause) = kind {
            kind = cause.kind();
        }
        if let Kind::Unreachable(_, unanswered) = kind {
            unanswered.through.as_ref()
        } else {
            None
        }
    }

    /// Whether there was no token, rather than no right with one.
    #[must_use]
    pub fn is_about_token(&self) -> bool {
        matches!(
            self.fault,
            Fault::Token { .. }
                | Fault::Aws { .. }
                | Fault::AwsEndpoint { .. }
                | Fault::Realm { .. }
                | Fault::Helper(_)
        )
    }

    /// What AWS did not allow, where it refused to give a login out.
    #[must_use]
    pub fn aws_refusal(&self) -> Option<AwsRefusal> {
        let Fault::Aws {
            permission, fault, ..
        } = &self.fault
        else {
            return None;
        };
        let refusal = fault.refusal()?;
        let is_denied = refusal.status == 403 || refusal.has_code("AccessDeniedException");
        match refusal.status {
            // AWS's JSON services answer 400 to a refusal; which one it is, the code says.
            _ if AWS_KEY_CODES.iter().any(|code| refusal.has_code(code)) => Some(AwsRefusal::Keys),
            400..=499 if is_denied => Some(AwsRefusal::Permission(permission)),
            _ => None,
        }
    }

    /// Whether something was to be stored.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::WriteBlob)
    }

    /// Where the credentials came from that were sent; `None` if it was asked as nobody.
    #[must_use]
    pub fn credentials(&self) -> Option<&'static str> {
        self.credentials
    }

    /// The credential helper that has the credentials, as the docker config says; or the one that it names for all hosts,
    /// where the registry does not let us in as nobody: the credentials may be in there.
    #[must_use]
    pub fn unused_helper(&self) -> Option<&str> {
        if let Fault::Helper(needed) = &self.fault {
            return Some(&needed.helper);
        }
        self.helper.as_deref().filter(|_| self.is_denied())
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadBlob => "read blob",
            Self::WriteBlob => "upload blob",
            Self::List => "list what refers to",
        })
    }
}
