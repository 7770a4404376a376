//! Tests digests, limits and redirects of blobs.

use super::super::{ContentError, RegistryErrorKind};
use super::*;
use crate::domain::Digest;
use crate::http::BodyError;

#[tokio::test]
async fn manifest_has_the_digest_that_was_asked_for_and_the_one_that_is_stated() {
    let digest = Digest::of(MANIFEST);
    let other = Digest::of(b"other");
    let by_digest = |digest: &Digest| Reference::Digest(digest.clone());
    for (reference, stated, is_taken) in [
        (by_digest(&digest), None, true),
        (by_digest(&digest), Some(digest.to_string()), true),
        (by_digest(&digest), Some(other.to_string()), false),
        (by_digest(&other), None, false),
        (by_digest(&other), Some(other.to_string()), false),
        (tag("v1"), None, true),
        (tag("v1"), Some(String::new()), true),
        (tag("v1"), Some(other.to_string()), false),
        (tag("v1"), Some("sha512:00".to_owned()), false),
    ] {
        let header = stated.clone();
        let server = Server::start(move |_| match &header {
            Some(stated) => index_reply().header("Docker-Content-Digest", stated),
            None => index_reply(),
        })
        .await;
        let bench = Bench::nobody(3);
        let read = bench
            .registry
            .manifest(&repository(&server, "o/r"), &reference)
            .await;
        match read {
            Ok(manifest) => assert!(
                is_taken && manifest.unwrap().bytes() == MANIFEST,
                "{stated:?}"
            ),
            Err(error) => {
                let is_lie = matches!(
                    error.kind(),
                    RegistryErrorKind::Content(ContentError::Digest { .. })
                );
                assert!(!is_taken && is_lie, "{reference} {stated:?}: {error}");
            }
        }
        assert_eq!(server.seen().len(), 1, "a lie is not asked for again");
    }
}

#[tokio::test]
async fn digest_of_a_tag_costs_one_head_where_it_is_stated() {
    let digest = Digest::of(MANIFEST);
    for (stated, lines) in [
        (Some(digest.to_string()), 1),
        (Some(String::new()), 2),
        (None, 2),
    ] {
        let server = Server::start(move |_| match &stated {
            Some(stated) => index_reply().header("docker-content-digest", stated),
            None => index_reply(),
        })
        .await;
        let bench = Bench::nobody(1);
        let repository = repository(&server, "o/r");
        let found = bench
            .registry
            .manifest_digest(&repository, &tag("v1"))
            .await;
        assert_eq!(found.unwrap(), Some(digest.clone()));
        let wanted = ["HEAD /v2/o/r/manifests/v1", "GET /v2/o/r/manifests/v1"];
        assert_eq!(server.lines(), wanted[..lines]);
        let accept = server.seen()[0].header("accept").unwrap().to_owned();
        for media_type in MediaType::MANIFESTS {
            assert!(accept.contains(media_type.as_str()), "{accept}");
        }
    }
}

#[tokio::test]
async fn head_that_states_another_digest_than_asked_is_a_lie() {
    let server = Server::start(|_| {
        index_reply().header("docker-content-digest", Digest::of(b"other").to_string())
    })
    .await;
    let bench = Bench::nobody(1);
    let reference = Reference::Digest(Digest::of(MANIFEST));
    let found = bench
        .registry
        .manifest_digest(&repository(&server, "o/r"), &reference)
        .await;
    assert!(matches!(
        found.unwrap_err().kind(),
        RegistryErrorKind::Content(ContentError::Digest { .. })
    ));
}

#[tokio::test]
async fn refused_head_is_asked_again_for_the_reason() {
    let server = Server::start(|_| {
        Reply::new(403).body(r#"{"errors":[{"code":"DENIED","message":"no read"}]}"#)
    })
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    let error = bench
        .registry
        .manifest_digest(&repository, &tag("v1"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("could not read `{repository}:v1`")
    );
    let cause = format!(
        "`{}` answered 403 Forbidden (DENIED: no read)",
        server.address()
    );
    assert_eq!(error.kind().to_string(), cause);
    assert!(error.is_denied() && !error.is_write() && error.credentials().is_none());
}

#[tokio::test]
async fn endless_bodies_are_left_at_their_bound() {
    let server = Server::start(|request| {
        let status = if request.target.contains("denied") {
            403
        } else {
            200
        };
        Reply::new(status)
            .header("content-type", MediaType::OciIndex.as_str())
            .body("x".repeat(50_000))
            .endless()
    })
    .await;
    let bench = Bench::nobody(3);
    let repository = repository(&server, "o/r");
    let digest = Digest::of(b"");
    let faults = [
        bench
            .registry
            .manifest(&repository, &tag("v1"))
            .await
            .unwrap_err(),
        bench
            .registry
            .blob(&repository, &digest, 1000)
            .await
            .unwrap_err(),
        bench
            .registry
            .referrers::<Digest>(&repository, &digest)
            .await
            .unwrap_err(),
    ];
    for error in faults {
        assert!(
            matches!(
                error.kind(),
                RegistryErrorKind::Body {
                    source: BodyError::TooLong { .. },
                    ..
                }
            ),
            "{error:?}"
        );
    }
    let denied = bench
        .registry
        .manifest(&repository, &tag("denied"))
        .await
        .unwrap_err();
    assert_eq!(denied.status(), Some(403));
    assert_eq!(
        server.seen().len(),
        4,
        "what is too long is not asked for again"
    );
}

#[tokio::test]
async fn blob_with_other_bytes_is_refused_and_a_right_one_taken() {
    let server = Server::start(|_| Reply::new(200).body("blob")).await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    let read = bench
        .registry
        .blob(&repository, &Digest::of(b"blob"), 4)
        .await;
    assert_eq!(read.unwrap().unwrap(), b"blob");
    let lie = bench
        .registry
        .blob(&repository, &Digest::of(b"other"), 4)
        .await;
    assert!(matches!(
        lie.unwrap_err().kind(),
        RegistryErrorKind::Content(ContentError::Digest { .. })
    ));
    let long = bench
        .registry
        .blob(&repository, &Digest::of(b"blob"), 3)
        .await;
    assert!(matches!(
        long.unwrap_err().kind(),
        RegistryErrorKind::Body { .. }
    ));
}

#[tokio::test]
async fn redirected_blob_is_fetched_without_our_credentials() {
    let storage = Server::start(|_| Reply::new(200).body("blob")).await;
    let elsewhere = format!("http://{}/bucket/blob?signature=s", storage.address());
    let server = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic"),
        Some(_) if request.target.starts_with("/own") => {
            Reply::new(302).header("location", elsewhere.as_str())
        }
        Some(_) => Reply::new(307).header("location", "/own/place"),
    })
    .await;
    let bench = Bench::new(1, login(&server));
    let digest = Digest::of(b"blob");
    let read = bench
        .registry
        .blob(&repository(&server, "o/r"), &digest, 4)
        .await;
    assert_eq!(read.unwrap().unwrap(), b"blob");
    let own = server.seen().pop().unwrap();
    assert_eq!(
        (own.target.as_str(), own.header("authorization")),
        ("/own/place", Some(BASIC))
    );
    let [there] = storage.seen().try_into().unwrap();
    assert_eq!(there.target, "/bucket/blob?signature=s");
    assert_eq!(there.header("authorization"), None);
}

#[tokio::test]
async fn redirects_that_lead_out_of_tls_or_round_and_round_or_to_nothing_are_refused() {
    let missing =
        Server::start(|_| Reply::new(404).body(r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#)).await;
    for (location, wanted) in [
        (
            "http://storage.invalid/blob?secret".to_owned(),
            "`http://storage.invalid/blob`, which is not HTTPS",
        ),
        ("ftp://storage.invalid/".to_owned(), "is not a valid URL"),
        (
            "https://user:hidden@storage.invalid/".to_owned(),
            "contains a user name",
        ),
        ("//[".to_owned(), "is not a valid URL"),
        (String::new(), "names no `Location`"),
        ("?again".to_owned(), "after five redirects"),
        (format!("http://{}/", missing.address()), "answered 404"),
    ] {
        let place = location.clone();
        let server =
            Server::start(move |_| Reply::new(302).header("location", place.as_str())).await;
        let bench = Bench::nobody(1);
        let read = bench
            .registry
            .blob(&repository(&server, "o/r"), &Digest::of(b""), 4)
            .await;
        let kind = read.unwrap_err().kind().to_string();
        assert!(kind.contains(wanted), "{location}: {kind}");
        assert!(
            !kind.contains("hidden") && !kind.contains("secret"),
            "{kind}"
        );
        assert!(server.seen().len() <= 6);
    }
}
