//! A login or token for a registry, and the entries that name one.

use std::str::FromStr;

use crate::domain::{Host, Repository, Secret};

/// The key of Docker Hub in a docker config.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user name and a password or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password, or a token used in its place.
    pub password: Secret,
}

/// The reason why credentials are invalid.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The scope is neither a host nor a host with a path.
    #[error("`{0}` is not a registry (`ghcr.io`, or with a path: `ghcr.io/octo-org`)")]
    CredentialScope(String),
    /// The docker config is not JSON or has the wrong structure. The cause is dropped, because it could contain part of
    /// a secret.
    #[error("`{origin}` is not a docker config (line {line}, column {column})")]
    Malformed {
        /// The file.
        origin: String,
        /// The line in the file.
        line: usize,
        /// The column in the line.
        column: usize,
    },
    /// The `auth` of an entry is not in the format of `docker login`.
    #[error("`{origin}`: the `auth` of `{key}` is not base64 of `username:password`")]
    Auth {
        /// The file.
        origin: String,
        /// The key of the entry.
        key: String,
    },
}

/// A docker config that leaves the credentials of a host to a program that is not installed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{origin}` names `docker-credential-{helper}` for the credentials of `{host}`, a program that this image does not have"
)]
pub struct HelperNeeded {
    /// The file.
    pub origin: String,
    /// The registry.
    pub host: String,
    /// The name of the credential helper.
    pub helper: String,
}

/// The two kinds of credentials that token servers accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// A login for Basic authentication.
    Login(Login),
    /// An OAuth 2 refresh token, which docker calls an identity token.
    IdentityToken(Secret),
}

/// One entry of a credential source.
#[derive(Debug, Clone)]
pub(super) struct CredentialEntry {
    pub(super) scope: CredentialScope,
    pub(super) value: EntryValue,
    pub(super) source: &'static str,
}

#[derive(Debug, Clone)]
pub(super) enum EntryValue {
    Credential(Credential),
    /// The name of the helper, and the file that names it.
    Helper {
        helper: String,
        origin: String,
    },
}

/// A registry, or the repositories below a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CredentialScope {
    host: Host,
    pub(super) path: String,
}

impl Credential {
    /// Converts a login. Credential helpers mark an identity token by the user name `<token>`.
    pub(super) fn from_login(login: Login) -> Self {
        if login.username == "<token>" {
            Self::IdentityToken(login.password)
        } else {
            Self::Login(login)
        }
    }
}

impl FromStr for CredentialScope {
    type Err = CredentialsError;

    /// Reads `host` or `host/path`. Docker's form for Docker Hub, `https://index.docker.io/v1/`, and similar addresses
    /// are accepted too.
    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        let refused = || CredentialsError::CredentialScope(text.chars().take(200).collect());
        let bare = text.trim();
        let bare = bare
            .strip_prefix("https://")
            .or(bare.strip_prefix("http://"))
            .unwrap_or(bare);
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let host: Host = host.parse().map_err(|_| refused())?;
        let path = match path.trim_matches('/') {
            "v1" | "v2" => "",
            path => path,
        };
        if path.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(refused());
        }
        Ok(Self {
            host,
            path: path.to_owned(),
        })
    }
}

impl CredentialScope {
    /// True if `key` is the spelling that `docker login` writes for this scope: the host, or one address for Docker Hub.
    pub(super) fn is_exactly(&self, key: &str) -> bool {
        if self.path.is_empty() {
            let exact = if self.host.is_docker_hub() {
                DOCKER_HUB_KEY
            } else {
                self.host.as_str()
            };
            return key == exact;
        }
        key.split_once('/') == Some((self.host.as_str(), &self.path))
    }

    pub(super) fn covers(&self, repository: &Repository) -> bool {
        let below = repository.path().strip_prefix(self.path.as_str());
        self.host == *repository.host()
            && below.is_some_and(|rest| {
                self.path.is_empty() || rest.is_empty() || rest.starts_with('/')
            })
    }
}
