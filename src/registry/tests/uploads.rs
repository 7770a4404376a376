//! Tests how blobs and manifests are stored.

use super::super::{ContentError, RegistryErrorKind, Stored};
use super::*;
use crate::domain::Digest;

/// Stores the blob `blob` in an upload session at `location`. Returns the error and the requests.
async fn upload(location: &str) -> (Option<String>, Vec<String>) {
    let location = location.to_owned();
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" => {
            let place = location.replace("[HOST]", request.host());
            Reply::new(202).header("location", place)
        }
        _ => Reply::new(if request.body == b"blob" { 201 } else { 400 }),
    })
    .await;
    let bench = Bench::nobody(1);
    let stored = bench
        .registry
        .put_blob(&repository(&server, "o/r"), b"blob")
        .await;
    let kind = stored.err().map(|error| error.kind().to_string());
    (kind, server.lines())
}

#[tokio::test]
async fn place_of_an_upload_is_taken_in_every_form_and_keeps_its_query() {
    let digest = Digest::of(b"blob").to_string().replace(':', "%3A");
    for (location, target) in [
        ("/v2/o/r/blobs/uploads/1", "/v2/o/r/blobs/uploads/1?digest="),
        (
            "http://[HOST]/v2/o/r/blobs/uploads/1?_state=a%2Fb%3D",
            "/v2/o/r/blobs/uploads/1?_state=a%2Fb%3D&digest=",
        ),
        ("1", "/v2/o/r/blobs/uploads/1?digest="),
        ("?x=1", "/v2/o/r/blobs/uploads/?x=1&digest="),
        ("/upload#fragment", "/upload?digest="),
    ] {
        let (kind, lines) = upload(location).await;
        assert_eq!(kind, None, "{location}");
        let wanted = [
            format!("POST /v2/o/r/blobs/uploads/?digest={}", Digest::of(b"blob")),
            format!("PUT {target}{digest}"),
        ];
        assert_eq!(lines, wanted, "{location}");
    }
}

#[tokio::test]
async fn place_of_an_upload_that_is_no_place_is_refused() {
    for (location, wanted) in [
        ("", "names no `Location`"),
        (
            "http://storage.invalid/1?secret",
            "`http://storage.invalid/1`, which is not HTTPS",
        ),
        ("gopher://[HOST]/1", "is no"),
        ("//[", "is not a valid URL"),
    ] {
        let (kind, lines) = upload(location).await;
        let kind = kind.unwrap();
        assert!(kind.contains(wanted), "{location}: {kind}");
        assert_eq!(lines.len(), 1, "{location}");
    }
}

#[tokio::test]
async fn upload_elsewhere_goes_without_our_credentials() {
    let storage = Server::start(|_| Reply::new(201)).await;
    let place = format!("http://{}/1", storage.address());
    let server = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).header("www-authenticate", "Basic"),
        Some(_) => Reply::new(202).header("location", place.as_str()),
    })
    .await;
    let bench = Bench::new(1, login(&server));
    bench
        .registry
        .put_blob(&repository(&server, "o/r"), b"blob")
        .await
        .unwrap();
    let [put] = storage.seen().try_into().unwrap();
    assert_eq!(
        (put.header("authorization"), put.body.clone()),
        (None, b"blob".to_vec())
    );
}

/// Stores `blobs` one after the other. A POST with a blob is answered with `whole`. Returns the results and the server.
async fn upload_all(whole: Reply, blobs: &[&[u8]]) -> (Vec<Result<Digest, String>>, Server) {
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" if request.target.contains("digest=") => whole.clone(),
        "POST" => Reply::new(202).header("location", "/place"),
        _ => Reply::new(201),
    })
    .await;
    let bench = Bench::nobody(1);
    let mut stored = Vec::new();
    for blob in blobs {
        let one = bench
            .registry
            .put_blob(&repository(&server, "o/r"), blob)
            .await;
        stored.push(one.map_err(|error| error.kind().to_string()));
    }
    (stored, server)
}

#[tokio::test]
async fn small_blob_is_stored_with_one_request() {
    let (stored, server) = upload_all(Reply::new(201), &[b"blob", b"other"]).await;
    let wanted = [Digest::of(b"blob"), Digest::of(b"other")].map(Ok);
    assert_eq!(stored, wanted);
    assert_eq!(methods(&server), ["POST 4", "POST 5"]);
    assert_eq!(server.seen()[0].body, b"blob");
}

#[tokio::test]
async fn large_blob_is_not_sent_along_with_the_first_request() {
    let (stored, server) = upload_all(Reply::new(201), &[&vec![7; 65_537]]).await;
    assert!(stored[0].is_ok());
    assert_eq!(methods(&server), ["POST 0", "PUT 65537"]);
}

#[tokio::test]
async fn registry_that_takes_no_blob_with_the_first_request_is_tried_once() {
    let place = Reply::new(202).header("location", "/place");
    let (stored, server) = upload_all(place, &[b"blob", b"other"]).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    assert_eq!(methods(&server), ["POST 4", "PUT 4", "POST 0", "PUT 5"]);
    for status in [400, 404, 405, 411, 413, 415, 416, 501] {
        let (stored, server) = upload_all(Reply::new(status), &[b"blob", b"other"]).await;
        assert!(stored.iter().all(Result::is_ok), "{status}: {stored:?}");
        let wanted = ["POST 4", "POST 0", "PUT 4", "POST 0", "PUT 5"];
        assert_eq!(methods(&server), wanted, "{status}");
    }
}

#[tokio::test]
async fn refusal_that_is_not_about_the_form_is_not_asked_again() {
    for status in [401, 403] {
        let (stored, server) = upload_all(Reply::new(status), &[b"blob"]).await;
        let kind = stored[0].clone().unwrap_err();
        assert!(kind.contains(&status.to_string()), "{kind}");
        assert_eq!(methods(&server), ["POST 4"]);
    }
}

#[tokio::test]
async fn server_that_breaks_over_a_blob_with_the_first_request_gets_a_plain_one_next() {
    let server = Server::start(|request| match request.method.as_str() {
        "POST" if request.target.contains("digest=") => Reply::silent(),
        "POST" => Reply::new(202).header("location", "/place"),
        _ => Reply::new(201),
    })
    .await;
    let bench = Bench::nobody(2);
    let stored = bench
        .registry
        .put_blob(&repository(&server, "o/r"), b"blob")
        .await;
    assert!(stored.is_ok(), "{stored:?}");
    assert_eq!(bench.retries().len(), 1);
}

#[tokio::test]
async fn blob_that_is_stored_as_another_is_an_error() {
    let server = Server::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).header("location", "/1"),
        _ => Reply::new(201).header("docker-content-digest", Digest::of(b"x").to_string()),
    })
    .await;
    let bench = Bench::nobody(1);
    let stored = bench
        .registry
        .put_blob(&repository(&server, "o/r"), b"blob")
        .await;
    let error = stored.unwrap_err();
    assert!(
        error.is_write()
            && matches!(
                error.kind(),
                RegistryErrorKind::Content(ContentError::Digest { .. })
            ),
        "{error:?}"
    );
}

/// Stores [`MANIFEST`] under `reference`. The registry classify PUT with `put` and other requests with `other`. Returns
/// the result and the server.
async fn store(reference: Reference, put: Reply, other: Reply) -> (Result<Stored, String>, Server) {
    let server = Server::start(move |request| match request.method.as_str() {
        "PUT" => put.clone(),
        _ => other.clone(),
    })
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    let stored = bench
        .registry
        .put_manifest(&repository, &reference, &MediaType::OciIndex, MANIFEST)
        .await;
    (stored.map_err(|error| error.kind().to_string()), server)
}

#[tokio::test]
async fn manifest_is_stored_byte_for_byte() {
    let digest = Digest::of(MANIFEST);
    let subject = Digest::of(b"subject");
    for status in [200, 201, 202] {
        let put = Reply::new(status)
            .header("docker-content-digest", digest.to_string())
            .header("oci-subject", subject.to_string());
        let (stored, server) = store(tag("v1"), put, Reply::new(404)).await;
        let wanted = Stored {
            digest: digest.clone(),
            subject: Some(subject.clone()),
        };
        assert_eq!(stored, Ok(wanted));
        let [seen] = server.seen().try_into().unwrap();
        assert_eq!(seen.line(), "PUT /v2/o/r/manifests/v1");
        assert_eq!(
            seen.header("content-type"),
            Some(MediaType::OciIndex.as_str())
        );
        assert_eq!(seen.body, MANIFEST);
    }
}

#[tokio::test]
async fn digest_that_the_registry_learned_is_ours_or_an_error_with_both() {
    let other = Digest::of(b"other");
    let put = Reply::new(201).header("docker-content-digest", other.to_string());
    let (stored, _) = store(tag("v1"), put, Reply::new(404)).await;
    let kind = stored.unwrap_err();
    assert!(kind.contains(&other.to_string()), "{kind}");
    assert!(kind.contains(&Digest::of(MANIFEST).to_string()), "{kind}");
    let (stored, server) = store(Reference::Digest(other), Reply::new(201), Reply::new(404)).await;
    assert!(
        stored.is_err() && server.seen().is_empty(),
        "nothing is sent under a wrong digest"
    );
    let (stored, _) = store(
        Reference::Digest(Digest::of(MANIFEST)),
        Reply::new(201),
        Reply::new(404),
    )
    .await;
    assert_eq!(stored.unwrap().subject, None);
}

#[tokio::test]
async fn refused_tag_that_holds_these_bytes_is_stored() {
    let immutable = || Reply::new(409).body(r#"{"errors":[{"code":"TAG_IMMUTABLE"}]}"#);
    let (stored, _) = store(tag("v1"), immutable(), index_reply()).await;
    assert_eq!(stored.unwrap().digest, Digest::of(MANIFEST));
    for held in [
        index_reply().body(r#"{"manifests":null}"#),
        Reply::new(404),
        Reply::new(403),
    ] {
        let (stored, _) = store(tag("v1"), immutable(), held).await;
        assert!(stored.unwrap_err().contains("TAG_IMMUTABLE"));
    }
}

#[tokio::test]
async fn manifest_is_stored_although_the_first_answer_was_a_500() {
    let server =
        Server::start(|request| Reply::new(if request.number == 0 { 500 } else { 201 })).await;
    let bench = Bench::nobody(2);
    let stored = bench
        .registry
        .put_manifest(
            &repository(&server, "o/r"),
            &tag("v1"),
            &MediaType::OciIndex,
            MANIFEST,
        )
        .await;
    assert!(stored.is_ok());
}
