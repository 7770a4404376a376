//! Fetches tokens, and reads the response of the token server.
//!
//! Source: distribution's "Token Authentication Specification" (GET), and its OAuth 2 form (POST). The POST is used
//! only with an identity token, because half of the hosted registries have no POST.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::Bearer;
use super::credential::{Credential, Login};
use super::error::{LoginError, RegistryErrorKind};
use super::response::{authority, shown};
use super::transport::Transport;
use crate::domain::{Host, Secret};
use crate::http::{Response, with_retries};

/// The limit for a token response. No registry accepts a longer header, and each token is printed once, to be masked.
const TOKEN_MAX_BYTES: u64 = 64 * 1024;
/// The lifetime of a token that states none. SPEC: "If omitted, this defaults to 60 seconds."
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);
/// The last part of a token's lifetime, in which it is not used. A token must still be valid when the registry checks
/// it.
const LEEWAY: Duration = Duration::from_secs(10);
/// The longest lifetime that is used. No run needs more, and time arithmetic stays in its range.
const LIFETIME_MAX: Duration = Duration::from_hours(24);

/// A token for a registry.
#[derive(Debug, Clone)]
pub(super) struct BearerToken {
    pub(super) secret: Secret,
    /// The time after which it is not used.
    pub(super) ends: Instant,
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// Fetches a token for `scopes` from the realm of `bearer`, with retries.
pub(super) async fn fetch(
    transport: &Transport,
    registry: &Host,
    bearer: &Bearer,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<BearerToken, RegistryErrorKind> {
    let realm = realm(transport, registry, bearer)?;
    let host = authority(&realm);
    let what = format!("token from {host}");
    let attempt = || async {
        let asked_at = Instant::now();
        let request = request(transport, realm.clone(), bearer, scopes, credential)?;
        let response = transport.send(request, TOKEN_MAX_BYTES).await?;
        if response.status != 200 {
            return Err(RegistryErrorKind::refused(&response));
        }
        read(transport, &response, asked_at)
    };
    let token = with_retries(transport.retry_policy, &transport.events, &what, attempt).await;
    token.map_err(|kind| {
        let source = Arc::new(kind);
        LoginError::Token { host, source }.into()
    })
}

/// Checks the realm and returns its address.
///
/// SECURITY: the registry chooses the realm, and credentials are sent there. It must use TLS, or be a host that is
/// allowed without. A remote registry must not name a realm on this machine.
fn realm(
    transport: &Transport,
    registry: &Host,
    bearer: &Bearer,
) -> Result<Url, RegistryErrorKind> {
    let refused = |realm: String, reason| LoginError::Realm { realm, reason };
    let url = Url::parse(&bearer.realm).map_err(|_| {
        let text = super::error_response::printable(&bearer.realm, 200);
        let bare = text.split('?').next().unwrap_or_default().to_owned();
        refused(bare, "is not a valid URL")
    })?;
    let registry = Url::parse(&format!("https://{}/", registry.api()))
        .map_err(|_| refused(shown(&url), "is named by a registry without a valid URL"))?;
    transport
        .check_hop(&registry, &url)
        .map_err(|reason| refused(shown(&url), reason))?;
    Ok(url)
}

fn request(
    transport: &Transport,
    mut url: Url,
    bearer: &Bearer,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Request, RegistryErrorKind> {
    let host = authority(&url);
    let built = match credential {
        Some(Credential::IdentityToken(token)) => {
            let form = form(bearer, scopes, token);
            transport
                .request(Method::POST, url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
                .build()
        }
        Some(Credential::Login(_)) | None => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &bearer.service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            drop(query);
            let request = transport.request(Method::GET, url);
            match credential {
                Some(Credential::Login(login)) => request.header(AUTHORIZATION, basic(login)),
                Some(Credential::IdentityToken(_)) | None => request,
            }
            .build()
        }
    };
    built.map_err(|error| RegistryErrorKind::not_built(host, &error))
}

fn form(bearer: &Bearer, scopes: &[String], token: &Secret) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("client_id", "manifest-seal")
        .append_pair("refresh_token", token.expose());
    if let Some(service) = &bearer.service {
        form.append_pair("service", service);
    }
    // SPEC: in this form the scopes are one value, separated by blanks.
    form.append_pair("scope", &scopes.join(" "));
    form.finish()
}

/// Returns the header of Basic authentication, marked so that nothing prints it.
pub(super) fn basic(login: &Login) -> HeaderValue {
    let pair = format!("{}:{}", login.username, login.password.expose());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    sensitive(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static(""))
}

/// Returns a header value that nothing prints, or `None` if `text` cannot be one.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the token. Some servers send `token`, some `access_token`, some both with the same value.
pub(super) fn read(
    transport: &Transport,
    response: &Response,
    asked_at: Instant,
) -> Result<BearerToken, RegistryErrorKind> {
    let given: TokenResponse =
        serde_json::from_slice(&response.body).map_err(|_| LoginError::NoToken)?;
    let text = |field: Option<String>| field.filter(|text| !text.is_empty()).map(Secret::new);
    if let Some(secret) = text(given.refresh_token) {
        transport.events.mask_sent(&secret);
    }
    let secret = text(given.token)
        .or_else(|| text(given.access_token))
        .filter(|secret| sensitive(secret.expose()).is_some())
        .ok_or(LoginError::NoToken)?;
    transport.events.mask_sent(&secret);
    let lifetime = lifetime(given.expires_in.as_ref());
    Ok(BearerToken {
        secret,
        ends: asked_at + lifetime.saturating_sub(LEEWAY.min(lifetime / 2)),
    })
}

/// Reads a lifetime in seconds. Some servers send a string or a fraction.
fn lifetime(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|value| {
        value
            .as_f64()
            .or_else(|| value.as_str()?.trim().parse().ok())
    });
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_LIFETIME)
        .min(LIFETIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lifetime_is_read_in_every_form_and_kept_in_its_range() {
        for (value, seconds) in [
            (json!(300), 300),
            (json!("300"), 300),
            (json!(299.5), 299),
            (json!(0), 0),
            (json!(-5), 60),
            (json!("soon"), 60),
            (json!(null), 60),
            (json!(1e300), 60),
            (json!(99_999_999), 86_400),
        ] {
            assert_eq!(lifetime(Some(&value)).as_secs(), seconds, "{value}");
        }
        assert_eq!(lifetime(None), DEFAULT_LIFETIME);
    }

    #[test]
    fn form_escapes_what_it_holds() {
        let bearer = Bearer {
            realm: String::new(),
            service: Some("r&d".to_owned()),
            scopes: Vec::new(),
        };
        let scopes = ["repository:a:pull".to_owned(), "b".to_owned()];
        assert_eq!(
            form(&bearer, &scopes, &Secret::new("x=y&z")),
            "grant_type=refresh_token&client_id=manifest-seal&refresh_token=x%3Dy%26z&service=r%26d&scope=repository%3Aa%3Apull+b"
        );
    }
}
