//! Tests uploads in chunks that broke off and go on: the content is checked across all reads of the source.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{ContentError, Operation, RegistryErrorKind};
use super::copies::{copy, descriptor, plain};
use super::*;
use crate::http::tests::server::Seen;

const MIB: usize = 1 << 20;

/// Returns nine MiB in which no part is like another.
fn content() -> Vec<u8> {
    (0_u8..251).cycle().take(9 * MIB).collect()
}

/// Returns a registry that accepts chunks alone. It takes half of the second chunk and closes the connection. It does not
/// check what it gets.
async fn cutting() -> Server {
    let stored = AtomicUsize::new(0);
    Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).header("location", "/upload"),
        "PUT" if request.body.is_empty() => Reply::new(201),
        "PUT" => Reply::new(413),
        "PATCH" if request.before == 1 => {
            stored.fetch_add(request.body.len() / 2, Ordering::Relaxed);
            Reply::silent()
        }
        "PATCH" => {
            stored.fetch_add(request.body.len(), Ordering::Relaxed);
            Reply::new(202)
        }
        "GET" => {
            let last = stored.load(Ordering::Relaxed) - 1;
            Reply::new(204).header("range", format!("0-{last}"))
        }
        _ => Reply::new(404),
    })
    .await
}

/// Returns the requests for the second upload session, with their ranges.
fn session(server: &Server) -> Vec<String> {
    let seen = server.seen().into_iter().skip(3);
    seen.map(|seen| {
        let range = seen.header("content-range").unwrap_or_default();
        format!("{} {range}", seen.method)
    })
    .collect()
}

/// Returns all bytes that the registry stored.
fn stored(server: &Server) -> Vec<u8> {
    let patches = server.asked("PATCH", "/upload");
    let mut stored = Vec::new();
    for (number, patch) in patches.iter().enumerate() {
        let length = patch.body.len() / if number == 1 { 2 } else { 1 };
        stored.extend(&patch.body[..length]);
    }
    stored
}

const GONE_ON: [&str; 6] = [
    "POST ",
    "PATCH 0-4194303",
    "PATCH 4194304-8388607",
    "GET ",
    "PATCH 6291456-9437183",
    "PUT ",
];

#[tokio::test]
async fn source_is_asked_for_the_rest_and_may_send_everything() {
    let content = content();
    let with_ranges = |request: &Seen, given: &[u8]| match request.header("range") {
        Some(range) => {
            assert_eq!(range, "bytes=4194304-");
            let total = given.len();
            let range = format!("bytes 4194304-{}/{total}", total - 1);
            let rest = Reply::new(206).body(&given[4 * MIB..]);
            rest.header("content-range", range)
        }
        None => plain(request, given),
    };
    let answers: [fn(&Seen, &[u8]) -> Reply; 2] = [with_ranges, plain];
    for answer in answers {
        let given = content.clone();
        let source = Server::start(move |request| answer(request, &given)).await;
        let destination = cutting().await;
        let bench = Bench::nobody(2);
        let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
        copied.unwrap();
        assert_eq!(session(&destination), GONE_ON);
        assert!(stored(&destination) == content, "the bytes are the same");
    }
}

#[tokio::test]
async fn source_that_has_no_rest_is_read_from_its_start() {
    let content = content();
    let part = |range: &str, bytes: &[u8]| {
        let total = content.len();
        let range = format!("bytes {range}/{total}");
        let rest = Reply::new(206).body(bytes);
        rest.header("content-range", range)
    };
    for rest in [
        Reply::new(416),
        // As many bytes as are left, and fewer.
        part("0-5242879", &content[..5 * MIB]),
        part("4194304-4194306", &content[..3]),
    ] {
        let given = content.clone();
        let source = Server::start(move |request| match request.header("range") {
            Some(_) => rest.clone(),
            None => plain(request, &given),
        })
        .await;
        let destination = cutting().await;
        let bench = Bench::nobody(2);
        let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
        copied.unwrap();
        let wanted = [
            &GONE_ON[..4],
            &[
                "DELETE ",
                "POST ",
                "PATCH 0-4194303",
                "PATCH 4194304-8388607",
                "PATCH 8388608-9437183",
                "PUT ",
            ],
        ];
        assert_eq!(session(&destination), wanted.concat());
    }
}

#[tokio::test]
async fn content_that_changes_between_two_reads_is_never_complete() {
    let content = content();
    let given = content.clone();
    let source = Server::start(move |request| {
        let mut given = given.clone();
        // The read that is cut: within the bytes that arrive, of a chunk that is not confirmed.
        if request.number == 1 {
            given[5 * MIB] ^= 1;
        }
        plain(request, &given)
    })
    .await;
    let destination = cutting().await;
    let bench = Bench::nobody(2);
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
    let error = copied.unwrap_err();
    assert_eq!(error.operation(), Operation::ReadBlob);
    let RegistryErrorKind::Content(ContentError::Digest { claimant, .. }) = error.kind() else {
        panic!("{error:?}")
    };
    assert!(claimant.contains("sent before"), "{claimant}");
    let session = session(&destination);
    assert!(!session.contains(&"PUT ".to_owned()), "{session:?}");
    assert_eq!(session.last().unwrap(), "DELETE ");
}

#[tokio::test]
async fn file_goes_on_where_the_registry_is() {
    let content = content();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blob");
    std::fs::write(&file, &content).unwrap();
    let destination = cutting().await;
    let bench = Bench::nobody(2);
    let blob = descriptor(&content);
    let to = repository(&destination, "c/d");
    let uploaded = bench.registry.upload_blob(&file, &to, &blob).await;
    uploaded.unwrap();
    assert_eq!(session(&destination), GONE_ON);
    assert!(stored(&destination) == content, "the bytes are the same");
}

#[tokio::test]
async fn wrong_offset_that_shows_in_the_end_alone_makes_the_upload_start_again() {
    let content = content();
    let given = content.clone();
    let source = Server::start(move |request| plain(request, &given)).await;
    let sessions = AtomicUsize::new(0);
    // It checks no range, and states one byte too much.
    let destination = Server::start(move |request| match request.method.as_str() {
        "POST" => {
            sessions.fetch_add(1, Ordering::Relaxed);
            Reply::new(202).header("location", "/upload")
        }
        "PUT" if !request.body.is_empty() => Reply::new(413),
        "PUT" if sessions.load(Ordering::Relaxed) == 2 => Reply::new(400),
        "PUT" => Reply::new(201),
        "PATCH" if request.before == 1 => Reply::silent(),
        "PATCH" => Reply::new(202),
        "GET" => Reply::new(204).header("range", "0-6291456"),
        _ => Reply::new(404),
    })
    .await;
    let bench = Bench::nobody(2);
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
    copied.unwrap();
    let wanted = [
        "POST ",
        "PATCH 0-4194303",
        "PATCH 4194304-8388607",
        "GET ",
        "PATCH 6291457-9437183",
        "PUT ",
        "DELETE ",
        "POST ",
        "PATCH 0-4194303",
        "PATCH 4194304-8388607",
        "PATCH 8388608-9437183",
        "PUT ",
    ];
    assert_eq!(session(&destination), wanted);
}
