//! The registry from a client's view.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use reqwest::Method;
use sandbox::{Kind, Options, Registry};
use serde_json::{Value, json};
use support::{INDEX, MANIFEST, NAME, ask, code, get, header};

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn index_of(digests: &[&str]) -> Vec<u8> {
    let entry = |digest: &&str| json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
    let entries: Vec<Value> = digests.iter().map(entry).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn images_are_the_same_each_time_and_complete() {
    let one = Registry::start(Options::new());
    let two = Registry::start(Options::new());
    let image = one.push_image(NAME, "linux/arm64", Kind::Oci);
    assert_eq!(image, two.push_image(NAME, "linux/arm64", Kind::Oci));
    let seeded = one.push_image_seeded(NAME, "linux/arm64", Kind::Oci, 1);
    assert_ne!(image.digest, seeded.digest);

    let manifest = get(&one, &format!("manifests/{}", image.digest)).await;
    assert_eq!(header(&manifest, "content-type"), MANIFEST);
    assert_eq!(header(&manifest, "docker-content-digest"), image.digest);
    for blob in [&image.config, &image.layer] {
        assert_eq!(get(&one, &format!("blobs/{blob}")).await.status(), 200);
    }
    let config: Value = serde_json::from_slice(&one.blob(NAME, &image.config).unwrap()).unwrap();
    assert_eq!(config["architecture"], "arm64");
    let docker = one.push_image(NAME, "linux/arm/v7", Kind::Docker);
    assert!(docker.media_type.contains("docker"));
    // Images pushed by the library pass the checks for clients.
    let (type_, bytes) = one.manifest(NAME, &docker.digest).unwrap();
    let again = ask(&one, Method::PUT, "manifests/v7", &type_, &bytes).await;
    assert_eq!(again.status(), 201);
}

#[tokio::test]
async fn build_with_provenance_is_an_index_of_image_and_attestation() {
    let registry = Registry::start(Options::new());
    let built = registry.push_index_with_provenance(NAME, "linux/amd64");
    let (type_, bytes) = registry.manifest(NAME, &built.digest).unwrap();
    assert_eq!(type_, INDEX);
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index["manifests"][0]["digest"], *built.image.digest);
    let attestation = &index["manifests"][1];
    assert_eq!(attestation["digest"], *built.attestation);
    assert_eq!(attestation["platform"]["os"], "unknown");
    assert_eq!(
        attestation["annotations"]["vnd.docker.reference.digest"],
        *built.image.digest
    );
    let put = ask(&registry, Method::PUT, "manifests/v1", INDEX, &bytes).await;
    assert_eq!(put.status(), 201);
}

#[tokio::test]
async fn manifest_is_refused_until_its_parts_are_here() {
    let registry = Registry::start(Options::new());
    let index = index_of(&[HELLO]);
    let refused = ask(&registry, Method::PUT, "manifests/v1", INDEX, &index).await;
    assert_eq!(code(refused).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert!(registry.tags(NAME).is_empty());

    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let (_, manifest) = registry.manifest(NAME, &image.digest).unwrap();
    registry.delete_blob(NAME, &image.layer);
    let path = format!("manifests/{}", image.digest);
    let refused = ask(&registry, Method::PUT, &path, MANIFEST, &manifest).await;
    assert_eq!(code(refused).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
}

#[tokio::test]
async fn malformed_manifests_are_refused() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let index = index_of(&[&image.digest]);
    let path = format!("manifests/{HELLO}");
    let cases: [(&str, &str, &[u8], u16, &str); 5] = [
        (&path, INDEX, &index, 400, "DIGEST_INVALID"),
        ("manifests/v1", MANIFEST, &index, 400, "MANIFEST_INVALID"),
        (
            "manifests/v1",
            "text/plain",
            &index,
            415,
            "MANIFEST_INVALID",
        ),
        ("manifests/v1", INDEX, b"{", 400, "MANIFEST_INVALID"),
        ("manifests/.v1", INDEX, &index, 400, "TAG_INVALID"),
    ];
    for (path, type_, body, status, wanted) in cases {
        let refused = ask(&registry, Method::PUT, path, type_, body).await;
        assert_eq!(
            code(refused).await,
            (status, wanted.to_owned()),
            "{path} {type_}"
        );
    }
}

#[tokio::test]
async fn absence_says_what_is_absent() {
    let registry = Registry::start(Options::new());
    let unknown = get(&registry, "manifests/v1").await;
    assert_eq!(code(unknown).await, (404, "NAME_UNKNOWN".into()));
    assert_eq!(
        code(get(&registry, "tags/list").await).await.1,
        "NAME_UNKNOWN"
    );
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let unknown = get(&registry, "manifests/v1").await;
    assert_eq!(code(unknown).await, (404, "MANIFEST_UNKNOWN".into()));
    let unknown = get(&registry, &format!("blobs/{HELLO}")).await;
    assert_eq!(code(unknown).await, (404, "BLOB_UNKNOWN".into()));

    // The state after a garbage collection: an index with a tag whose child is gone.
    let index = registry.push_raw(NAME, Some("v1"), INDEX, &index_of(&[&image.digest]));
    registry.delete_manifest(NAME, &image.digest);
    assert_eq!(get(&registry, "manifests/v1").await.status(), 200);
    assert_eq!(
        get(&registry, &format!("manifests/{}", image.digest))
            .await
            .status(),
        404
    );
    assert_eq!(registry.tags(NAME)["v1"], index);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", image.digest);
    let head = ask(&registry, Method::HEAD, &path, "", b"").await;
    assert_eq!(header(&head, "content-length"), image.size.to_string());
    assert_eq!(header(&head, "docker-content-digest"), image.digest);
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn blobs_go_up_whole_in_chunks_and_by_mount() {
    let registry = Registry::start(Options::new());
    let path = format!("blobs/uploads/?digest={HELLO}");
    let whole = ask(&registry, Method::POST, &path, "", b"hello").await;
    assert_eq!(whole.status(), 201);
    assert_eq!(
        header(&whole, "location"),
        format!("/v2/{NAME}/blobs/{HELLO}")
    );

    let wrong = ask(&registry, Method::POST, &path, "", b"hellO").await;
    assert_eq!(code(wrong).await, (400, "DIGEST_INVALID".into()));

    registry.delete_blob(NAME, HELLO);
    let begun = ask(&registry, Method::POST, "blobs/uploads/", "", b"").await;
    assert_eq!(begun.status(), 202);
    let place = header(&begun, "location").to_owned();
    let part = ask(&registry, Method::PATCH, &place, "", b"hel").await;
    assert_eq!(
        (part.status().as_u16(), header(&part, "range")),
        (202, "0-2")
    );
    let stale = ask(&registry, Method::PATCH, &place, "", b"lo").await;
    assert_eq!(code(stale).await, (416, "RANGE_INVALID".into()));
    let status = ask(&registry, Method::GET, &place, "", b"").await;
    assert_eq!(
        (status.status().as_u16(), header(&status, "range")),
        (204, "0-2")
    );
    let place = header(&status, "location").to_owned();
    let put = format!("{place}&digest={HELLO}");
    assert_eq!(
        ask(&registry, Method::PUT, &put, "", b"lo").await.status(),
        201
    );
    assert_eq!(registry.blob(NAME, HELLO).unwrap(), b"hello");
    let over = ask(&registry, Method::PUT, &put, "", b"lo").await;
    assert_eq!(code(over).await, (404, "BLOB_UPLOAD_UNKNOWN".into()));

    let path = format!("/v2/octo-org/other/blobs/uploads/?mount={HELLO}&from={NAME}");
    let mounted = ask(&registry, Method::POST, &path, "", b"").await;
    assert_eq!(mounted.status(), 201);
    let path = format!("/v2/octo-org/other/blobs/uploads/?mount={HELLO}&from=no/where");
    assert_eq!(
        ask(&registry, Method::POST, &path, "", b"").await.status(),
        202
    );
}

#[tokio::test]
async fn deletes_by_tag_leave_the_manifest_and_by_digest_take_the_tags() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    registry.tag(NAME, "v1", &image.digest);
    registry.tag(NAME, "v2", &image.digest);
    let gone = ask(&registry, Method::DELETE, "manifests/v1", "", b"").await;
    assert_eq!(gone.status(), 202);
    assert_eq!(registry.tags(NAME).len(), 1);
    let path = format!("manifests/{}", image.digest);
    assert_eq!(
        ask(&registry, Method::DELETE, &path, "", b"")
            .await
            .status(),
        202
    );
    assert!(registry.tags(NAME).is_empty());
    assert_eq!(
        ask(&registry, Method::DELETE, &path, "", b"")
            .await
            .status(),
        404
    );
}
