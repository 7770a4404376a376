//! Who we are, and where: the credentials that a run was given, and which of them a repository gets.

use std::str::FromStr;

use super::aws::AwsKeys;
use super::docker_config;
use super::ecr::Ecr;
use crate::domain::{Host, Repository, Secret};

/// A user name and a password or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password, or a token that stands for one.
    pub password: Secret,
}

/// All credentials of a run, from four sources: logins given one by one, a docker config, a GitHub token for ghcr.io,
/// AWS's keys for Amazon's registries. The first source that has something for a repository counts; within one source,
/// the narrowest scope.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    logins: Vec<Entry>,
    docker: Vec<Entry>,
    default_helper: Option<String>,
    github: Option<GithubToken>,
    aws: Option<AwsKeys>,
}

/// A job's token, and the only registries that it is sent to.
#[derive(Debug, Clone)]
struct GithubToken {
    token: Secret,
    registries: Vec<Host>,
}

/// Why credentials cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Not a host, nor a host with a path.
    #[error("`{0}` is not a registry (`ghcr.io`, or with a path: `ghcr.io/octo-org`)")]
    Scope(String),
    /// The docker config is not JSON, or not of its shape. The cause is not kept: it could show a part of a secret.
    #[error("`{origin}` is not a docker config (line {line}, column {column})")]
    Malformed {
        /// Which file.
        origin: String,
        /// Where in the file.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// An entry's `auth` is not what `docker login` writes.
    #[error("`{origin}`: the `auth` of `{key}` is not base64 of `username:password`")]
    Auth {
        /// Which file.
        origin: String,
        /// Which entry.
        key: String,
    },
}

/// A docker config that leaves the credentials of this host to a program, which is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{origin}` leaves the credentials of `{host}` to the program `docker-credential-{helper}`, which this image does not have"
)]
pub struct HelperNeeded {
    /// Which file.
    pub origin: String,
    /// Which registry.
    pub host: String,
    /// Which program.
    pub helper: String,
}

/// What a repository is asked with.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) proof: Proof,
    pub(super) source: &'static str,
}

/// The two kinds of proof that token servers take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// For Basic authentication.
    Login(Login),
    /// An OAuth 2 refresh token, which docker calls an identity token.
    IdentityToken(Secret),
}

/// One entry of a source.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) scope: Scope,
    pub(super) holds: Holds,
    pub(super) source: &'static str,
}

#[derive(Debug, Clone)]
pub(super) enum Holds {
    Proof(Proof),
    /// The name of the helper, and the file that says so.
    Helper {
        helper: String,
        origin: String,
    },
}

/// A registry, or the repositories of it that are below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    host: Host,
    path: String,
}

impl Credentials {
    /// No credentials at all: every registry is asked as nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a login for `scope`: a registry (`ghcr.io`) or a part of one (`ghcr.io/octo-org`). `source` names where it
    /// was given, for hints: `registry-auths`.
    pub fn login(
        &mut self,
        scope: &str,
        login: Login,
        source: &'static str,
    ) -> Result<(), CredentialsError> {
        self.logins.push(Entry {
            scope: scope.parse()?,
            holds: Holds::Proof(Proof::from_login(login)),
            source,
        });
        Ok(())
    }

    /// Adds what is in a docker config (`config.json`), which was read from `origin`.
    pub fn docker_config(&mut self, json: &[u8], origin: &str) -> Result<(), CredentialsError> {
        let read = docker_config::read(json, origin)?;
        self.docker.extend(read.entries);
        self.default_helper = read.default_helper.or(self.default_helper.take());
        Ok(())
    }

    /// Adds the token of a job that runs on `server` (`https://github.com`), which is used for that server's registries
    /// where nothing else is given. Without a server it is github.com.
    pub fn github_token(&mut self, token: Secret, server: Option<&str>) {
        let registries = registries_of(server.unwrap_or("https://github.com"));
        self.github = Some(GithubToken { token, registries });
    }

    /// Adds AWS's keys, which are traded for a login to Amazon's registries where nothing else is given.
    pub fn aws(&mut self, keys: AwsKeys) {
        self.aws = Some(keys);
    }

    /// Every secret in here, so that all can be masked before the first line is printed.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let held = self.logins.iter().chain(&self.docker);
        held.filter_map(|entry| match &entry.holds {
            Holds::Proof(Proof::Login(login)) => Some(&login.password),
            Holds::Proof(Proof::IdentityToken(token)) => Some(token),
            Holds::Helper { .. } => None,
        })
        .chain(self.github.iter().map(|github| &github.token))
        .chain(self.aws.iter().map(|keys| &keys.secret))
        .chain(
            self.aws
                .iter()
                .filter_map(|keys| keys.session_token.as_ref()),
        )
    }

    /// AWS's keys, where they are what `host` is asked with: it is Amazon's, and no login is at hand. A credential
    /// helper that is not here is no login: what it would do is ask AWS.
    pub(super) fn aws_for(&self, repository: &Repository) -> Option<(&AwsKeys, Ecr)> {
        let keys = self.aws.as_ref()?;
        let ecr = Ecr::of(repository.host())?;
        let is_open = matches!(self.find(repository), Ok(None) | Err(_));
        is_open.then_some((keys, ecr))
    }

    /// AWS's keys.
    pub(super) fn aws_keys(&self) -> Option<&AwsKeys> {
        self.aws.as_ref()
    }

    /// What `repository` is asked with; `None` is nobody.
    pub(super) fn find(&self, repository: &Repository) -> Result<Option<Found>, HelperNeeded> {
        let entry =
            narrowest(&self.logins, repository).or_else(|| narrowest(&self.docker, repository));
        match entry.map(|entry| (&entry.holds, entry.source)) {
            Some((Holds::Proof(proof), source)) => Ok(Some(Found {
                proof: proof.clone(),
                source,
            })),
            Some((Holds::Helper { helper, origin }, _)) => Err(HelperNeeded {
                origin: origin.clone(),
                host: repository.host().to_string(),
                helper: helper.clone(),
            }),
            None => Ok(self.github_token_for(repository.host())),
        }
    }

    /// The helper that may know credentials for a host that the docker config does not mention. Docker mentions each
    /// host it has logged in to, so this is no more than a hint.
    pub(super) fn default_helper(&self) -> Option<&str> {
        self.default_helper.as_deref()
    }

    fn github_token_for(&self, host: &Host) -> Option<Found> {
        let GithubToken { token, registries } = self.github.as_ref()?;
        registries.contains(host).then(|| Found {
            proof: Proof::Login(Login {
                // The name under which GitHub's own documents use an App's token; GHCR accepts any.
                username: "x-access-token".to_owned(),
                password: token.clone(),
            }),
            source: "github-token",
        })
    }
}

/// The registries that belong to a server of GitHub's.
///
/// SECURITY: the token of a job on an enterprise's own server is a secret of that server: it goes to no other host.
///
/// Source: GitHub Enterprise Server, "Enabling subdomain isolation" (`containers.HOSTNAME`; `docker.HOSTNAME`, or the server
/// itself without isolation); GitHub Enterprise Cloud with data residency, `containers.SUBDOMAIN.ghe.com`.
fn registries_of(server: &str) -> Vec<Host> {
    let server = reqwest::Url::parse(server).ok();
    let Some(server) = server.as_ref().and_then(reqwest::Url::host_str) else {
        return Vec::new();
    };
    if server == "github.com" {
        return "ghcr.io".parse().into_iter().collect();
    }
    ["containers.", "docker.", ""]
        .iter()
        .filter_map(|prefix| format!("{prefix}{server}").parse().ok())
        .collect()
}

fn narrowest<'a>(entries: &'a [Entry], repository: &Repository) -> Option<&'a Entry> {
    // The last of equals, as in a file that is read from top to bottom.
    entries
        .iter()
        .filter(|entry| entry.scope.holds(repository))
        .max_by_key(|entry| entry.scope.path.len())
}

impl Proof {
    /// `<token>` in place of a user name is how credential helpers mark an identity token.
    pub(super) fn from_login(login: Login) -> Self {
        if login.username == "<token>" {
            Self::IdentityToken(login.password)
        } else {
            Self::Login(login)
        }
    }
}

impl Scope {
    fn holds(&self, repository: &Repository) -> bool {
        let below = repository.path().strip_prefix(self.path.as_str());
        self.host == *repository.host()
            && below.is_some_and(|rest| {
                self.path.is_empty() || rest.is_empty() || rest.starts_with('/')
            })
    }
}

impl FromStr for Scope {
    type Err = CredentialsError;

    /// Reads `host` or `host/path`; also what docker writes for Docker Hub, `https://index.docker.io/v1/`, and other
    /// addresses of that form.
    fn from_str(text: &str) -> Result<Self, CredentialsError> {
        let refused = || CredentialsError::Scope(text.chars().take(200).collect());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str) -> Login {
        Login {
            username: username.to_owned(),
            password: Secret::new("password"),
        }
    }

    fn user(credentials: &Credentials, repository: &str) -> Option<(String, &'static str)> {
        let found = credentials.find(&repository.parse().unwrap()).unwrap()?;
        match found.proof {
            Proof::Login(login) => Some((login.username, found.source)),
            Proof::IdentityToken(_) => Some(("<token>".to_owned(), found.source)),
        }
    }

    #[test]
    fn narrowest_scope_wins_and_ends_at_a_slash() {
        let mut credentials = Credentials::new();
        for scope in ["ghcr.io/org/app", "ghcr.io", "ghcr.io/org"] {
            credentials.login(scope, login(scope), "test").unwrap();
        }
        for (repository, wanted) in [
            ("ghcr.io/org/app", Some("ghcr.io/org/app")),
            ("ghcr.io/org/app/sub", Some("ghcr.io/org/app")),
            ("ghcr.io/org/apple", Some("ghcr.io/org")),
            ("ghcr.io/organic/app", Some("ghcr.io")),
            ("quay.io/org/app", None),
            ("evil.ghcr.io/org/app", None),
        ] {
            let found = user(&credentials, repository).map(|(name, _)| name);
            assert_eq!(found.as_deref(), wanted, "{repository}");
        }
    }

    #[test]
    fn sources_count_in_their_order() {
        let mut credentials = Credentials::new();
        credentials.github_token(Secret::new("github"), None);
        assert_eq!(
            user(&credentials, "ghcr.io/o/r"),
            Some(("x-access-token".to_owned(), "github-token"))
        );
        assert_eq!(user(&credentials, "quay.io/o/r"), None);
        let config = br#"{"auths":{"ghcr.io/o/r":{"username":"docker","password":"p"}}}"#;
        credentials.docker_config(config, "config.json").unwrap();
        assert_eq!(
            user(&credentials, "ghcr.io/o/r"),
            Some(("docker".to_owned(), "docker config"))
        );
        credentials
            .login("ghcr.io", login("given"), "registry-auths")
            .unwrap();
        assert_eq!(
            user(&credentials, "ghcr.io/o/r"),
            Some(("given".to_owned(), "registry-auths"))
        );
        assert_eq!(credentials.secrets().count(), 3);
    }

    #[test]
    fn token_of_a_job_goes_to_its_own_server_alone() {
        for (server, own, foreign) in [
            (
                Some("https://github.com"),
                vec!["ghcr.io"],
                vec!["containers.github.com", "github.com"],
            ),
            (None, vec!["ghcr.io"], vec!["quay.io"]),
            (
                Some("https://ghe.example.com"),
                vec![
                    "containers.ghe.example.com",
                    "docker.ghe.example.com",
                    "ghe.example.com",
                ],
                vec![
                    "ghcr.io",
                    "example.com",
                    "x.ghe.example.com",
                    "containers.ghe.example.com.evil.test",
                ],
            ),
            (
                Some("https://octo.ghe.com"),
                vec!["containers.octo.ghe.com"],
                vec!["ghcr.io", "ghe.com"],
            ),
            (Some("octo"), vec![], vec!["ghcr.io", "octo"]),
        ] {
            let mut credentials = Credentials::new();
            credentials.github_token(Secret::new("github"), server);
            let is_sent = |host: &&str| user(&credentials, &format!("{host}/o/r")).is_some();
            assert!(own.iter().all(is_sent), "{server:?}");
            assert!(!foreign.iter().any(is_sent), "{server:?}");
        }
    }

    #[test]
    fn docker_hub_goes_by_all_its_names() {
        for scope in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://index.docker.io/v1/",
        ] {
            let mut credentials = Credentials::new();
            credentials.login(scope, login("me"), "test").unwrap();
            assert!(user(&credentials, "docker.io/o/r").is_some(), "{scope}");
        }
    }

    #[test]
    fn scope_that_is_no_registry_is_refused() {
        for scope in ["", "/", "a b", "https://", "ghcr.io/a b"] {
            let refused = Credentials::new().login(scope, login("me"), "test");
            assert!(refused.is_err(), "{scope}");
        }
    }
}
