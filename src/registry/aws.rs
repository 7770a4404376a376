//! Requests to AWS: logins to Amazon's registries, and operations that the registry protocol lacks.
//!
//! Source: `API_GetAuthorizationToken` of ECR and of ECR Public in AWS's documentation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::credential::Login;
use super::ecr::{Action, Ecr, Service};
use super::error::{LoginError, RegistryErrorKind};
use super::response::authority;
use super::sigv4::{Keys, SigningScope, UnsignedRequest, signed_headers};
use super::token::sensitive;
use super::transport::Transport;
use crate::domain::{Host, Secret};
use crate::http::{Response, with_retries};

const RESPONSE_MAX_BYTES: u64 = 256 * 1024;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// The AWS environment of a job, as set by aws-actions/configure-aws-credentials.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: Secret,
    /// `AWS_SESSION_TOKEN`, which temporary keys have.
    pub session_token: Option<Secret>,
    /// `AWS_ENDPOINT_URL_ECR`, used for private registries instead of the region's own endpoint.
    pub endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_ECR_PUBLIC`, used for ECR Public instead of its own endpoint.
    pub public_endpoint: Option<String>,
}

/// The AWS login of each host, or the reason why there is none. Each is requested once; a login is valid for 12 hours.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<BTreeMap<Host, Asked>>);

type Asked = Arc<OnceCell<Result<Login, RegistryErrorKind>>>;

impl Logins {
    /// Returns the login for `host`, whose endpoint is in `ecr`. Concurrent callers wait for one request and share its
    /// result.
    pub(super) async fn get(
        &self,
        transport: &Transport,
        host: &Host,
        ecr: &Ecr,
        keys: &AwsKeys,
    ) -> Result<Login, RegistryErrorKind> {
        let place = match self.0.lock() {
            Ok(mut logins) => Arc::clone(logins.entry(host.clone()).or_default()),
            Err(_) => Arc::default(),
        };
        place
            .get_or_init(|| login(transport, ecr, keys))
            .await
            .clone()
    }
}

/// Requests a login from AWS, with retries.
async fn login(
    transport: &Transport,
    ecr: &Ecr,
    keys: &AwsKeys,
) -> Result<Login, RegistryErrorKind> {
    let permission = ecr.service.permission();
    let host = authority(&endpoint(ecr, keys)?);
    let response = send(transport, ecr, keys, Action::GetAuthorizationToken, "{}").await;
    let login = response.and_then(|response| read(transport, ecr, &response));
    login.map_err(|kind| {
        let error = LoginError::Aws {
            host,
            permission,
            source: Arc::new(kind),
        };
        error.into()
    })
}

/// Sends an idempotent action to AWS, with retries. Returns the response if its status is 200.
pub(super) async fn send(
    transport: &Transport,
    ecr: &Ecr,
    keys: &AwsKeys,
    action: Action,
    content: &str,
) -> Result<Response, RegistryErrorKind> {
    let attempt = || send_once(transport, ecr, keys, action, content);
    let what = text(ecr, keys, action);
    with_retries(transport.retry_policy, &transport.events, &what, attempt).await
}

/// Sends an action like [`send`], but once.
pub(super) async fn send_once(
    transport: &Transport,
    ecr: &Ecr,
    keys: &AwsKeys,
    action: Action,
    content: &str,
) -> Result<Response, RegistryErrorKind> {
    let request = request(transport, ecr, keys, action, content)?;
    let response = transport.send(request, RESPONSE_MAX_BYTES).await?;
    if response.status == 200 {
        Ok(response)
    } else {
        Err(RegistryErrorKind::refused(&response))
    }
}

/// Returns an action as text for the log.
pub(super) fn text(ecr: &Ecr, keys: &AwsKeys, action: Action) -> String {
    let host = endpoint(ecr, keys).map_or_else(|_| ecr.endpoint.clone(), |url| authority(&url));
    match action {
        Action::GetAuthorizationToken => format!("login from {host}"),
        Action::BatchDeleteImage => format!("deletion by {host}"),
        Action::DescribeImages => format!("description of an image by {host}"),
    }
}

/// Returns the endpoint to use.
///
/// SECURITY: an endpoint from the environment, for tests or a private network, receives the session token. It must use
/// TLS or be on this machine.
fn endpoint(ecr: &Ecr, keys: &AwsKeys) -> Result<Url, LoginError> {
    let (given, variable) = match ecr.service {
        Service::Private => (&keys.endpoint, "AWS_ENDPOINT_URL_ECR"),
        Service::Public => (&keys.public_endpoint, "AWS_ENDPOINT_URL_ECR_PUBLIC"),
    };
    let refused = |reason| LoginError::AwsEndpoint { variable, reason };
    let Some(given) = given else {
        let own = format!("https://{}/", ecr.endpoint);
        return Url::parse(&own).map_err(|_| refused("is not a valid URL"));
    };
    let url = Url::parse(given).map_err(|_| refused("is not a valid URL"))?;
    let is_loopback = || {
        authority(&url)
            .parse::<Host>()
            .is_ok_and(|host| host.is_loopback())
    };
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(refused("has more than a scheme, a host and a path"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback() => Ok(url),
        "http" => Err(refused("is not HTTPS")),
        _ => Err(refused("is not a valid URL")),
    }
}

/// Builds a signed request. Each attempt is signed anew, because a signature contains its time.
fn request(
    transport: &Transport,
    ecr: &Ecr,
    keys: &AwsKeys,
    action: Action,
    content: &str,
) -> Result<Request, RegistryErrorKind> {
    let url = endpoint(ecr, keys)?;
    let host = authority(&url);
    let target = ecr.service.target(action);
    let own = [
        ("content-type", CONTENT_TYPE),
        ("x-amz-target", target.as_str()),
    ];
    let signed = signed_headers(
        &Keys {
            id: &keys.id,
            secret: &keys.secret,
            session_token: keys.session_token.as_ref(),
        },
        SigningScope {
            region: &ecr.region,
            service: ecr.service.name(),
        },
        &UnsignedRequest {
            method: "POST",
            host: &host,
            path: url.path(),
            headers: &own,
            body: content.as_bytes(),
        },
        jiff::Timestamp::now(),
    );
    let mut request = transport
        .request(Method::POST, url)
        .body(content.to_owned());
    for (name, value) in own {
        request = request.header(name, value);
    }
    for (name, value) in signed {
        let value = sensitive(value.expose()).unwrap_or(HeaderValue::from_static(""));
        request = request.header(HeaderName::from_static(name), value);
    }
    let built = request.build();
    built.map_err(|error| RegistryErrorKind::not_built(host, &error))
}

/// Reads the login from a response. The private service returns a list (from when several accounts could be requested),
/// the public one a single object.
fn read(transport: &Transport, ecr: &Ecr, response: &Response) -> Result<Login, RegistryErrorKind> {
    let document: Value =
        serde_json::from_slice(&response.body).map_err(|_| LoginError::NoToken)?;
    let data = match ecr.service {
        Service::Private => document.pointer("/authorizationData/0"),
        Service::Public => document.get("authorizationData"),
    };
    let encoded = data
        .and_then(|data| data.get("authorizationToken")?.as_str())
        .ok_or(LoginError::NoToken)?;
    transport.events.mask_sent(&Secret::new(encoded));
    let decoded = STANDARD.decode(encoded).map_err(|_| LoginError::NoToken)?;
    let text = String::from_utf8(decoded).map_err(|_| LoginError::NoToken)?;
    let (username, password) = text.split_once(':').ok_or(LoginError::NoToken)?;
    let password = Secret::new(password);
    transport.events.mask_sent(&password);
    Ok(Login {
        username: username.to_owned(),
        password,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_of_the_environment_is_tls_or_this_machine() {
        let ecr = Ecr::of(&"public.ecr.aws".parse().unwrap()).unwrap();
        for (given, is_allowed) in [
            ("https://vpce-1.ecr.us-east-1.vpce.amazonaws.com", true),
            ("http://127.0.0.1:4566", true),
            ("http://localhost:4566/aws", true),
            ("http://10.0.0.1:4566", false),
            ("http://localhost.example", false),
            ("https://me:secret@aws.example", false),
            ("https://aws.example/?key=secret", false),
            ("aws", false),
        ] {
            let keys = AwsKeys {
                id: String::new(),
                secret: Secret::new(""),
                session_token: None,
                endpoint: None,
                public_endpoint: Some(given.to_owned()),
            };
            let read = endpoint(&ecr, &keys);
            assert_eq!(read.is_ok(), is_allowed, "{given}");
            if let Err(kind) = read {
                let text = kind.to_string();
                assert!(text.contains("`AWS_ENDPOINT_URL_ECR_PUBLIC`"), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
        }
    }
}
