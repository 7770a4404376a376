//! Shared code of the registry tests: requests by short paths, and readers of answers.
#![allow(dead_code, reason = "each test binary uses a part")]

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use sandbox::Registry;
use serde_json::Value;

pub(crate) const NAME: &str = "octo-org/app";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) async fn ask(
    registry: &Registry,
    method: Method,
    path: &str,
    type_: &str,
    body: &[u8],
) -> Response {
    send(registry, method, path, &[("content-type", type_)], body).await
}

/// Sends a request with these headers. Redirects are not followed.
pub(crate) async fn send(
    registry: &Registry,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let url = if path.starts_with("/v2") {
        format!("http://{}{path}", registry.address())
    } else {
        format!("http://{}/v2/{NAME}/{path}", registry.address())
    };
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let request = client.request(method, url).body(body.to_vec());
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    request.send().await.unwrap()
}

pub(crate) async fn get(registry: &Registry, path: &str) -> Response {
    ask(registry, Method::GET, path, "", b"").await
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap().to_str().unwrap()
}

pub(crate) async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}
