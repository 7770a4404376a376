//! The credentials of a run, and the choice of one for each repository.

use super::aws::AwsKeys;
use super::credential::{
    Credential, CredentialEntry, CredentialsError, EntryValue, HelperNeeded, Login,
};
use super::docker_config;
use super::ecr::Ecr;
use crate::domain::{Host, Repository, Secret};

/// All credentials of a run, from four sources in this order: single logins, a docker config, a GitHub token for
/// ghcr.io, and AWS keys for Amazon's registries. The first source with a match for a repository is used, and within
/// one source the narrowest scope.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    logins: Vec<CredentialEntry>,
    docker: Vec<CredentialEntry>,
    default_helper: Option<String>,
    github: Option<GithubToken>,
    aws: Option<AwsKeys>,
}

/// A job's token, and the only registries that receive it.
#[derive(Debug, Clone)]
struct GithubToken {
    token: Secret,
    registries: Vec<Host>,
}

/// The credential for a repository, and its source.
#[derive(Debug, Clone)]
pub(super) struct FoundCredential {
    pub(super) credential: Credential,
    pub(super) source: &'static str,
}

impl Credentials {
    /// Creates an empty set of credentials: all requests are anonymous.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a login for `scope`: a registry (`ghcr.io`) or a part of one (`ghcr.io/octo-org`). `source` names the input
    /// for hints: `registry-auths`.
    pub fn login(
        &mut self,
        scope: &str,
        login: Login,
        source: &'static str,
    ) -> Result<(), CredentialsError> {
        self.logins.push(CredentialEntry {
            scope: scope.parse()?,
            value: EntryValue::Credential(Credential::from_login(login)),
            source,
        });
        Ok(())
    }

    /// Adds the entries of a docker config (`config.json`) that was read from `origin`.
    pub fn docker_config(&mut self, json: &[u8], origin: &str) -> Result<(), CredentialsError> {
        let read = docker_config::read(json, origin)?;
        self.docker.extend(read.entries);
        self.default_helper = read.default_helper.or(self.default_helper.take());
        Ok(())
    }

    /// Adds the token of a job that runs on `server`, by default `https://github.com`. The token is used for that
    /// server's registries if no other credential matches.
    pub fn github_token(&mut self, token: Secret, server: Option<&str>) {
        let registries = registries_of(server.unwrap_or("https://github.com"));
        self.github = Some(GithubToken { token, registries });
    }

    /// Adds AWS keys. They are exchanged for a login to Amazon's registries if no other credential matches.
    pub fn aws(&mut self, keys: AwsKeys) {
        self.aws = Some(keys);
    }

    /// Returns every secret, so that all can be masked before the first line is printed.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let held = self.logins.iter().chain(&self.docker);
        held.filter_map(|entry| match &entry.value {
            EntryValue::Credential(Credential::Login(login)) => Some(&login.password),
            EntryValue::Credential(Credential::IdentityToken(token)) => Some(token),
            EntryValue::Helper { .. } => None,
        })
        .chain(self.github.iter().map(|github| &github.token))
        .chain(self.aws.iter().map(|keys| &keys.secret))
        .chain(
            self.aws
                .iter()
                .filter_map(|keys| keys.session_token.as_ref()),
        )
    }

    /// Returns the AWS keys if they apply to `repository`: it is on one of Amazon's registries and there is no login. A
    /// missing credential helper is not a login, because it would also ask AWS.
    pub(super) fn aws_for(&self, repository: &Repository) -> Option<(&AwsKeys, Ecr)> {
        let keys = self.aws.as_ref()?;
        let ecr = Ecr::of(repository.host())?;
        let is_open = matches!(self.find(repository), Ok(None) | Err(_));
        is_open.then_some((keys, ecr))
    }

    /// Returns the AWS keys.
    pub(super) fn aws_keys(&self) -> Option<&AwsKeys> {
        self.aws.as_ref()
    }

    /// Returns the credential for `repository`, or `None` for anonymous requests.
    pub(super) fn find(
        &self,
        repository: &Repository,
    ) -> Result<Option<FoundCredential>, HelperNeeded> {
        let entry =
            narrowest(&self.logins, repository).or_else(|| narrowest(&self.docker, repository));
        match entry.map(|entry| (&entry.value, entry.source)) {
            Some((EntryValue::Credential(credential), source)) => Ok(Some(FoundCredential {
                credential: credential.clone(),
                source,
            })),
            Some((EntryValue::Helper { helper, origin }, _)) => Err(HelperNeeded {
                origin: origin.clone(),
                host: repository.host().to_string(),
                helper: helper.clone(),
            }),
            None => Ok(self.github_token_for(repository.host())),
        }
    }

    /// Returns the helper that may have credentials for a host without an entry in the docker config. Docker lists each
    /// host it has logged in to, so this is only a hint.
    pub(super) fn default_helper(&self) -> Option<&str> {
        self.default_helper.as_deref()
    }

    fn github_token_for(&self, host: &Host) -> Option<FoundCredential> {
        let GithubToken { token, registries } = self.github.as_ref()?;
        registries.contains(host).then(|| FoundCredential {
            credential: Credential::Login(Login {
                // GitHub's documentation uses this name for an App's token. GHCR accepts any name.
                username: "x-access-token".to_owned(),
                password: token.clone(),
            }),
            source: "github-token",
        })
    }
}

/// Returns the registries of a GitHub server.
///
/// SECURITY: the token of a job on an enterprise server is a secret of that server. It must not be sent to another
/// host.
///
/// Source: GitHub Enterprise Server, "Enabling subdomain isolation" (`containers.HOSTNAME`; `docker.HOSTNAME`, or the
/// server itself without isolation); GitHub Enterprise Cloud with data residency, `containers.SUBDOMAIN.ghe.com`.
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

fn narrowest<'a>(
    entries: &'a [CredentialEntry],
    repository: &Repository,
) -> Option<&'a CredentialEntry> {
    // The last of equal entries is used, as in a file that is read from top to bottom.
    entries
        .iter()
        .filter(|entry| entry.scope.covers(repository))
        .max_by_key(|entry| entry.scope.path.len())
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
        match found.credential {
            Credential::Login(login) => Some((login.username, found.source)),
            Credential::IdentityToken(_) => Some(("<token>".to_owned(), found.source)),
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
