//! Each fault from a client's view: the answer, and whether the request had its effect.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use reqwest::{Client, Response};
use sandbox::{Fault, Image, Kind, Options, Registry};
use std::time::{Duration, Instant};

const NAME: &str = "octo-org/app";

fn start() -> (Registry, Image) {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    (registry, image)
}

fn url(registry: &Registry, reference: &str) -> String {
    format!(
        "http://{}/v2/{NAME}/manifests/{reference}",
        registry.address()
    )
}

async fn get(registry: &Registry, reference: &str) -> reqwest::Result<Response> {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    client.get(url(registry, reference)).send().await
}

async fn put(registry: &Registry, tag: &str, image: &Image) -> reqwest::Result<Response> {
    let (type_, bytes) = registry.manifest(NAME, &image.digest).unwrap();
    let request = Client::new().put(url(registry, tag));
    request
        .header("content-type", type_)
        .body(bytes)
        .send()
        .await
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn fault_at_k_hits_the_kth_request_from_now() {
    let (registry, image) = start();
    get(&registry, &image.digest).await.unwrap();
    registry.fault(Fault::at(2).times(2).status(503));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(
            get(&registry, &image.digest)
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert_eq!(seen, [200, 503, 503, 200]);
    let numbers: Vec<_> = registry
        .requests()
        .iter()
        .map(|r| (r.number, r.faulty))
        .collect();
    assert_eq!(
        numbers,
        [(1, false), (2, false), (3, true), (4, true), (5, false)]
    );
}

#[tokio::test]
async fn fault_on_a_path_hits_only_that() {
    let (registry, image) = start();
    registry.fault(Fault::on("PUT", "*/manifests/*").registry_error(403, "DENIED", "no"));
    assert_eq!(get(&registry, &image.digest).await.unwrap().status(), 200);
    let refused = put(&registry, "v1", &image).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("DENIED"));
    assert!(registry.tags(NAME).is_empty());
    assert_eq!(put(&registry, "v1", &image).await.unwrap().status(), 201);

    registry.fault(Fault::on("*", "/v2/*").times(u32::MAX).status(500));
    for _ in 0..3 {
        assert_eq!(get(&registry, "v1").await.unwrap().status(), 500);
    }
    registry.clear_faults();
    assert_eq!(get(&registry, "v1").await.unwrap().status(), 200);
}

#[tokio::test]
async fn reset_comes_before_the_effect_and_a_lost_response_after_it() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).reset());
    put(&registry, "v1", &image).await.unwrap_err();
    assert!(registry.tags(NAME).is_empty());
    registry.fault(Fault::at(1).lost_response());
    put(&registry, "v1", &image).await.unwrap_err();
    assert_eq!(registry.tags(NAME)["v1"], image.digest);
    assert!(
        registry
            .requests()
            .iter()
            .all(|request| request.status.is_none())
    );
}

#[tokio::test]
async fn cut_body_sends_half_and_drops() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).cut_body());
    let mut response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(
        header(&response, "content-length"),
        Some(&*image.size.to_string())
    );
    let mut read = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => panic!("the body ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(read, image.size / 2);
}

#[tokio::test]
async fn wrong_digest_sends_other_bytes_of_the_same_length() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).wrong_digest());
    let response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(
        header(&response, "docker-content-digest"),
        Some(&*image.digest)
    );
    let bytes = response.bytes().await.unwrap();
    let right = registry.manifest(NAME, &image.digest).unwrap().1;
    assert_eq!(bytes.len(), right.len());
    assert_ne!(bytes, right);
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();

    registry.fault(Fault::at(1).wrong_digest());
    let response = put(&registry, "v1", &image).await.unwrap();
    assert_ne!(
        header(&response, "docker-content-digest"),
        Some(&*image.digest)
    );
}

#[tokio::test]
async fn headers_can_be_wrong_empty_or_missing() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).wrong_content_type("text/html"));
    let response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(header(&response, "content-type"), Some("text/html"));
    registry.fault(Fault::at(1).set_header("Docker-Content-Digest", ""));
    let response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(header(&response, "docker-content-digest"), Some(""));
    registry.fault(Fault::at(1).drop_header("Location"));
    let response = put(&registry, "v1", &image).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), header(&response, "location")),
        (201, None)
    );
}

#[tokio::test]
async fn delay_is_late_and_right() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).delay(Duration::from_millis(80)));
    let start = Instant::now();
    assert_eq!(get(&registry, &image.digest).await.unwrap().status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn endless_body_goes_on() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).endless_body());
    let mut response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(header(&response, "content-length"), None);
    let mut read = 0;
    while read < 8 * 1024 * 1024 {
        read += response.chunk().await.unwrap().unwrap().len();
    }
}

#[tokio::test]
async fn throttle_and_redirect() {
    let (registry, image) = start();
    registry.fault(Fault::at(1).throttle(7));
    let response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), header(&response, "retry-after")),
        (429, Some("7"))
    );
    registry.fault(Fault::at(1).redirect_to("http://127.0.0.1:9/x"));
    let response = get(&registry, &image.digest).await.unwrap();
    assert_eq!(response.status(), 307);
    assert_eq!(header(&response, "location"), Some("http://127.0.0.1:9/x"));
}

#[test]
fn works_from_plain_tests_and_ends_when_dropped() {
    let (registry, _) = start();
    let socket = registry.socket();
    std::net::TcpStream::connect(socket).unwrap();
    drop(registry);
    std::net::TcpStream::connect(socket).unwrap_err();
}

#[tokio::test]
async fn works_beside_many_clients() {
    let (registry, image) = start();
    let tasks: Vec<_> = (0..64)
        .map(|_| tokio::spawn(Client::new().get(url(&registry, &image.digest)).send()))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
    let mut numbers: Vec<_> = registry.requests().iter().map(|r| r.number).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
}

#[tokio::test]
async fn cut_request_has_half_an_effect() {
    let (registry, _) = start();
    let uploads = format!("http://{}/v2/{NAME}/blobs/uploads/", registry.address());
    let begun = Client::new().post(uploads).send().await.unwrap();
    let place = header(&begun, "location").unwrap();
    let place = format!("http://{}{place}", registry.address());
    registry.fault(Fault::on("PATCH", "*").cut_request());
    let cut = Client::new().patch(&place).body("12345678").send().await;
    assert!(cut.is_err(), "{cut:?}");
    let status = Client::new().get(&place).send().await.unwrap();
    assert_eq!(header(&status, "range"), Some("0-3"));
}
