//! Tests which requests are retried.

use super::super::host_features::Scheme;
use super::*;
use crate::domain::Digest;
use crate::http::Transient as _;

#[tokio::test]
async fn what_may_pass_is_tried_again_and_told() {
    for status in [408, 429, 499, 500, 502, 503, 504, 522] {
        let server = Server::start(move |request| match request.number {
            0 | 1 => Reply::new(status),
            _ => index_reply(),
        })
        .await;
        let bench = Bench::nobody(3);
        let repository = repository(&server, "o/r");
        let read = bench.registry.manifest(&repository, &tag("v1")).await;
        assert!(read.unwrap().is_some(), "{status}");
        let retries = bench.retries();
        assert_eq!(retries.len(), 2, "{status}");
        let (what, why, wait) = &retries[0];
        assert_eq!(*what, format!("GET {repository}/manifests/v1"));
        assert!(why.contains(&status.to_string()), "{why}");
        assert!(*wait <= Duration::from_millis(5), "{wait:?}");
    }
}

#[tokio::test]
async fn tries_end_and_the_last_answer_is_told() {
    let server = Server::start(|_| Reply::new(503).body("busy")).await;
    let bench = Bench::nobody(3);
    let repository = repository(&server, "o/r");
    let error = bench
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap_err();
    assert_eq!((error.status(), server.seen().len()), (Some(503), 3));
    assert!(error.kind().to_string().contains("busy"));
}

#[tokio::test]
async fn cut_body_and_lost_answer_are_asked_for_again() {
    let server = Server::start(|request| match request.number {
        1 => index_reply().cut(),
        2 => Reply::silent(),
        _ => index_reply(),
    })
    .await;
    let bench = Bench::nobody(3);
    let repository = repository(&server, "o/r");
    for _ in 0..2 {
        let read = bench.registry.manifest(&repository, &tag("v1")).await;
        assert_eq!(read.unwrap().unwrap().bytes(), MANIFEST);
    }
    assert_eq!(bench.retries().len(), 2);
}

#[tokio::test]
async fn wait_that_a_server_asks_for_is_kept_within_the_policy() {
    let server = Server::start(|request| match request.number {
        0 => Reply::new(429).header("retry-after", "3600"),
        1 => Reply::new(429).body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 4.5ms, allowed: 1/minute"}]}"#),
        _ => index_reply(),
    })
    .await;
    let bench = Bench::nobody(3);
    let repository = repository(&server, "o/r");
    let read = bench.registry.manifest(&repository, &tag("v1")).await;
    assert!(read.unwrap().is_some());
    let waits: Vec<Duration> = bench.retries().iter().map(|retry| retry.2).collect();
    assert_eq!(waits[0], Duration::from_millis(5));
    assert!(waits[1] >= Duration::from_micros(4500), "{waits:?}");
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    for status in [400, 403, 405, 409, 412, 413, 501] {
        let server = Server::start(move |_| Reply::new(status)).await;
        let bench = Bench::nobody(5);
        let repository = repository(&server, "o/r");
        let error = bench
            .registry
            .manifest(&repository, &tag("v1"))
            .await
            .unwrap_err();
        assert_eq!((error.status(), server.seen().len()), (Some(status), 1));
    }
}

#[tokio::test]
async fn nobody_listening_is_told_with_its_cause() {
    let server = Server::start(|_| Reply::new(200)).await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    drop(server);
    let bench = Bench::nobody(2);
    let repository = format!("{closed}/o/r").parse().unwrap();
    let error = bench
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap_err();
    assert!(error.kind().is_transient());
    assert!(error.kind().to_string().contains("refused"), "{error:?}");
    assert_eq!(bench.retries().len(), 1);
}

#[tokio::test]
async fn retried_upload_is_a_new_one() {
    let server = Server::start(|request| match (request.method.as_str(), request.number) {
        ("POST", number) => Reply::new(202).header("location", format!("/upload/{number}")),
        ("DELETE", _) => Reply::new(405),
        (_, 1) => Reply::silent(),
        (_, 4) => Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#),
        _ => Reply::new(201),
    })
    .await;
    let bench = Bench::nobody(3);
    let stored = bench
        .registry
        .put_blob(&repository(&server, "o/r"), b"blob")
        .await;
    let digest = Digest::of(b"blob");
    assert_eq!(stored.unwrap(), digest);
    let digest = digest.to_string().replace(':', "%3A");
    let uploads: Vec<String> = server
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("POST"))
        .collect();
    let put = |number| format!("PUT /upload/{number}?digest={digest}");
    // A failed session is cancelled, if the registry supports that.
    let wanted = [
        put(0),
        "DELETE /upload/0".to_owned(),
        put(3),
        "DELETE /upload/3".to_owned(),
        put(6),
    ];
    assert_eq!(uploads, wanted);
}

#[tokio::test]
async fn scheme_of_this_machine_is_remembered_only_once_it_is_certain() {
    // A Go server that requires TLS answers a HEAD by plain HTTP with a bare 400.
    let server = Server::start(|request| match request.number {
        0 | 1 => Reply::new(400),
        2 => Reply::silent(),
        _ => index_reply(),
    })
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    let scheme = || bench.registry.sender.transport().scheme(repository.host());
    let reference = tag("v1");
    let look = || bench.registry.manifest_digest(&repository, &reference);
    assert_eq!(look().await.unwrap_err().status(), Some(400));
    assert_eq!(scheme(), None);
    look().await.unwrap_err();
    assert_eq!(scheme(), None);
    assert!(look().await.unwrap().is_some());
    assert_eq!(scheme(), Some(Scheme::Http));
}
