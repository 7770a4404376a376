//! Authentication at the registry: Basic, bearer tokens, scopes, expiry.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use reqwest::{Client, Method, Response};
use sandbox::{Authorization, Kind, Options, Registry};
use serde_json::Value;
use std::time::Duration;
use support::{NAME, code, get, header};

#[tokio::test]
async fn basic_auth_asks_each_time() {
    let registry = Registry::start(Options::new().basic("octocat", "hunter2"));
    let refused = get(&registry, "/v2/").await;
    assert_eq!(
        header(&refused, "www-authenticate"),
        "Basic realm=\"sandbox\""
    );
    assert_eq!(code(refused).await, (401, "UNAUTHORIZED".into()));
    let url = format!("http://{}/v2/", registry.address());
    let send = |password| {
        Client::new()
            .get(&url)
            .basic_auth("octocat", Some(password))
            .send()
    };
    assert_eq!(send("hunter2").await.unwrap().status(), 200);
    assert_eq!(send("hunter3").await.unwrap().status(), 401);
    let schemes: Vec<_> = registry
        .requests()
        .iter()
        .map(|r| r.authorization)
        .collect();
    assert_eq!(
        schemes,
        [
            Authorization::None,
            Authorization::Basic,
            Authorization::Basic
        ]
    );
}

async fn token(
    registry: &Registry,
    scope: &str,
    credentials: Option<(&str, &str)>,
) -> Option<String> {
    let url = format!(
        "http://{}/token?service=x&scope={scope}",
        registry.address()
    );
    let mut request = Client::new().get(url);
    if let Some((user, password)) = credentials {
        request = request.basic_auth(user, Some(password));
    }
    let answer = request.send().await.unwrap();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    body["token"].as_str().map(str::to_owned)
}

async fn with_token(registry: &Registry, method: Method, path: &str, token: &str) -> Response {
    let url = format!("http://{}/v2/{NAME}/{path}", registry.address());
    let request = Client::new().request(method, url).bearer_auth(token);
    request.send().await.unwrap()
}

#[tokio::test]
async fn bearer_tokens_open_what_their_scope_says() {
    let registry = Registry::start(Options::new().bearer("octocat", "hunter2"));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", image.digest);
    let challenge = get(&registry, &path).await;
    let address = registry.address();
    assert_eq!(
        header(&challenge, "www-authenticate"),
        format!(
            "Bearer realm=\"http://{address}/token\",service=\"{address}\",scope=\"repository:{NAME}:pull\""
        )
    );
    let known = Some(("octocat", "hunter2"));
    let scope = format!("repository:{NAME}:pull");
    assert!(token(&registry, &scope, None).await.is_none());
    assert!(
        token(&registry, &scope, Some(("octocat", "no")))
            .await
            .is_none()
    );
    let pull = token(&registry, &scope, known).await.unwrap();
    assert_eq!(registry.token_requests(), 3);
    assert_eq!(
        with_token(&registry, Method::GET, &path, &pull)
            .await
            .status(),
        200
    );
    let push = with_token(&registry, Method::POST, "blobs/uploads/", &pull).await;
    assert!(header(&push, "www-authenticate").contains("insufficient_scope"));
    let other = token(&registry, "repository:octo-org/other:pull", known)
        .await
        .unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, &path, &other)
            .await
            .status(),
        401
    );
    let push = token(&registry, &format!("repository:{NAME}:pull,push"), known)
        .await
        .unwrap();
    let begun = with_token(&registry, Method::POST, "blobs/uploads/", &push).await;
    assert_eq!(begun.status(), 202);

    registry.revoke_tokens();
    let stale = with_token(&registry, Method::GET, &path, &pull).await;
    assert!(header(&stale, "www-authenticate").contains("invalid_token"));
}

#[tokio::test]
async fn bearer_tokens_end() {
    let options = Options::new()
        .bearer("octocat", "hunter2")
        .anonymous_pull(true);
    let registry = Registry::start(options.token_lifetime(Duration::ZERO));
    let scope = format!("repository:{NAME}:pull,push");
    let pull = token(&registry, &scope, None).await.unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", &pull)
            .await
            .status(),
        401
    );

    let options = Options::new()
        .bearer("octocat", "hunter2")
        .anonymous_pull(true);
    let registry = Registry::start(options);
    registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let pull = token(&registry, &scope, None).await.unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", &pull)
            .await
            .status(),
        200
    );
    let push = with_token(&registry, Method::POST, "blobs/uploads/", &pull).await;
    assert_eq!(push.status(), 401);
}

#[tokio::test]
async fn bearer_tokens_end_with_a_number_of_bytes() {
    let options = Options::new().bearer("octocat", "hunter2");
    let registry = Registry::start(options.token_bytes(10));
    let known = Some(("octocat", "hunter2"));
    let scope = format!("repository:{NAME}:pull,push");
    let push = token(&registry, &scope, known).await.unwrap();
    let url = format!("http://{}/v2/{NAME}/blobs/uploads/", registry.address());
    let send = async |body: &'static str| {
        let post = Client::new().post(&url).bearer_auth(&push).body(body);
        post.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("1234").await, 202);
    assert_eq!(send("123456").await, 202);
    assert_eq!(send("").await, 202);
    assert_eq!(send("1").await, 401);
    assert_eq!(send("").await, 401);
}

#[tokio::test]
async fn identity_token_is_traded_by_post() {
    let registry = Registry::start(Options::new().bearer("octocat", "hunter2"));
    registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let url = format!("http://{}/token", registry.address());
    let send = |secret: &str| {
        let form = format!(
            "grant_type=refresh_token&refresh_token={secret}&scope=repository%3A{}%3Apull",
            NAME.replace('/', "%2F")
        );
        let request = Client::new().post(&url).body(form);
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .send()
    };
    assert_eq!(send("wrong").await.unwrap().status(), 401);
    let body = send("hunter2").await.unwrap().bytes().await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let pull = body["access_token"].as_str().unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", pull)
            .await
            .status(),
        200
    );
}
