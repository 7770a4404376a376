//! A place for a blob that is still to come.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::Digest;

const BLOB: &[u8] = b"blob";

/// A registry that takes no blob with the POST, and answers a PUT to the place of the upload `number` with `put(number)`.
async fn server(put: fn(usize) -> Reply) -> Server {
    let opened = AtomicUsize::new(0);
    Server::start(move |request| match request.method.as_str() {
        "POST" => {
            let number = opened.fetch_add(1, Ordering::Relaxed);
            Reply::new(202).header("location", format!("/place/{number}"))
        }
        "PUT" => {
            let place = request.target.trim_start_matches("/place/");
            put(place.split('?').next().unwrap().parse().unwrap())
        }
        _ => Reply::new(204),
    })
    .await
}

/// Stores something first, by which the registry is known, and then [`BLOB`] into a place that was reserved. Returns
/// whether it is stored, and what was asked since the first.
async fn store(bench: &Bench, server: &Server) -> (bool, Vec<String>) {
    let (registry, repository) = (&bench.registry, repository(server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap();
    let before = server.seen().len();
    let place = registry.reserve(&repository).await.unwrap();
    assert!(place.is_some(), "it takes two requests");
    let stored = registry.put_blob_into(place, &repository, BLOB).await;
    let asked = server.lines().split_off(before);
    let short = |line: String| {
        line.split_once("?digest=")
            .map_or(line.clone(), |(it, _)| it.to_owned())
    };
    (
        stored.is_ok_and(|digest| digest == Digest::of(BLOB)),
        asked.into_iter().map(short).collect(),
    )
}

#[tokio::test]
async fn blob_goes_to_the_place_that_was_reserved() {
    let server = server(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (stored, asked) = store(&bench, &server).await;
    assert!(stored);
    assert_eq!(asked, ["POST /v2/o/r/blobs/uploads/", "PUT /place/1"]);
    let body = server.seen().last().map(|last| last.body.clone());
    assert_eq!(body.as_deref(), Some(BLOB));
    bench.registry.cancel_uploads().await;
    assert_eq!(methods(&server).len(), 4, "there is nothing to take back");
}

#[tokio::test]
async fn place_that_the_registry_forgot_is_replaced() {
    let server = server(|place| Reply::new(if place == 1 { 404 } else { 201 })).await;
    let bench = Bench::nobody(1);
    let (stored, asked) = store(&bench, &server).await;
    assert!(stored);
    let wanted = [
        "POST /v2/o/r/blobs/uploads/",
        "PUT /place/1",
        "DELETE /place/1",
        "POST /v2/o/r/blobs/uploads/",
        "PUT /place/2",
    ];
    assert_eq!(asked, wanted);
}

#[tokio::test]
async fn registry_that_is_out_for_a_moment_is_waited_for() {
    let server = server(|place| Reply::new(if place == 1 { 503 } else { 201 })).await;
    let bench = Bench::nobody(2);
    let (stored, asked) = store(&bench, &server).await;
    assert!(stored);
    assert_eq!(asked.last().map(String::as_str), Some("PUT /place/2"));
    assert_eq!(bench.retries().len(), 1);
}

#[tokio::test]
async fn refusal_of_the_blob_is_no_reason_for_another_place() {
    let server = server(|place| Reply::new(if place == 1 { 403 } else { 201 })).await;
    let bench = Bench::nobody(2);
    let (stored, asked) = store(&bench, &server).await;
    assert!(!stored);
    let wanted = [
        "POST /v2/o/r/blobs/uploads/",
        "PUT /place/1",
        "DELETE /place/1",
    ];
    assert_eq!(asked, wanted);
}

#[tokio::test]
async fn place_that_is_not_used_is_taken_back() {
    let server = server(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap();
    drop(registry.reserve(&repository).await.unwrap());
    registry.cancel_uploads().await;
    assert_eq!(server.lines().last().unwrap(), "DELETE /place/1");
}

#[tokio::test]
async fn nothing_is_reserved_where_the_post_may_be_all() {
    let server = Server::start(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap();
    assert!(registry.reserve(&repository).await.unwrap().is_none());
    assert_eq!(methods(&server), ["POST 5"]);
}

#[tokio::test]
async fn registry_that_opens_no_place_says_why() {
    let server = Server::start(|request| {
        let has_blob = request.target.contains("digest=");
        Reply::new(if has_blob { 404 } else { 403 })
    })
    .await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap_err();
    let error = registry.reserve(&repository).await.unwrap_err();
    assert!(error.is_write() && error.is_denied(), "{error:?}");
    assert!(
        error.to_string().contains("begin an upload to `"),
        "{error}"
    );
}
