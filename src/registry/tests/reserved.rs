//! Tests upload sessions that are opened before their blob exists.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::Digest;

const BLOB: &[u8] = b"blob";

/// Starts a registry that accepts no blob with the POST. A PUT to the session `number` is answered with `put(number)`.
async fn server(put: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Server {
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

/// Stores a first blob, so that the client learns the registry's limits, then [`BLOB`] in a session opened in advance.
/// Returns whether it was stored, and the requests after the first blob.
async fn store(bench: &Bench, server: &Server) -> (bool, Vec<String>) {
    let (registry, repository) = (&bench.registry, repository(server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap();
    let before = server.seen().len();
    let place = registry.reserve(&repository).await;
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
async fn place_that_is_open_no_longer_is_replaced() {
    let unknown = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#;
    let plain = [400, 401, 403, 404, 410, 416].map(|status| (status, ""));
    let coded = [400, 404, 416].map(|status| (status, unknown));
    for (status, body) in plain.into_iter().chain(coded) {
        let answer = move |place| match place {
            1 => Reply::new(status).body(body),
            _ => Reply::new(201),
        };
        let server = server(answer).await;
        let bench = Bench::nobody(1);
        let (stored, asked) = store(&bench, &server).await;
        assert!(stored, "{status}");
        let wanted = [
            "POST /v2/o/r/blobs/uploads/",
            "PUT /place/1",
            "DELETE /place/1",
            "POST /v2/o/r/blobs/uploads/",
            "PUT /place/2",
        ];
        assert_eq!(asked, wanted, "{status}");
    }
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
async fn blob_that_is_stored_as_another_at_its_place_is_an_error() {
    let other = Digest::of(b"other").to_string();
    let server = server(move |place| match place {
        0 => Reply::new(201),
        _ => Reply::new(201).header("docker-content-digest", other.as_str()),
    })
    .await;
    let (stored, asked) = store(&Bench::nobody(1), &server).await;
    assert!(!stored);
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[tokio::test]
async fn place_that_is_not_used_is_taken_back() {
    let server = server(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    registry.put_blob(&repository, b"first").await.unwrap();
    assert!(registry.reserve(&repository).await.is_some());
    registry.cancel_uploads().await;
    assert_eq!(server.lines().last().unwrap(), "DELETE /place/1");
}

#[tokio::test]
async fn nothing_is_reserved_where_the_post_may_be_all() {
    let server = Server::start(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    let reserved = registry.upload_and_reserve(&repository, b"first").await;
    assert!(reserved.unwrap().is_none());
    assert!(registry.reserve(&repository).await.is_none());
    assert_eq!(methods(&server), ["POST 5"]);
}

#[tokio::test]
async fn place_is_opened_beside_the_first_blob() {
    let server = server(|_| Reply::new(201)).await;
    let bench = Bench::nobody(1);
    let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
    let reserved = registry.upload_and_reserve(&repository, b"first").await;
    let reserved = reserved.unwrap();
    assert!(reserved.is_some());
    let asked = methods(&server).len();
    let stored = registry.put_blob_into(reserved, &repository, BLOB).await;
    assert_eq!(stored.unwrap(), Digest::of(BLOB));
    assert_eq!((asked, methods(&server).len()), (3, 4));
}

/// A session that is not available now is not retried: the blob can still be stored later.
#[tokio::test]
async fn place_that_is_not_to_be_had_is_asked_for_once() {
    for status in [403, 429, 503] {
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" if request.target.contains("digest=") => {
                Reply::new(202).header("location", "/place")
            }
            "POST" => Reply::new(status),
            _ => Reply::new(201),
        })
        .await;
        let bench = Bench::nobody(5);
        let (registry, repository) = (&bench.registry, repository(&server, "o/r"));
        let reserved = registry.upload_and_reserve(&repository, b"first").await;
        assert!(reserved.unwrap().is_none(), "the blob is stored");
        assert!(registry.reserve(&repository).await.is_none());
        let wanted = ["POST 5", "POST 0", "PUT 5", "POST 0"];
        let mut asked = methods(&server);
        // Two requests run concurrently.
        asked[1..3].sort();
        assert_eq!(asked, wanted, "{status}");
        assert_eq!(bench.retries().len(), 0);
    }
}
