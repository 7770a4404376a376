//! Authorizes requests. Remembers the challenge of each host, and one token for each repository and access. Concurrent
//! requests share one token request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::header::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::aws::{self, AwsKeys};
use super::challenge::{Bearer, Challenge, choose};
use super::credential::Credential;
use super::credentials::Credentials;
use super::ecr::{Ecr, Service};
use super::error::{LoginError, RegistryErrorKind};
use super::token::{self, BearerToken};
use super::token_grants::token_lacks_push;
use super::transport::Transport;
use crate::domain::{Host, Repository, Secret};

/// The number of extra scopes that are accepted from a challenge.
const EXTRA_SCOPES_MAX: usize = 8;

/// The access that a request needs in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Pull,
    PullPush,
    /// Push, including mounts from another repository of the same registry. This access has its own token. If reading
    /// the other repository is denied, other writes are not affected.
    Mount(Repository),
}

/// The value of the `Authorization` header.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    kind: AuthorizationKind,
}

#[derive(Debug, Clone)]
enum AuthorizationKind {
    Basic,
    Bearer {
        secret: Secret,
        /// The end of the token, if it was fetched for this request. Until then another one would not help.
        fresh_until: Option<Instant>,
    },
}

/// The credentials, challenges and tokens of a run, by host and repository.
#[derive(Debug)]
pub(super) struct AuthCache {
    credentials: Credentials,
    challenges: Mutex<BTreeMap<Host, Challenge>>,
    tokens: Mutex<BTreeMap<(Repository, Access), Arc<TokenSlot>>>,
    push_scopes: Mutex<BTreeSet<Repository>>,
    aws_logins: aws::Logins,
}

/// The cache entry of one token. The task that locks `state` fetches the token; others wait and use the result.
#[derive(Debug, Default)]
struct TokenSlot {
    /// The number of finished fetches. It is read without the lock, to distinguish a failure during the wait from an
    /// old one.
    fetches: AtomicU64,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<BearerToken>,
    failure: Option<RegistryErrorKind>,
    /// Scopes that a challenge requested beyond the default one.
    extra_scopes: BTreeSet<String>,
}

impl AuthCache {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            challenges: Mutex::default(),
            tokens: Mutex::default(),
            push_scopes: Mutex::default(),
            aws_logins: aws::Logins::default(),
        }
    }

    /// Requests tokens for `repository` with push access from now on.
    pub(super) fn request_push_scope(&self, repository: &Repository) {
        if let Ok(mut push_scopes) = self.push_scopes.lock() {
            push_scopes.insert(repository.clone());
        }
    }

    /// True if tokens for `repository` are requested with push access.
    pub(super) fn is_destination(&self, repository: &Repository) -> bool {
        let push_scopes = self.push_scopes.lock();
        push_scopes.is_ok_and(|push_scopes| push_scopes.contains(repository))
    }

    /// True if a token for push to `repository` was fetched and does not itself exclude push. False if each request
    /// sends the password instead.
    pub(super) async fn may_push(&self, repository: &Repository) -> bool {
        let token_slot = self.token_slot(repository, &Access::PullPush);
        let state = token_slot.state.lock().await;
        let token = state.token.as_ref();
        token.is_some_and(|token| !token_lacks_push(token.secret.expose(), repository.path()))
    }

    /// True if `host` has sent a challenge. Without one it gets no credentials.
    pub(super) fn is_challenged(&self, host: &Host) -> bool {
        self.challenge(host).is_some()
    }

    /// Returns the source of the credentials for `repository`, which may not have been sent.
    pub(super) fn source_for(&self, repository: &Repository) -> Option<&'static str> {
        if self.credentials.aws_for(repository).is_some() {
            return Some("the AWS environment");
        }
        let found = self.credentials.find(repository).ok()??;
        Some(found.source)
    }

    /// Returns the credential given for `repository`, before any exchange for a token.
    pub(super) fn given(&self, repository: &Repository) -> Option<Credential> {
        let found = self.credentials.find(repository).ok()??;
        Some(found.credential)
    }

    /// Returns the AWS keys, even if there are other credentials.
    pub(super) fn aws_keys(&self) -> Option<&AwsKeys> {
        self.credentials.aws_keys()
    }

    /// Returns the service name in the registry's Bearer challenge, if there is one.
    pub(super) fn service(&self, host: &Host) -> Option<String> {
        match self.challenge(host)? {
            Challenge::Bearer(bearer) => bearer.service,
            Challenge::Basic => None,
        }
    }

    /// Returns the credential helper that has credentials for `repository`, by the docker config, or that may have some
    /// if requests are anonymous.
    pub(super) fn unused_helper(&self, repository: &Repository) -> Option<String> {
        if self.credentials.aws_for(repository).is_some() {
            return None;
        }
        match self.credentials.find(repository) {
            Ok(Some(_)) => None,
            Ok(None) => self.credentials.default_helper().map(str::to_owned),
            Err(needed) => Some(needed.helper),
        }
    }

    /// Returns the authorization for a request that has not been refused yet. Nothing is guessed: a host without a
    /// challenge so far gets none. A host with a known challenge gets it at once, for its other repositories too.
    pub(super) async fn authorization(
        &self,
        transport: &Transport,
        repository: &Repository,
        access: &Access,
    ) -> Result<Option<Authorization>, RegistryErrorKind> {
        match self.challenge(repository.host()) {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(transport, repository).await,
            Some(Challenge::Bearer(bearer)) => {
                let wanted = TokenRequest {
                    repository,
                    access,
                    rejected: None,
                    extra_scopes: &[],
                };
                self.token(transport, &bearer, wanted).await.map(Some)
            }
        }
    }

    /// True if `status` may mean that the sent token has expired, although it is not 401.
    pub(super) fn may_be_stale(
        repository: &Repository,
        status: u16,
        sent: Option<&Authorization>,
    ) -> bool {
        // ECR Public answers 400 without a challenge (aws/containers-roadmap#2835). Remove this when it no longer does.
        let is_old_token = sent.is_some_and(|sent| sent.is_bearer() && !sent.is_fresh());
        status == 400
            && is_old_token
            && Ecr::of(repository.host()).is_some_and(|ecr| ecr.service == Service::Public)
    }

    /// Returns the authorization after a 401 with `headers`, or `None` if there is nothing better than `sent`.
    pub(super) async fn after_challenge(
        &self,
        transport: &Transport,
        repository: &Repository,
        access: &Access,
        sent: Option<&Authorization>,
        headers: &HeaderMap,
    ) -> Result<Option<Authorization>, RegistryErrorKind> {
        let host = repository.host();
        let challenge = match (choose(headers), self.challenge(host)) {
            // Harbor sends a Basic challenge after it has received a token. The token server that it named before is
            // still the right one.
            (Some(Challenge::Basic) | None, Some(known @ Challenge::Bearer(_))) => known,
            (Some(asked), _) | (None, Some(asked)) => asked,
            (None, None) => return Ok(None),
        };
        self.remember(host, &challenge);
        let bearer = match challenge {
            Challenge::Basic if sent.is_some() => return Ok(None),
            Challenge::Basic => return self.basic(transport, repository).await,
            Challenge::Bearer(bearer) => bearer,
        };
        let extra_scopes = extra_scopes(&bearer.scopes, repository, access);
        let is_fresh = sent.is_some_and(Authorization::is_fresh);
        if is_fresh && self.has_scopes(repository, access, &extra_scopes).await {
            return Ok(None);
        }
        let rejected = match sent.map(|sent| &sent.kind) {
            Some(AuthorizationKind::Bearer { secret, .. }) => Some(secret),
            Some(AuthorizationKind::Basic) | None => None,
        };
        let wanted = TokenRequest {
            repository,
            access,
            rejected,
            extra_scopes: &extra_scopes,
        };
        self.token(transport, &bearer, wanted).await.map(Some)
    }

    fn challenge(&self, host: &Host) -> Option<Challenge> {
        self.challenges.lock().ok()?.get(host).cloned()
    }

    fn remember(&self, host: &Host, challenge: &Challenge) {
        if let Ok(mut challenges) = self.challenges.lock() {
            challenges.insert(host.clone(), challenge.clone());
        }
    }

    /// Returns the credential for `repository`, used directly or to fetch a token. `None` means anonymous.
    async fn credential(
        &self,
        transport: &Transport,
        repository: &Repository,
    ) -> Result<Option<Credential>, RegistryErrorKind> {
        let Some((keys, ecr)) = self.credentials.aws_for(repository) else {
            return Ok(self
                .credentials
                .find(repository)
                .map_err(LoginError::Helper)?
                .map(|found| found.credential));
        };
        let logins = &self.aws_logins;
        let login = logins.get(transport, repository.host(), &ecr, keys).await;
        login.map(|login| Some(Credential::Login(login)))
    }

    async fn basic(
        &self,
        transport: &Transport,
        repository: &Repository,
    ) -> Result<Option<Authorization>, RegistryErrorKind> {
        let credential = self.credential(transport, repository).await?;
        Ok(credential.and_then(|credential| match credential {
            Credential::Login(login) => Some(Authorization {
                header: token::basic(&login),
                kind: AuthorizationKind::Basic,
            }),
            // Only a token server accepts an identity token.
            Credential::IdentityToken(_) => None,
        }))
    }

    async fn has_scopes(
        &self,
        repository: &Repository,
        access: &Access,
        scopes: &[String],
    ) -> bool {
        let token_slot = self.token_slot(repository, access);
        let state = token_slot.state.lock().await;
        scopes
            .iter()
            .all(|scope| state.extra_scopes.contains(scope))
    }

    /// Returns the cache entry of a token. A push token also serves for reading, so a repository that is written to
    /// needs only one token.
    fn token_slot(&self, repository: &Repository, access: &Access) -> Arc<TokenSlot> {
        let access = self.effective_access(repository, access);
        let Ok(mut tokens) = self.tokens.lock() else {
            return Arc::default();
        };
        Arc::clone(tokens.entry((repository.clone(), access)).or_default())
    }

    fn effective_access(&self, repository: &Repository, access: &Access) -> Access {
        if *access == Access::Pull && self.is_destination(repository) {
            Access::PullPush
        } else {
            access.clone()
        }
    }

    async fn token(
        &self,
        transport: &Transport,
        bearer: &Bearer,
        wanted: TokenRequest<'_>,
    ) -> Result<Authorization, RegistryErrorKind> {
        if *wanted.access != Access::Pull {
            self.request_push_scope(wanted.repository);
        }
        let token_slot = self.token_slot(wanted.repository, wanted.access);
        let fetches_before = token_slot.fetches.load(Ordering::Acquire);
        let mut state = token_slot.state.lock().await;
        if let Some(token) = state.usable(&wanted) {
            return Ok(token.authorization(false));
        }
        let failed_while_waiting = token_slot.fetches.load(Ordering::Acquire) > fetches_before;
        if let Some(failure) = state.failure.as_ref().filter(|_| failed_while_waiting) {
            return Err(failure.clone());
        }
        state
            .extra_scopes
            .extend(wanted.extra_scopes.iter().cloned());
        if let Access::Mount(from) = wanted.access {
            state.extra_scopes.insert(scope(from, &Access::Pull));
        }
        let access = self.effective_access(wanted.repository, wanted.access);
        let mut scopes = vec![scope(wanted.repository, &access)];
        scopes.extend(state.extra_scopes.iter().take(EXTRA_SCOPES_MAX).cloned());
        let fetched = match self.credential(transport, wanted.repository).await {
            Ok(credential) => {
                let host = wanted.repository.host();
                token::fetch(transport, host, bearer, &scopes, credential.as_ref()).await
            }
            Err(kind) => Err(kind),
        };
        state.failure = fetched.as_ref().err().cloned();
        state.token = fetched.as_ref().ok().cloned();
        token_slot.fetches.fetch_add(1, Ordering::Release);
        Ok(fetched?.authorization(true))
    }
}

/// The parameters of a token request.
struct TokenRequest<'a> {
    repository: &'a Repository,
    access: &'a Access,
    /// The token that the registry has just refused.
    rejected: Option<&'a Secret>,
    extra_scopes: &'a [String],
}

impl State {
    fn usable(&self, wanted: &TokenRequest<'_>) -> Option<&BearerToken> {
        let mut scopes = wanted.extra_scopes.iter();
        self.token
            .as_ref()
            .filter(|token| token.ends > Instant::now())
            .filter(|token| wanted.rejected != Some(&token.secret))
            .filter(|_| scopes.all(|scope| self.extra_scopes.contains(scope)))
    }
}

impl BearerToken {
    fn authorization(&self, is_fresh: bool) -> Authorization {
        let header = token::sensitive(&format!("Bearer {}", self.secret.expose()));
        Authorization {
            header: header.unwrap_or(HeaderValue::from_static("")),
            kind: AuthorizationKind::Bearer {
                secret: self.secret.clone(),
                fresh_until: is_fresh.then_some(self.ends),
            },
        }
    }
}

impl Authorization {
    fn is_bearer(&self) -> bool {
        matches!(self.kind, AuthorizationKind::Bearer { .. })
    }

    /// True if it is a token that was fetched for this request and has not ended since. A long upload may outlive it.
    fn is_fresh(&self) -> bool {
        match &self.kind {
            AuthorizationKind::Bearer { fresh_until, .. } => {
                fresh_until.is_some_and(|end| end > Instant::now())
            }
            AuthorizationKind::Basic => false,
        }
    }
}

fn scope(repository: &Repository, access: &Access) -> String {
    let actions = match access {
        Access::Pull => "pull",
        Access::PullPush | Access::Mount(_) => "pull,push",
    };
    format!("repository:{}:{actions}", repository.path())
}

/// Returns the scopes of a challenge that the default scope does not cover.
fn extra_scopes(asked: &[String], repository: &Repository, access: &Access) -> Vec<String> {
    let own = match access {
        Access::Pull => ["pull"].as_slice(),
        Access::PullPush | Access::Mount(_) => ["pull", "push"].as_slice(),
    };
    let prefix = format!("repository:{}:", repository.path());
    let is_covered = |scope: &&String| {
        let actions = scope.strip_prefix(&prefix);
        actions.is_some_and(|actions| actions.split(',').all(|action| own.contains(&action)))
    };
    let extra = asked.iter().filter(|scope| !is_covered(scope));
    extra.take(EXTRA_SCOPES_MAX).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn token_is_fresh_until_it_ends() {
        let now = Instant::now();
        let is_fresh = |ends, is_new| {
            let token = BearerToken {
                secret: Secret::new("token"),
                ends,
            };
            token.authorization(is_new).is_fresh()
        };
        let later = now + Duration::from_mins(1);
        assert!(is_fresh(later, true));
        assert!(!is_fresh(later, false));
        // It ended while a large blob was sent.
        assert!(!is_fresh(now, true));
    }
}
