//! The identity token: its source, its lifetime, and the identity in it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::domain::{GithubClaims, Secret};

use super::endpoint::Endpoint;
use super::error::{SigstoreError, SigstoreErrorKind};
use super::identity::github_subject;
use super::service_client::ServiceClient;

/// The maximum length of a token.
const TOKEN_MAX_BYTES: usize = 64 * 1024;
/// The minimum remaining lifetime of a token at the start of work: GitHub's tokens live five minutes.
pub(super) const LEEWAY_SECONDS: i64 = 60;

/// The source of the identity token.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// The runner's endpoint: `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    GitHub {
        /// The address, which may contain a query.
        request_url: String,
        /// The token that the endpoint requires.
        request_token: Secret,
        /// The audience of the token.
        audience: String,
    },
    /// A token that was obtained elsewhere.
    Given(Secret),
}

/// The identity of this run, as its certificate will state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowIdentity {
    /// The issuer.
    pub issuer: String,
    /// The subject, if the token determines it: GitHub's tokens only.
    pub subject: Option<String>,
    /// The claims about the workflow run that the certificate will contain: GitHub's tokens only.
    pub github: GithubClaims,
}

impl WorkflowIdentity {
    /// The source that a certificate must name for a signature to count as this run's own. It is the repository and the
    /// ref, if the issuer's certificates contain them.
    #[must_use]
    pub fn source(&self) -> GithubClaims {
        GithubClaims {
            repository: self.github.repository.clone(),
            reference: self.github.reference.clone(),
            ..GithubClaims::default()
        }
    }
}

/// A token and its claims.
#[derive(Debug, Clone)]
pub(super) struct IdentityToken {
    pub(super) text: Secret,
    /// The text that Fulcio requires to be signed as proof of the key.
    pub(super) challenge: String,
    pub(super) workflow_identity: WorkflowIdentity,
    pub(super) expires: jiff::Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    email: Option<String>,
    #[serde(rename = "federated_claims")]
    federated: Option<Federated>,
    job_workflow_ref: Option<String>,
    repository: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    sha: Option<String>,
    workflow: Option<String>,
    event_name: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Federated {
    connector_id: Option<String>,
}

impl IdentityToken {
    /// Reads the claims. Fulcio checks whether they are true; a wrong one results in a certificate that is refused.
    pub(super) fn read(text: Secret) -> Result<Self, SigstoreError> {
        let unreadable = SigstoreError::TokenUnreadable;
        if text.expose().len() > TOKEN_MAX_BYTES {
            return Err(unreadable("it is too long"));
        }
        let mut parts = text.expose().split('.');
        let (Some(_), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(unreadable("it is not a JSON web token"));
        };
        let claims = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_| unreadable("its claims are not base64url"))?;
        // An error of serde quotes the claims, which must not be logged.
        let claims: Claims = serde_json::from_slice(&claims)
            .map_err(|_| unreadable("it lacks one of the claims iss, sub and exp"))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast saturates, and an absurd time is refused"
        )]
        let expires = jiff::Timestamp::from_second(claims.exp as i64)
            .map_err(|_| unreadable("its claim exp is not a time"))?;
        Ok(Self {
            challenge: claims.email.clone().unwrap_or_else(|| claims.sub.clone()),
            workflow_identity: claims.workflow_identity(),
            expires,
            text,
        })
    }

    fn is_fresh(&self) -> bool {
        self.expires.as_second() - jiff::Timestamp::now().as_second() > LEEWAY_SECONDS
    }
}

impl Claims {
    fn workflow_identity(self) -> WorkflowIdentity {
        // Sigstore's own issuer passes on identities of other issuers, and Fulcio writes those issuers into the
        // certificate.
        let issuer = self
            .federated
            .and_then(|federated| federated.connector_id)
            .unwrap_or(self.iss);
        let url = self.url;
        let subject = self
            .job_workflow_ref
            .as_deref()
            .and_then(|reference| github_subject(url.as_deref(), reference));
        // Fulcio writes these claims for GitHub's tokens only, whatever another issuer's tokens contain.
        let github = subject.as_ref().map(|_| GithubClaims {
            repository: self.repository,
            reference: self.reference,
            sha: self.sha,
            name: self.workflow,
            trigger: self.event_name,
        });
        WorkflowIdentity {
            issuer,
            subject,
            github: github.unwrap_or_default(),
        }
    }
}

/// Returns a token with enough lifetime left, and requests a new one if necessary.
#[derive(Debug)]
pub(super) struct Tokens {
    source: TokenSource,
    client: ServiceClient,
    // Locked during a request, so that concurrent callers send one request.
    kept: Mutex<Option<IdentityToken>>,
}

impl Tokens {
    pub(super) fn new(source: TokenSource, client: ServiceClient) -> Self {
        Self {
            source,
            client,
            kept: Mutex::new(None),
        }
    }

    pub(super) async fn fresh(&self) -> Result<IdentityToken, SigstoreError> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.is_fresh()) {
            return Ok(token.clone());
        }
        let token = match &self.source {
            TokenSource::Given(text) => {
                let token = IdentityToken::read(text.clone())?;
                // A given token cannot be requested again, so it is used to its last second.
                if token.expires <= jiff::Timestamp::now() {
                    return Err(SigstoreError::TokenExpired {
                        expired: token.expires.to_string(),
                    });
                }
                token
            }
            TokenSource::GitHub {
                request_url,
                request_token,
                audience,
            } => IdentityToken::read(self.ask(request_url, request_token, audience).await?)?,
        };
        *kept = Some(token.clone());
        Ok(token)
    }

    async fn ask(
        &self,
        request_url: &str,
        request_token: &Secret,
        audience: &str,
    ) -> Result<Secret, SigstoreError> {
        #[derive(Deserialize)]
        struct IdTokenResponse {
            value: String,
        }
        let endpoint = Endpoint::parse(request_url).map_err(SigstoreError::Token)?;
        let mut url = endpoint.url().clone();
        url.query_pairs_mut().append_pair("audience", audience);
        let mut bearer = HeaderValue::try_from(format!("bearer {}", request_token.expose()))
            .map_err(|_| {
                SigstoreError::TokenUnreadable("the request token is not printable text")
            })?;
        bearer.set_sensitive(true);
        let body = self
            .client
            .with_retries("the request for an identity token", || {
                let get = self.client.get(&url);
                self.client
                    .send_ok(&url, get.header(AUTHORIZATION, bearer.clone()))
            })
            .await
            .map_err(SigstoreError::Token)?;
        // An error of serde may quote the response, which may be a token.
        let response: IdTokenResponse = serde_json::from_slice(&body).map_err(|_| {
            SigstoreError::Token(SigstoreErrorKind::unreadable(
                &url,
                "it contains no `value`",
            ))
        })?;
        let token = Secret::new(response.value);
        self.client.events().mask_sent(&token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Result<IdentityToken, SigstoreError> {
        IdentityToken::read(Secret::new(format!(
            "e30.{}.c2ln",
            URL_SAFE_NO_PAD.encode(claims)
        )))
    }

    #[test]
    fn githubs_token_says_who_runs() {
        let token = token(
            r#"{"iss":"https://token.actions.githubusercontent.com","sub":"repo:o/r:ref:refs/heads/main","exp":1900000000,
            "repository":"o/r","ref":"refs/heads/main","sha":"abc","workflow":"release","event_name":"push",
            "job_workflow_ref":"shared/flows/.github/workflows/seal.yml@refs/tags/v1"}"#,
        )
        .unwrap();
        assert_eq!(token.challenge, "repo:o/r:ref:refs/heads/main");
        assert_eq!(
            token.workflow_identity,
            WorkflowIdentity {
                issuer: "https://token.actions.githubusercontent.com".into(),
                subject: Some(
                    "https://github.com/shared/flows/.github/workflows/seal.yml@refs/tags/v1"
                        .into()
                ),
                github: GithubClaims {
                    repository: Some("o/r".into()),
                    reference: Some("refs/heads/main".into()),
                    sha: Some("abc".into()),
                    name: Some("release".into()),
                    trigger: Some("push".into()),
                },
            }
        );
    }

    #[test]
    fn other_tokens_say_only_their_issuer() {
        let token = token(
            r#"{"iss":"https://oauth2.sigstore.dev/auth","sub":"CgN","exp":1900000000.5,"email":"a@b.example",
            "repository":"o/r","federated_claims":{"connector_id":"https://accounts.example"}}"#,
        )
        .unwrap();
        assert_eq!(token.challenge, "a@b.example");
        let workflow_identity = token.workflow_identity;
        assert_eq!(workflow_identity.issuer, "https://accounts.example");
        assert_eq!(
            (workflow_identity.subject, workflow_identity.github),
            (None, GithubClaims::default())
        );
    }

    #[test]
    fn garbage_is_refused_and_not_quoted() {
        let long = "x".repeat(TOKEN_MAX_BYTES + 1);
        for text in [
            "",
            "a.b",
            "a.b.c.d",
            "a.!!.c",
            "a.c2VjcmV0.c",
            "e30.e30.e30",
            long.as_str(),
        ] {
            let error = IdentityToken::read(Secret::new(text)).unwrap_err();
            assert!(matches!(error, SigstoreError::TokenUnreadable(_)), "{text}");
            assert!(!error.to_string().contains("secret"));
        }
        let absurd = token(r#"{"iss":"i","sub":"s","exp":1e300}"#);
        assert!(matches!(absurd, Err(SigstoreError::TokenUnreadable(_))));
    }
}
