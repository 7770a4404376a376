//! Content under `sha512:`, and ranges of blobs.

use reqwest::Method;
use sandbox::{Algorithm, Kind, Options, Registry, TagParameter};
use serde_json::{Value, json};

use crate::support::{MANIFEST, NAME, ask, code, get, header, send};

/// The SHA-512 of `hello`, as computed by `sha512sum`.
const HELLO: &str = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";

fn manifest(subject: Option<&str>) -> Vec<u8> {
    let blob = json!({"mediaType": "application/x-blob", "digest": HELLO, "size": 5});
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob,
        "layers": [blob],
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    }
    manifest.to_string().into_bytes()
}

fn start() -> Registry {
    let registry = Registry::start(Options::new().tag_parameter(TagParameter::Honoured));
    let digest = registry.push_blob_as(Algorithm::Sha512, NAME, b"hello");
    assert_eq!(digest, HELLO);
    registry
}

#[tokio::test]
async fn blob_is_uploaded_under_sha512() {
    let registry = Registry::start(Options::new());
    let begun = "blobs/uploads/?digest-algorithm=sha512";
    let begun = ask(&registry, Method::POST, begun, "", b"").await;
    assert_eq!(begun.status(), 202);
    let finish = format!("{}&digest={HELLO}", header(&begun, "location"));
    let other = ask(&registry, Method::PUT, &finish, "", b"hallo").await;
    assert_eq!(code(other).await, (400, "DIGEST_INVALID".into()));

    let begun = ask(&registry, Method::POST, "blobs/uploads/", "", b"").await;
    let finish = format!("{}&digest={HELLO}", header(&begun, "location"));
    let done = ask(&registry, Method::PUT, &finish, "", b"hello").await;
    assert_eq!(done.status(), 201);
    assert_eq!(header(&done, "docker-content-digest"), HELLO);
    assert_eq!(registry.blob(NAME, HELLO).unwrap(), b"hello");

    let unknown = "blobs/uploads/?digest-algorithm=md5";
    let unknown = ask(&registry, Method::POST, unknown, "", b"").await;
    assert_eq!(code(unknown).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn image_in_sha512_passes_the_checks_for_clients() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image_as(Algorithm::Sha512, NAME, "linux/amd64", Kind::Oci);
    for digest in [&image.digest, &image.config, &image.layer] {
        assert!(digest.starts_with("sha512:"), "{digest}");
    }
    let (_, bytes) = registry.manifest(NAME, &image.digest).unwrap();
    let path = format!("manifests/{}", image.digest);
    let put = ask(&registry, Method::PUT, &path, MANIFEST, &bytes).await;
    assert_eq!(put.status(), 201);
    registry.delete_blob(NAME, &image.layer);
    let put = ask(&registry, Method::PUT, &path, MANIFEST, &bytes).await;
    assert_eq!(code(put).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
}

#[tokio::test]
async fn manifest_is_pushed_under_sha512_with_a_tag() {
    let registry = start();
    let bytes = manifest(None);
    let digest = registry.push_raw_as(Algorithm::Sha512, NAME, None, MANIFEST, &bytes);
    registry.delete_manifest(NAME, &digest);
    let path = format!("manifests/{digest}?tag=long");
    let put = ask(&registry, Method::PUT, &path, MANIFEST, &bytes).await;
    assert_eq!(put.status(), 201);
    assert_eq!(header(&put, "docker-content-digest"), digest);
    assert_eq!(registry.tags(NAME)["long"], digest);
    let read = get(&registry, "manifests/long").await;
    assert_eq!(header(&read, "docker-content-digest"), digest);
    assert_eq!(read.bytes().await.unwrap(), bytes);
    // A push by tag alone is canonical.
    let put = ask(&registry, Method::PUT, "manifests/short", MANIFEST, &bytes).await;
    assert!(header(&put, "docker-content-digest").starts_with("sha256:"));
    let wrong = format!("manifests/{HELLO}");
    let wrong = ask(&registry, Method::PUT, &wrong, MANIFEST, &bytes).await;
    assert_eq!(code(wrong).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn referrers_of_a_sha512_subject_are_listed() {
    let registry = start();
    let image = manifest(None);
    let subject = registry.push_raw_as(Algorithm::Sha512, NAME, None, MANIFEST, &image);
    let referrer = manifest(Some(&subject));
    let put = ask(&registry, Method::PUT, "manifests/r", MANIFEST, &referrer).await;
    assert_eq!(header(&put, "oci-subject"), subject);
    let list = get(&registry, &format!("referrers/{subject}")).await;
    let list: Value = serde_json::from_slice(&list.bytes().await.unwrap()).unwrap();
    assert_eq!(list["manifests"][0]["digest"], *registry.tags(NAME)["r"]);
    let cut = format!("referrers/{}", &subject[..subject.len() - 1]);
    let cut = get(&registry, &cut).await;
    assert_eq!(code(cut).await, (400, "DIGEST_INVALID".into()));
}

#[tokio::test]
async fn range_of_a_blob_is_read() {
    let registry = start();
    let path = format!("blobs/{HELLO}");
    let part = send(
        &registry,
        Method::GET,
        &path,
        &[("range", "bytes=1-3")],
        b"",
    )
    .await;
    assert_eq!(part.status(), 206);
    assert_eq!(header(&part, "content-range"), "bytes 1-3/5");
    assert_eq!(part.bytes().await.unwrap(), b"ell"[..]);
    let head = send(
        &registry,
        Method::HEAD,
        &path,
        &[("range", "bytes=1-3")],
        b"",
    )
    .await;
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length")),
        (200, "5")
    );
    let none = send(
        &registry,
        Method::GET,
        &path,
        &[("range", "bytes=5-9")],
        b"",
    )
    .await;
    assert_eq!(none.status(), 416);
    assert_eq!(header(&none, "content-range"), "bytes */5");
}
