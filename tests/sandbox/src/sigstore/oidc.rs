//! The OIDC issuer, which is also GitHub's endpoint for a job's tokens.

use super::keys::Key;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SHA: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3";
pub(crate) const TOKEN_PATH: &str = "/gh/token";

/// Issues and verifies tokens.
pub(crate) struct Issuer {
    url: String,
    key: Key,
    key_id: String,
    /// The secret with which a job requests a token.
    pub(crate) request_token: String,
    state: Mutex<State>,
}

struct State {
    claims: Map<String, Value>,
    lifetime: Duration,
    /// The audience that Fulcio requires in tokens.
    audience: String,
    issued: u64,
}

impl Issuer {
    pub(crate) fn new(url: String) -> Self {
        let key = Key::generate_for_tokens();
        let id = key.id();
        Self {
            url,
            key_id: hex::encode(&id[..20]).to_uppercase(),
            // A secret that names itself, and differs at each start.
            request_token: format!("sandbox-request-token-{}", hex::encode(&id[20..])),
            key,
            state: Mutex::new(State {
                claims: default_claims(),
                lifetime: Duration::from_mins(5),
                audience: "sigstore".to_owned(),
                issued: 0,
            }),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sets a claim of the tokens issued from now on; null removes it.
    pub(crate) fn set_claim(&self, name: &str, value: Value) {
        let claims = &mut self.lock().claims;
        if value.is_null() {
            claims.shift_remove(name);
        } else {
            claims.insert(name.to_owned(), value);
        }
    }

    pub(crate) fn claim(&self, name: &str) -> Value {
        self.lock().claims.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    pub(crate) fn set_audience(&self, audience: &str) {
        audience.clone_into(&mut self.lock().audience);
    }

    pub(crate) fn audience(&self) -> String {
        self.lock().audience.clone()
    }

    pub(crate) fn discovery(&self) -> Reply {
        let url = &self.url;
        Reply::json(
            200,
            &json!({
                "issuer": url,
                "jwks_uri": format!("{url}/.well-known/jwks"),
                "authorization_endpoint": format!("{url}/auth"),
                "token_endpoint": format!("{url}/oauth/token"),
                "subject_types_supported": ["public", "pairwise"],
                "response_types_supported": ["id_token"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "scopes_supported": ["openid"],
            }),
        )
    }

    pub(crate) fn key_set(&self) -> Reply {
        // An uncompressed point: a format byte, then x and y.
        let (x, y) = self.key.point()[1..].split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Reply::json(200, &json!({ "keys": [key] }))
    }

    /// `GET /gh/token?api-version=2.0&audience=A` with the job's request token.
    pub(crate) fn github_token(&self, call: &Call) -> Reply {
        let sent = call
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token);
        if sent != Some(&self.request_token) {
            let message = "TF400813: The user is not authorized to access this resource.";
            return Reply::json(401, &json!({"$id": "1", "message": message}));
        }
        if call.query("api-version").is_none() {
            return Reply::json(400, &json!({"message": "No api-version was supplied"}));
        }
        let owner = self.claim("repository_owner");
        let default = format!("https://github.com/{}", owner.as_str().unwrap_or_default());
        let token = self.issue(call.query("audience").unwrap_or(&default));
        Reply::json(200, &json!({"count": token.len(), "value": token}))
    }

    /// Issues a token for `audience` with the present claims.
    pub(crate) fn issue(&self, audience: &str) -> String {
        let mut state = self.lock();
        state.issued += 1;
        let now = unix_seconds();
        let mut claims = Map::new();
        let jti = hex::encode(&Sha256::digest(format!("{}{now}", state.issued))[..16]);
        claims.insert("jti".into(), json!(jti));
        claims.extend(state.claims.clone());
        claims.insert("aud".into(), json!(audience));
        claims.insert("iss".into(), json!(self.url));
        claims.insert("nbf".into(), json!(now.saturating_sub(600)));
        claims.insert("exp".into(), json!(now + state.lifetime.as_secs()));
        claims.insert("iat".into(), json!(now));
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": self.key_id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Returns the claims of a token, if this issuer made it for `audience` and it is valid now.
    pub(crate) fn verify(&self, token: &str, audience: &str) -> Result<Value, String> {
        let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
        let (_, payload) = signed.split_once('.').ok_or("not a token")?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|e| e.to_string());
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
            self.key.point(),
        );
        key.verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| "failed to verify signature")?;
        let claims: Value =
            serde_json::from_slice(&decode(payload)?).map_err(|error| error.to_string())?;
        if claims["iss"] != self.url {
            return Err(format!("unexpected issuer {}", claims["iss"]));
        }
        let meant_for_us = claims["aud"] == audience
            || claims["aud"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == audience));
        if !meant_for_us {
            return Err(format!(
                "expected audience \"{audience}\" got {}",
                claims["aud"]
            ));
        }
        let now = unix_seconds();
        if claims["exp"].as_u64().is_none_or(|end| end <= now) {
            return Err("token is expired".to_owned());
        }
        if claims["nbf"].as_u64().is_some_and(|start| start > now) {
            return Err("token is not valid yet".to_owned());
        }
        Ok(claims)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Returns GitHub's claims for a job of `octo-org/octo-app` that runs `release.yml` on `main`.
fn default_claims() -> Map<String, Value> {
    let workflow = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
    let claims = [
        ("sub", "repo:octo-org/octo-app:ref:refs/heads/main"),
        ("ref", "refs/heads/main"),
        ("sha", SHA),
        ("repository", "octo-org/octo-app"),
        ("repository_owner", "octo-org"),
        ("repository_owner_id", "65"),
        ("run_id", "1122334455"),
        ("run_number", "42"),
        ("run_attempt", "1"),
        ("repository_visibility", "public"),
        ("repository_id", "74"),
        ("actor_id", "12"),
        ("actor", "octocat"),
        ("workflow", "release"),
        ("head_ref", ""),
        ("base_ref", ""),
        ("event_name", "push"),
        ("ref_protected", "true"),
        ("ref_type", "branch"),
        ("workflow_ref", workflow),
        ("workflow_sha", SHA),
        ("job_workflow_ref", workflow),
        ("job_workflow_sha", SHA),
        ("runner_environment", "github-hosted"),
    ];
    let pair = |(name, value): (&str, &str)| (name.to_owned(), json!(value));
    claims.into_iter().map(pair).collect()
}
