//! Tags, referrers and the content of reads: lists, immutability, lag.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use reqwest::Method;
use sandbox::{Kind, Options, Referrers, Registry};
use serde_json::{Value, json};
use support::{INDEX, MANIFEST, NAME, ask, code, get, header};

fn referrer_to(registry: &Registry, subject: &str, artifact_type: &str) -> Vec<u8> {
    let empty = registry.push_blob(NAME, b"{}");
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [], "annotations": {"a": "b"},
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn tag_lists_come_in_pages() {
    let registry = Registry::start(Options::new().page_size(2));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    for tag in ["a", "b", "c"] {
        registry.tag(NAME, tag, &image.digest);
    }
    let first = get(&registry, "tags/list").await;
    let link = header(&first, "link").to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let last = get(&registry, next).await;
    assert!(last.headers().get("link").is_none());
    let page: Value = serde_json::from_slice(&last.bytes().await.unwrap()).unwrap();
    assert_eq!(page, json!({"name": NAME, "tags": ["c"]}));
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let registry = Registry::start(Options::new().page_size(1));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let list = format!("referrers/{}", image.digest);
    let none = get(&registry, &list).await;
    assert_eq!(header(&none, "content-type"), INDEX);
    let none: Value = serde_json::from_slice(&none.bytes().await.unwrap()).unwrap();
    assert_eq!(none["manifests"], json!([]));

    for type_ in ["application/x-one", "application/x-two+json"] {
        let manifest = referrer_to(&registry, &image.digest, type_);
        let path = format!("manifests/{type_}")
            .replace(['/', '+'], "-")
            .replace("manifests-", "manifests/");
        let put = ask(&registry, Method::PUT, &path, MANIFEST, &manifest).await;
        assert_eq!(put.status(), 201);
        assert_eq!(header(&put, "oci-subject"), image.digest);
    }
    let first = get(&registry, &list).await;
    assert!(header(&first, "link").contains("start=1"));
    let first: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    assert_eq!(first["manifests"][0]["artifactType"], "application/x-one");
    assert_eq!(first["manifests"][0]["annotations"]["a"], "b");

    let filtered = get(
        &registry,
        &format!("{list}?artifactType=application/x-two%2Bjson"),
    )
    .await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    assert!(filtered.headers().get("link").is_none());
    let filtered: Value = serde_json::from_slice(&filtered.bytes().await.unwrap()).unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn registry_without_the_referrers_api_shows_it() {
    let registry = Registry::start(Options::new().referrers(Referrers::TagSchema));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let answer = get(&registry, &format!("referrers/{}", image.digest)).await;
    assert_eq!(answer.status(), 404);
    assert!(header(&answer, "content-type").starts_with("text/plain"));
    let manifest = referrer_to(&registry, &image.digest, "application/x-one");
    let put = ask(&registry, Method::PUT, "manifests/x", MANIFEST, &manifest).await;
    assert!(put.headers().get("oci-subject").is_none());
}

#[tokio::test]
async fn immutable_tags_take_the_same_content_only() {
    let registry = Registry::start(Options::new().immutable_tags(true));
    let one = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let two = registry.push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    let bytes = |digest: &str| registry.manifest(NAME, digest).unwrap().1;
    for _ in 0..2 {
        let put = ask(
            &registry,
            Method::PUT,
            "manifests/v1",
            MANIFEST,
            &bytes(&one.digest),
        )
        .await;
        assert_eq!(put.status(), 201);
    }
    let put = ask(
        &registry,
        Method::PUT,
        "manifests/v1",
        MANIFEST,
        &bytes(&two.digest),
    )
    .await;
    assert_eq!(code(put).await, (400, "TAG_INVALID".into()));
    assert_eq!(registry.tags(NAME)["v1"], one.digest);
}

#[tokio::test]
async fn lag_hides_what_is_new_for_n_reads() {
    let registry = Registry::start(Options::new().lag(2));
    let one = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", one.digest);
    for status in [404, 404, 200, 200] {
        assert_eq!(get(&registry, &path).await.status().as_u16(), status);
    }
    registry.tag(NAME, "v1", &one.digest);
    for status in [404, 404, 200] {
        assert_eq!(
            get(&registry, "manifests/v1").await.status().as_u16(),
            status
        );
    }
    // A moved tag returns the old content first.
    let two = registry.push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    registry.tag(NAME, "v1", &two.digest);
    for digest in [&one.digest, &one.digest, &two.digest] {
        let answer = get(&registry, "manifests/v1").await;
        assert_eq!(header(&answer, "docker-content-digest"), digest);
    }
    // Known content is not hidden again, and lag can be switched off.
    registry.tag(NAME, "v1", &two.digest);
    assert_eq!(get(&registry, "manifests/v1").await.status(), 200);
    registry.set_lag(0);
    registry.tag(NAME, "v2", &two.digest);
    assert_eq!(get(&registry, "manifests/v2").await.status(), 200);
}
