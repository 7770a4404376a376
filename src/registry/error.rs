//! The errors of registry operations, with the details that a hint to the user needs.

use std::sync::Arc;
use std::time::Duration;

use super::credential::HelperNeeded;
use super::error_response::{ErrorResponse, printable};
use crate::domain::{Digest, Host, ManifestError, MediaType, Repository};
use crate::http::{
    BodyError, CertificateProblem, Response, Transient, TransportError, TransportErrorKind,
    authority,
};

/// A failed operation on a registry.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not {operation} `{object}`")]
pub struct RegistryError {
    pub(super) operation: Operation,
    pub(super) object: String,
    pub(super) repository: Repository,
    /// The source of the given credentials.
    pub(super) credentials: Option<&'static str>,
    /// True if the registry asked for credentials.
    pub(super) is_challenged: bool,
    /// True if this run writes to the repository.
    pub(super) is_destination: bool,
    /// True if an input names the registry as one for plain HTTP.
    pub(super) is_named_insecure: bool,
    /// The media type of the manifest that was to be stored.
    pub(super) media_type: Option<MediaType>,
    pub(super) helper: Option<String>,
    #[source]
    pub(super) kind: RegistryErrorKind,
}

/// The operation that failed with a [`RegistryError`].
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

/// The reason why AWS issued no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsErrorResponse {
    /// The keys are unknown or no longer valid.
    Keys,
    /// The keys do not have this permission.
    Permission(&'static str),
}

/// The error codes of AWS for invalid keys ("Common errors" of each service's API reference).
const AWS_KEY_CODES: [&str; 6] = [
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "UnrecognizedClientException",
];

/// The start of the reason why a plain address is not used.
pub(super) const NOT_HTTPS: &str = "is not HTTPS";

/// The cause of a failed operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryErrorKind {
    /// The registry, or the storage behind a redirect, answered with an error or an unexpected status.
    #[error("`{host}` answered {refusal}")]
    Refused {
        /// The host that answered.
        host: String,
        /// The error response.
        refusal: Box<ErrorResponse>,
    },
    /// No token or login could be obtained for the request.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The content is not what its digest, its descriptor or its type says.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// No response arrived.
    #[error("`{host}` {}{}: {}", .error.state(), .error.way(), .error.cause)]
    Unreachable {
        /// The requested host.
        host: String,
        /// The reason, and the proxy if there was one.
        error: TransportError,
    },
    /// The response is incomplete or too long.
    #[error("`{host}` sent an invalid response")]
    Body {
        /// The host that answered.
        host: String,
        /// The problem with the body.
        source: BodyError,
    },
    /// The registry reported success before all content was sent.
    #[error("`{host}` confirmed the content before all of it was sent")]
    Early {
        /// The host that answered.
        host: String,
    },
    /// The registry accepted less or more of a chunk than was sent.
    #[error("`{host}` confirmed the content up to byte {taken}, but it was sent up to byte {sent}")]
    Partial {
        /// The host that answered.
        host: String,
        /// The last byte that the registry accepted.
        taken: u64,
        /// The last byte that was sent.
        sent: u64,
    },
    /// The content was read together with other destinations, which did not wait for this one. It has to read alone.
    #[error("`{host}` was read for other destinations, which did not wait for this one")]
    LeftOut {
        /// The host that was read.
        host: String,
    },
    /// The list of referrers or tags cannot be read to its end.
    #[error("its list cannot be used: {0}")]
    Listing(String),
    /// The list of referrers has more entries than are read.
    #[error("its list has more than {0}")]
    LongList(String),
    /// The content is not a list of referrers.
    #[error("its response is not a usable list: {0}")]
    NoList(String),
    /// An address in a response must not be followed.
    #[error("it redirects to `{address}`, which {reason}")]
    Address {
        /// The address, without its query.
        address: String,
        /// The problem with the address.
        reason: &'static str,
    },
}

/// The reason why there is no token or login for a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoginError {
    /// No token could be fetched, so the request was not repeated.
    #[error("could not get a token from `{host}`")]
    Token {
        /// The token server.
        host: String,
        /// The cause.
        source: Arc<RegistryErrorKind>,
    },
    /// AWS issued no login for its registry.
    #[error("could not get a login from AWS (`{permission}` at `{host}`)")]
    Aws {
        /// The AWS endpoint.
        host: String,
        /// The AWS action, which is also the name of the permission.
        permission: &'static str,
        /// The cause.
        source: Arc<RegistryErrorKind>,
    },
    /// A variable of the environment names an AWS endpoint that must not be used.
    #[error("variable `{variable}` {reason}")]
    AwsEndpoint {
        /// The name of the variable.
        variable: &'static str,
        /// The problem with its value.
        reason: &'static str,
    },
    /// The registry names a token server that must not be used.
    #[error("it names the token server `{realm}`, which {reason}")]
    Realm {
        /// The address, without its query.
        realm: String,
        /// The problem with the address.
        reason: &'static str,
    },
    /// The token server answered 200 without a token.
    #[error("its response contains no token")]
    NoToken,
    /// The credentials are in a helper program that is not installed here.
    #[error(transparent)]
    Helper(#[from] HelperNeeded),
}

/// The problem with content, or with the file that it is read from.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ContentError {
    /// The content does not match the digest.
    #[error("the digest of the content is `{computed}`, not `{claimed}` ({claimant})")]
    Digest {
        /// The digest of the content.
        computed: Digest,
        /// The expected digest.
        claimed: String,
        /// The source of the expected digest.
        claimant: &'static str,
    },
    /// The content is longer or shorter than its descriptor states.
    #[error("the content has {arrived} bytes, not {claimed}")]
    Size {
        /// The number of bytes received; for content that is too long, the number so far.
        arrived: u64,
        /// The expected number of bytes.
        claimed: u64,
    },
    /// The file with the content cannot be read.
    #[error("the file cannot be read")]
    File(#[source] Arc<std::io::Error>),
    /// The manifest cannot be read.
    #[error("its response is not a usable manifest")]
    Manifest(#[source] Arc<ManifestError>),
}

impl RegistryErrorKind {
    /// Creates the error of an error response.
    pub(super) fn refused(response: &Response) -> Self {
        let location = response.header("location").unwrap_or_default();
        let address = location.split('?').next().unwrap_or_default();
        if response.status.is_redirection() && !address.is_empty() {
            return Self::Address {
                address: printable(address, 200),
                reason: "is not followed for this request",
            };
        }
        Self::Refused {
            host: authority(&response.url),
            refusal: Box::new(ErrorResponse::of(response)),
        }
    }

    /// Creates the error of a request that the HTTP library cannot build.
    pub(super) fn not_built(host: impl Into<String>, error: &reqwest::Error) -> Self {
        Self::Unreachable {
            host: host.into(),
            error: TransportError::of(error),
        }
    }

    /// Creates the error of a request that cannot be sent.
    pub(super) fn never_asked(host: impl Into<String>, cause: String) -> Self {
        Self::Unreachable {
            host: host.into(),
            error: TransportError {
                cause,
                kind: TransportErrorKind::NotSent,
                proxy: None,
                certificate: None,
            },
        }
    }

    /// Returns the problem with a server's certificate, and the host of that server.
    pub(super) fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        match self.class() {
            ErrorClass::Unreachable(host, error) => Some((error.certificate.as_deref()?, host)),
            ErrorClass::Login(kind) => kind.certificate(),
            ErrorClass::Refused(_)
            | ErrorClass::Body(_)
            | ErrorClass::Manifest
            | ErrorClass::Size
            | ErrorClass::Other => None,
        }
    }

    /// True if the service is down, which `on-signing-failure: warn` covers: no response, 408, 429 or 5xx. Denials and
    /// malformed responses do not count.
    fn is_outage(&self) -> bool {
        match self.class() {
            ErrorClass::Refused(refusal) => refusal.is_outage(),
            ErrorClass::Unreachable(_, error) => error.is_outage(),
            ErrorClass::Body(BodyError::Broken(error)) => error.is_outage(),
            ErrorClass::Login(kind) => kind.is_outage(),
            ErrorClass::Body(BodyError::TooLong { .. })
            | ErrorClass::Manifest
            | ErrorClass::Size
            | ErrorClass::Other => false,
        }
    }

    fn may_pass(&self) -> bool {
        match self.class() {
            ErrorClass::Refused(refusal) => refusal.is_outage(),
            ErrorClass::Unreachable(..) => true,
            ErrorClass::Body(error) => matches!(error, BodyError::Broken(_)),
            ErrorClass::Login(kind) => kind.may_pass(),
            ErrorClass::Manifest | ErrorClass::Size => false,
            ErrorClass::Other => matches!(
                self,
                Self::Early { .. } | Self::Partial { .. } | Self::LeftOut { .. }
            ),
        }
    }

    /// True if there was no response, or a temporary one that says nothing about the request.
    pub(super) fn is_unavailable(&self) -> bool {
        match self.refusal() {
            Some(refusal) => {
                refusal.is_throttling() || matches!(refusal.status, 408 | 502 | 503 | 504)
            }
            None => self.is_transient(),
        }
    }

    pub(super) fn refusal(&self) -> Option<&ErrorResponse> {
        match self.class() {
            ErrorClass::Refused(refusal) => Some(refusal),
            ErrorClass::Login(kind) => kind.refusal(),
            ErrorClass::Unreachable(..)
            | ErrorClass::Body(_)
            | ErrorClass::Manifest
            | ErrorClass::Size
            | ErrorClass::Other => None,
        }
    }

    /// Classifies the error. All variants are listed, so that a new one must choose.
    fn class(&self) -> ErrorClass<'_> {
        match self {
            Self::Refused { refusal, .. } => ErrorClass::Refused(refusal),
            Self::Unreachable { host, error } => ErrorClass::Unreachable(host, error),
            Self::Body { source, .. } => ErrorClass::Body(source),
            Self::Login(LoginError::Token { source, .. } | LoginError::Aws { source, .. }) => {
                ErrorClass::Login(source)
            }
            Self::Content(ContentError::Manifest(_)) => ErrorClass::Manifest,
            Self::Content(ContentError::Size { .. }) => ErrorClass::Size,
            Self::Login(
                LoginError::AwsEndpoint { .. }
                | LoginError::Realm { .. }
                | LoginError::NoToken
                | LoginError::Helper(_),
            )
            | Self::Content(ContentError::Digest { .. } | ContentError::File(_))
            | Self::Early { .. }
            | Self::Partial { .. }
            | Self::LeftOut { .. }
            | Self::Listing(_)
            | Self::LongList(_)
            | Self::NoList(_)
            | Self::Address { .. } => ErrorClass::Other,
        }
    }
}

impl Transient for RegistryErrorKind {
    // A failed token request has already been retried.
    fn is_transient(&self) -> bool {
        match self.class() {
            ErrorClass::Refused(refusal) => refusal.is_transient(),
            ErrorClass::Unreachable(_, error) => !error.is_lasting(),
            ErrorClass::Body(error) => matches!(error, BodyError::Broken(_)),
            ErrorClass::Login(_) | ErrorClass::Manifest | ErrorClass::Size | ErrorClass::Other => {
                false
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }
}

/// The kinds of errors, by their consequences.
enum ErrorClass<'a> {
    /// A service answered with an error.
    Refused(&'a ErrorResponse),
    /// A host did not answer.
    Unreachable(&'a str, &'a TransportError),
    /// A body was not read completely.
    Body(&'a BodyError),
    /// No token or login could be fetched, for this reason.
    Login(&'a RegistryErrorKind),
    /// The content is not a manifest.
    Manifest,
    /// The content does not have the expected size.
    Size,
    /// The response makes no sense, or the problem is on this machine.
    Other,
}

impl RegistryError {
    /// Reports whether its object is content under a SHA-512 digest.
    #[must_use]
    pub(crate) fn is_about_sha512(&self) -> bool {
        self.object.contains("@sha512:")
    }

    /// Returns the operation that failed.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Returns the cause of the failure.
    #[must_use]
    pub fn kind(&self) -> &RegistryErrorKind {
        &self.kind
    }

    /// Returns the object of the operation, as `registry/repository:tag` or `registry/repository@digest`.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Returns the repository of the operation.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the registry of the operation.
    #[must_use]
    pub fn host(&self) -> &Host {
        self.repository.host()
    }

    /// Returns the error response of the registry or its token server, if there is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&ErrorResponse> {
        self.kind.refusal()
    }

    /// True if the registry itself sent the error response, rather than its storage or its token server.
    #[must_use]
    pub fn is_from_registry(&self) -> bool {
        matches!(&self.kind, RegistryErrorKind::Refused { host, .. } if host == self.host().api())
    }

    /// Returns the HTTP status of the error response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// True if the registry or its token server denied access: 401 or 403.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403)) && !self.is_throttled()
    }

    /// True if the registry or its token server is down: no response, 408, 429 or 5xx.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.kind.is_outage()
    }

    /// True if the server throttled the request.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.refusal().is_some_and(ErrorResponse::is_throttling)
    }

    /// True if a manifest was refused because the registry lacks the content it refers to. Registries also answer so
    /// for content pushed a moment ago: behind a load balancer, or while others upload the same content.
    #[must_use]
    pub fn lacks_parts(&self) -> bool {
        let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        let refusal = self
            .refusal()
            .filter(|_| self.operation == Operation::Write);
        refusal.is_some_and(|refusal| codes.iter().any(|code| refusal.has_code(code)))
    }

    /// Returns the content that the registry names as missing, of a manifest for which it [lacks parts](Self::lacks_parts).
    #[must_use]
    pub fn missing_digest(&self) -> Option<Digest> {
        let refusal = self.refusal().filter(|_| self.lacks_parts())?;
        let named = [&refusal.detail, &refusal.message].into_iter();
        let words = named.flat_map(|text| {
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':')
        });
        let mut digests = words.filter_map(|word| word.parse::<Digest>().ok());
        digests.find(|digest| !self.object.contains(&digest.to_string()))
    }

    /// True if the registry does not let the tag change that was to be written. ECR answers 400 `TAG_INVALID`, Quay 409
    /// `TAG_IMMUTABLE`, Harbor 412; Docker Hub and GitLab state it in words.
    #[must_use]
    pub fn is_immutable_tag(&self) -> bool {
        let is_tag = self.operation == Operation::Write && !self.object.contains('@');
        let Some(refusal) = self.refusal().filter(|_| is_tag) else {
            return false;
        };
        let text = format!("{} {}", refusal.message, refusal.detail).to_ascii_lowercase();
        refusal.status == 409
            || refusal.has_code("TAG_INVALID")
            || refusal.has_code("TAG_IMMUTABLE")
            || text.contains("immutable")
    }

    /// True if the registry gives an address without HTTPS, of its own or of its token server.
    #[must_use]
    pub fn gives_plain_address(&self) -> bool {
        matches!(
            &self.kind,
            RegistryErrorKind::Address { reason, .. }
            | RegistryErrorKind::Login(LoginError::Realm { reason, .. })
                if reason.starts_with(NOT_HTTPS)
        )
    }

    /// True if a later run may succeed without a change: no complete response arrived, or a server is down.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.kind.may_pass()
    }

    /// True if the content itself is at fault: it is not a manifest, or is longer than its limit. A response with other
    /// content, or no response, does not count.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self.kind.class() {
            ErrorClass::Manifest => true,
            ErrorClass::Body(error) => matches!(error, BodyError::TooLong { .. }),
            ErrorClass::Size => self.operation == Operation::ReadBlob,
            ErrorClass::Refused(_)
            | ErrorClass::Unreachable(..)
            | ErrorClass::Login(_)
            | ErrorClass::Other => false,
        }
    }

    /// True if the content of a tag cannot be read as the list that it should be. Anyone with push access can cause
    /// this.
    #[must_use]
    pub fn is_no_list(&self) -> bool {
        let is_list_fault = matches!(
            self.kind,
            RegistryErrorKind::Listing(_) | RegistryErrorKind::NoList(_)
        );
        self.operation == Operation::Read && is_list_fault
    }

    /// True if a list has more entries than are read. Anyone with push access can cause this.
    #[must_use]
    pub fn is_long_list(&self) -> bool {
        matches!(self.kind, RegistryErrorKind::LongList(_))
    }

    /// Returns the problem with the certificate of the registry, or of a server it redirects to, and that server's
    /// host.
    #[must_use]
    pub fn certificate(&self) -> Option<(&CertificateProblem, &str)> {
        self.kind.certificate()
    }

    /// Returns the reason why no response arrived.
    #[must_use]
    pub fn transport(&self) -> Option<&TransportError> {
        let mut class = self.kind.class();
        if let ErrorClass::Login(cause) = class {
            class = cause.class();
        }
        if let ErrorClass::Unreachable(_, error) = class {
            Some(error)
        } else {
            None
        }
    }

    /// True if there was no token, rather than a token without the permission.
    #[must_use]
    pub fn is_about_token(&self) -> bool {
        matches!(
            self.kind,
            RegistryErrorKind::Login(
                LoginError::Token { .. }
                    | LoginError::Aws { .. }
                    | LoginError::AwsEndpoint { .. }
                    | LoginError::Realm { .. }
                    | LoginError::Helper(_)
            )
        )
    }

    /// Returns the reason why AWS refused to issue a login.
    #[must_use]
    pub fn aws_refusal(&self) -> Option<AwsErrorResponse> {
        let RegistryErrorKind::Login(LoginError::Aws {
            permission, source, ..
        }) = &self.kind
        else {
            return None;
        };
        let refusal = source.refusal()?;
        let is_denied = refusal.status == 403 || refusal.has_code("AccessDeniedException");
        match refusal.status {
            // AWS's JSON services answer every refusal with 400. The code distinguishes them.
            _ if AWS_KEY_CODES.iter().any(|code| refusal.has_code(code)) => {
                Some(AwsErrorResponse::Keys)
            }
            400..=499 if is_denied => Some(AwsErrorResponse::Permission(permission)),
            _ => None,
        }
    }

    /// True if the operation was a write.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::WriteBlob)
    }

    /// True if this run writes to the repository, so that its credentials must permit pushing.
    #[must_use]
    pub fn is_destination(&self) -> bool {
        self.is_destination || self.is_write()
    }

    /// True if the registry was reached by plain HTTP because an input names it, and the response is that of a server
    /// that expects HTTPS: nginx and Go answer 400 without a code, others redirect.
    #[must_use]
    pub fn expects_https(&self) -> bool {
        let expects = match &self.kind {
            RegistryErrorKind::Refused { refusal, .. } => match refusal.status {
                301 | 302 | 307 | 308 => true,
                400 => !self.is_write() && refusal.codes.is_empty(),
                _ => false,
            },
            RegistryErrorKind::Address { address, .. } => address.starts_with("https://"),
            RegistryErrorKind::Login(_)
            | RegistryErrorKind::Content(_)
            | RegistryErrorKind::Unreachable { .. }
            | RegistryErrorKind::Body { .. }
            | RegistryErrorKind::Early { .. }
            | RegistryErrorKind::Partial { .. }
            | RegistryErrorKind::LeftOut { .. }
            | RegistryErrorKind::Listing(_)
            | RegistryErrorKind::LongList(_)
            | RegistryErrorKind::NoList(_) => false,
        };
        self.is_named_insecure && expects
    }

    /// True if the manifest that was to be stored has a media type of Docker's.
    #[must_use]
    pub fn is_docker_manifest(&self) -> bool {
        matches!(
            self.media_type,
            Some(MediaType::DockerList | MediaType::DockerManifest)
        )
    }

    /// Returns the source of the sent credentials, or `None` for an anonymous request.
    #[must_use]
    pub fn credentials(&self) -> Option<&'static str> {
        self.credentials.filter(|_| self.is_challenged)
    }

    /// Returns the source of credentials that were given but not sent, because the registry did not ask for any.
    #[must_use]
    pub fn unsent_credentials(&self) -> Option<&'static str> {
        self.credentials.filter(|_| !self.is_challenged)
    }

    /// Returns the credential helper that has the credentials, by the docker config. If an anonymous request was
    /// denied, this is the helper for all hosts, which may have them.
    #[must_use]
    pub fn unused_helper(&self) -> Option<&str> {
        if let RegistryErrorKind::Login(LoginError::Helper(needed)) = &self.kind {
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
            Self::List => "list the referrers of",
        })
    }
}
