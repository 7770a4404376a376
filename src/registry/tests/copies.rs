//! Tests copies of blobs, mounted or streamed, and the check whether a blob exists.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Copied, RegistryError};
use super::tokens::token_reply;
use super::*;
use crate::domain::{Descriptor, Digest};
use crate::http::tests::server::Seen;

/// Returns the contents of two blobs: one that is read into memory, and one that is streamed.
pub(super) fn contents() -> [Vec<u8>; 2] {
    [b"blob".to_vec(), vec![7; 200_000]]
}

pub(super) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: MediaType::from("application/octet-stream"),
        digest: Digest::of(content),
        size: u64::try_from(content.len()).unwrap(),
        platform: None,
        annotations: std::collections::BTreeMap::new(),
        artifact_type: None,
        urls: Vec::new(),
        data: None,
    }
}

/// Returns the response of a registry that serves `content` and accepts every upload.
pub(super) fn plain(request: &Seen, content: &[u8]) -> Reply {
    let is_whole = || {
        request
            .target
            .ends_with(&Digest::of(&request.body).hex().to_owned())
    };
    match request.method.as_str() {
        "GET" => Reply::new(200).body(content),
        "POST" if request.target.contains("digest=") => Reply::new(201),
        "POST" => Reply::new(202).header("location", format!("/upload/{}", request.number)),
        "PUT" if is_whole() => Reply::new(201),
        "DELETE" => Reply::new(204),
        _ => Reply::new(400),
    }
}

/// Returns the challenge of a registry that is its own token server.
fn unauthorized(request: &Seen) -> Reply {
    let challenge = format!(r#"Bearer realm="http://{}/token""#, request.host());
    Reply::new(401).header("www-authenticate", challenge)
}

pub(super) async fn copy(
    bench: &Bench,
    from: (&Server, &str),
    to: (&Server, &str),
    content: &[u8],
) -> Result<Copied, RegistryError> {
    let (from, to) = (repository(from.0, from.1), repository(to.0, to.1));
    bench
        .registry
        .copy_blob(&from, &to, &descriptor(content))
        .await
}

#[tokio::test]
async fn blob_of_another_registry_is_carried_over() {
    for content in contents() {
        let given = content.clone();
        let source = Server::start(move |request| plain(request, &given)).await;
        let destination = Server::start(|request| plain(request, b"")).await;
        let bench = Bench::nobody(1);
        let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
        assert_eq!(copied.unwrap(), Copied::Streamed);
        let digest = Digest::of(&content);
        assert_eq!(source.lines(), [format!("GET /v2/a/b/blobs/{digest}")]);
        let last = destination.seen().pop().unwrap();
        assert!(last.body == content, "the bytes are the same");
        assert_eq!(
            last.header("content-length"),
            Some(&*content.len().to_string())
        );
        let put = format!("PUT {}", content.len());
        assert_eq!(methods(&destination), ["POST 0", &put]);
    }
}

#[tokio::test]
async fn mount_asks_for_a_token_that_may_read_the_other_repository() {
    let server = Server::start(|request| {
        if request.target.starts_with("/token") {
            return token_reply("t", "");
        }
        match request.header("authorization") {
            Some("Bearer t") => Reply::new(201),
            _ => unauthorized(request),
        }
    })
    .await;
    let bench = Bench::nobody(1);
    for _ in 0..2 {
        let copied = copy(&bench, (&server, "o/from"), (&server, "o/to"), b"blob").await;
        assert_eq!(copied.unwrap(), Copied::Mounted);
    }
    let digest = Digest::of(b"blob");
    let mount = format!("POST /v2/o/to/blobs/uploads/?mount={digest}&from=o/from");
    let scopes = "scope=repository%3Ao%2Fto%3Apull%2Cpush&scope=repository%3Ao%2Ffrom%3Apull";
    let token = format!("GET /token?{scopes}");
    assert_eq!(server.lines(), [&*mount, &token, &mount, &mount]);
}

#[tokio::test]
async fn mount_that_is_not_done_goes_on_in_the_upload_that_it_began() {
    for content in contents() {
        let given = content.clone();
        let server = Server::start(move |request| plain(request, &given)).await;
        let bench = Bench::nobody(1);
        let copied = copy(&bench, (&server, "o/from"), (&server, "o/to"), &content).await;
        assert_eq!(copied.unwrap(), Copied::Streamed);
        let put = format!("PUT {}", content.len());
        assert_eq!(methods(&server), ["POST 0", "GET 0", &put]);
        assert!(server.lines()[2].starts_with("PUT /upload/0?"));
    }
}

#[tokio::test]
async fn refused_mount_is_not_asked_for_again_unless_it_may_be_about_the_blob() {
    for (content, status, mounts) in [
        (contents()[0].clone(), 405, 1),
        (contents()[1].clone(), 403, 1),
        (contents()[0].clone(), 404, 2),
    ] {
        let given = content.clone();
        let server = Server::start(move |request| {
            if request.target.contains("mount=") {
                Reply::new(status)
            } else {
                plain(request, &given)
            }
        })
        .await;
        let bench = Bench::nobody(1);
        for _ in 0..2 {
            let copied = copy(&bench, (&server, "o/from"), (&server, "o/to"), &content).await;
            assert_eq!(copied.unwrap(), Copied::Streamed);
        }
        assert_eq!(server.count("mount="), mounts, "{status}");
        assert_eq!(server.count("DELETE"), 0);
    }
}

#[tokio::test]
async fn token_for_a_mount_that_is_refused_leaves_the_other_tokens_alone() {
    let server = Server::start(|request| {
        if request.target.starts_with("/token") {
            return if request.target.contains("to%3Apull%2Cpush&scope=") {
                Reply::new(403)
            } else {
                token_reply("t", "")
            };
        }
        match request.header("authorization") {
            Some("Bearer t") => plain(request, b"blob"),
            _ => unauthorized(request),
        }
    })
    .await;
    let bench = Bench::nobody(1);
    let copied = copy(&bench, (&server, "o/from"), (&server, "o/to"), b"blob").await;
    assert_eq!(copied.unwrap(), Copied::Streamed);
    assert_eq!(server.count("mount="), 1);
}

#[tokio::test]
async fn credentials_of_neither_side_come_to_the_other_nor_to_a_storage() {
    let content = contents()[1].clone();
    let storage = Server::start({
        let given = content.clone();
        move |request| plain(request, &given)
    })
    .await;
    let elsewhere = format!("http://{}/1", storage.address());
    let closed = move |request: &Seen| {
        let place = |status| Reply::new(status).header("location", elsewhere.as_str());
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Reply::new(401).header("www-authenticate", "Basic"),
            (Some(_), "GET") => place(307),
            (Some(_), _) => place(202),
        }
    };
    let source = Server::start(closed.clone()).await;
    let destination = Server::start(closed).await;
    let mut credentials = login(&source);
    let other = Login {
        username: "you".to_owned(),
        password: Secret::new("other"),
    };
    credentials
        .login(destination.address(), other, "registry-auths")
        .unwrap();
    let bench = Bench::new(1, credentials);
    let copied = copy(&bench, (&source, "o/r"), (&destination, "o/r"), &content).await;
    assert_eq!(copied.unwrap(), Copied::Streamed);
    let sent = |server: &Server| {
        let seen = server.seen().into_iter();
        seen.map(|seen| seen.header("authorization").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(&source), [None, Some(BASIC.to_owned())]);
    assert_eq!(
        sent(&destination),
        [None, Some("Basic eW91Om90aGVy".to_owned())]
    );
    assert_eq!(sent(&storage), [None, None]);
    assert_eq!(methods(&storage), ["GET 0", "PUT 200000"]);
}

#[tokio::test]
async fn token_that_ends_within_a_copy_is_renewed_and_the_copy_begun_anew() {
    let content = contents()[1].clone();
    let given = content.clone();
    let source = Server::start(move |request| plain(request, &given)).await;
    let tokens = AtomicUsize::new(0);
    let destination = Server::start(move |request| {
        if request.target.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            return token_reply(&format!("t{number}"), "");
        }
        match (request.header("authorization"), request.method.as_str()) {
            (Some("Bearer t0"), "POST") | (Some("Bearer t1"), _) => plain(request, b""),
            _ => unauthorized(request),
        }
    })
    .await;
    let bench = Bench::nobody(1);
    let copied = copy(&bench, (&source, "o/r"), (&destination, "o/r"), &content).await;
    assert_eq!(copied.unwrap(), Copied::Streamed);
    assert_eq!(source.seen().len(), 2);
    let wanted = [
        "POST 0",
        "GET 0",
        "POST 0",
        "PUT 200000",
        "GET 0",
        "DELETE 0",
        "POST 0",
        "PUT 200000",
    ];
    assert_eq!(methods(&destination), wanted);
}

#[tokio::test]
async fn blob_is_there_or_not_or_it_is_not_known() {
    let answer = |head: Reply, get: Reply| async move {
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => head.clone(),
            _ => get.clone(),
        })
        .await;
        let bench = Bench::nobody(1);
        let digest = Digest::of(b"blob");
        let found = bench
            .registry
            .has_blob(&repository(&server, "o/r"), &digest)
            .await;
        let found = found.map_err(|error| error.status());
        (found, server.seen().len())
    };
    let reply = Reply::new;
    assert_eq!(answer(reply(200), reply(500)).await, (Ok(true), 1));
    assert_eq!(answer(reply(404), reply(500)).await, (Ok(false), 1));
    // A storage may refuse HEAD, and so may some registries.
    for head in [reply(307).header("location", "/storage"), reply(405)] {
        let endless = reply(200).body("blob").endless();
        assert_eq!(answer(head, endless).await, (Ok(true), 2));
    }
    let unknown = reply(404).body(r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#);
    assert_eq!(answer(reply(405), unknown).await, (Ok(false), 2));
    for status in [401, 403, 404] {
        let (found, _) = answer(reply(403), reply(status)).await;
        assert_eq!(found, Err(Some(status)));
    }
    assert_eq!(answer(reply(503), reply(200)).await, (Err(Some(503)), 1));
}
