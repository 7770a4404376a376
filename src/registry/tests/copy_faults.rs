//! Tests copies that fail: the error names the right side, and the destination never has a corrupt blob.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{ContentError, Operation, RegistryError, RegistryErrorKind};
use super::copies::{contents, copy, descriptor, plain};
use super::*;
use crate::domain::{Descriptor, Digest};
use crate::http::BodyError;

/// Copies `content` from a server that answers with `reply`. Returns the error, which must be the source's, and the
/// destination.
async fn copy_of(reply: Reply, content: &[u8]) -> (RegistryError, Server) {
    let source = Server::start(move |_| reply.clone()).await;
    let destination = Server::start(|request| plain(request, b"")).await;
    let bench = Bench::nobody(2);
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), content).await;
    let error = copied.unwrap_err();
    assert_eq!(error.operation(), Operation::ReadBlob);
    assert_eq!(error.repository(), &repository(&source, "a/b"));
    let digest = Digest::of(content);
    let wanted = format!("could not read blob `{}/a/b@{digest}`", source.address());
    assert_eq!(error.to_string(), wanted);
    (error, destination)
}

#[tokio::test]
async fn blob_with_another_digest_never_arrives() {
    for content in contents() {
        let mut wrong = content.clone();
        *wrong.last_mut().unwrap() = 8;
        for reply in [
            Reply::new(200).body(wrong.clone()),
            Reply::new(200).body(wrong).chunked(),
        ] {
            let (error, destination) = copy_of(reply, &content).await;
            assert!(
                matches!(
                    error.kind(),
                    RegistryErrorKind::Content(ContentError::Digest { .. })
                ),
                "{error:?}"
            );
            // The server does not record a request whose body is incomplete.
            assert_eq!(methods(&destination), ["POST 0", "DELETE 0"]);
        }
    }
}

#[tokio::test]
async fn blob_of_another_length_never_arrives() {
    for content in contents() {
        let short = content[..content.len() - 1].to_vec();
        let long = [content.as_slice(), b"x"].concat();
        for body in [short, long, Vec::new()] {
            let (error, destination) = copy_of(Reply::new(200).body(body.clone()), &content).await;
            assert!(
                matches!(
                    error.kind(),
                    RegistryErrorKind::Content(ContentError::Size { .. })
                ),
                "{error:?}"
            );
            assert_eq!(methods(&destination), ["POST 0", "DELETE 0"]);
            let (error, destination) =
                copy_of(Reply::new(200).body(body).chunked(), &content).await;
            let is_about_length = matches!(
                error.kind(),
                RegistryErrorKind::Content(ContentError::Size { .. })
                    | RegistryErrorKind::Body {
                        source: BodyError::TooLong { .. },
                        ..
                    }
            );
            assert!(is_about_length, "{error:?}");
            assert_eq!(methods(&destination), ["POST 0", "DELETE 0"]);
        }
    }
}

#[tokio::test]
async fn source_without_the_blob_is_told_from_a_destination_that_refuses() {
    for content in contents() {
        for status in [401, 403, 404] {
            let (error, destination) = copy_of(Reply::new(status), &content).await;
            assert_eq!(error.status(), Some(status));
            assert_eq!(methods(&destination), ["POST 0", "DELETE 0"]);
        }
        let given = content.clone();
        let source = Server::start(move |request| plain(request, &given)).await;
        let destination = Server::start(|request| match request.method.as_str() {
            "PUT" => Reply::new(403),
            "POST" => Reply::new(202).header("location", "/place"),
            _ => Reply::new(204),
        })
        .await;
        let bench = Bench::nobody(2);
        let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
        let error = copied.unwrap_err();
        assert_eq!(
            (error.operation(), error.status()),
            (Operation::WriteBlob, Some(403))
        );
        assert_eq!(error.repository(), &repository(&destination, "c/d"));
        assert_eq!(destination.lines().pop().unwrap(), "DELETE /place");
    }
}

#[tokio::test]
async fn upload_that_a_mount_began_is_taken_back_when_the_source_fails() {
    for content in contents() {
        let server = Server::start(|request| match request.method.as_str() {
            "GET" => Reply::new(404),
            _ => plain(request, b""),
        })
        .await;
        let bench = Bench::nobody(1);
        let copied = copy(&bench, (&server, "o/from"), (&server, "o/to"), &content).await;
        assert_eq!(copied.unwrap_err().operation(), Operation::ReadBlob);
        assert_eq!(methods(&server), ["POST 0", "GET 0", "DELETE 0"]);
        assert_eq!(server.lines().pop().unwrap(), "DELETE /upload/0");
    }
}

#[tokio::test]
async fn download_that_is_cut_is_begun_anew() {
    for content in contents() {
        let given = content.clone();
        let source = Server::start(move |request| match request.number {
            0 => plain(request, &given).cut(),
            _ => plain(request, &given),
        })
        .await;
        let destination = Server::start(|request| plain(request, b"")).await;
        let bench = Bench::nobody(2);
        let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
        assert!(copied.is_ok(), "{copied:?}");
        let [(what, why, _)] = bench.retries().try_into().unwrap();
        assert!(
            what.starts_with("copy of") && why.contains(source.address()),
            "{why}"
        );
        let put = format!("PUT {}", content.len());
        let wanted = ["POST 0", "DELETE 0", "POST 0", &put];
        assert_eq!(methods(&destination), wanted);
    }
}

#[tokio::test]
async fn upload_that_is_cut_is_begun_anew() {
    let content = contents()[1].clone();
    let given = content.clone();
    let source = Server::start(move |request| plain(request, &given)).await;
    let destination = Server::start(|request| match request.number {
        1 => Reply::silent(),
        _ => plain(request, b""),
    })
    .await;
    let bench = Bench::nobody(2);
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
    assert!(copied.is_ok(), "{copied:?}");
    let [(_, why, _)] = bench.retries().try_into().unwrap();
    assert!(why.contains(destination.address()), "{why}");
    // The registry may have stored the blob.
    let wanted = [
        "POST 0",
        "PUT 200000",
        "HEAD 0",
        "DELETE 0",
        "POST 0",
        "PUT 200000",
    ];
    assert_eq!(methods(&destination), wanted);
}

#[tokio::test]
async fn upload_elsewhere_is_taken_back_without_our_credentials() {
    let storage = Server::start(|_| Reply::new(403)).await;
    let place = format!("http://{}/1?state=s", storage.address());
    let destination = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic"),
        Some(_) => Reply::new(202).header("location", place.as_str()),
    })
    .await;
    let content = contents()[1].clone();
    let given = content.clone();
    let source = Server::start(move |request| plain(request, &given)).await;
    let bench = Bench::new(1, login(&destination));
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &content).await;
    assert_eq!(copied.unwrap_err().status(), Some(403));
    assert_eq!(methods(&storage), ["PUT 200000", "DELETE 0"]);
    assert_eq!(storage.lines()[1], "DELETE /1?state=s");
    assert!(
        storage
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

/// Starts a registry that answers as soon as a request begins: to PUT with this status, to anything else with success.
async fn hasty(put: u16) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut start = [0; 4];
            stream.read_exact(&mut start).await.unwrap();
            let (status, more) = match &start {
                // One chunk has the whole blob.
                b"POST" => (202, "location: /1\r\noci-chunk-min-length: 20000000\r\n"),
                b"PUT " => (put, ""),
                _ => (202, ""),
            };
            let answer = format!(
                "HTTP/1.1 {status} Yes\r\n{more}connection: close\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn registry_that_says_yes_before_it_has_everything_is_not_believed() {
    // More than the sockets in between can buffer.
    let size = 20_000_000;
    let source = Server::start(move |request| plain(request, &vec![7; size])).await;
    let blob = Descriptor {
        size: u64::try_from(size).unwrap(),
        ..descriptor(b"")
    };
    // In one request, and in a chunk.
    for put in [201, 413] {
        let bench = Bench::nobody(1);
        let to = format!("{}/c/d", hasty(put).await).parse().unwrap();
        let from = repository(&source, "a/b");
        let copied = bench.registry.copy_blob(&from, &to, &blob).await;
        let error = copied.unwrap_err();
        assert_eq!(error.operation(), Operation::WriteBlob);
        assert!(
            matches!(error.kind(), RegistryErrorKind::Early { .. }),
            "{put}: {error:?}"
        );
    }
}
