//! Indexes whose children are absent.

use reqwest::Method;
use sandbox::{Options, Registry};
use serde_json::json;

use crate::support::{INDEX, MANIFEST, NAME, ask, code};

const ABSENT: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn absent_child_is_refused_unless_children_are_not_checked() {
    let child = json!({"mediaType": MANIFEST, "digest": ABSENT, "size": 1});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).to_string();
    let layer = json!({"mediaType": "application/x-layer", "digest": ABSENT, "size": 1});
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": []});
    let image = image.to_string();

    let strict = Registry::start(Options::new());
    let put = ask(
        &strict,
        Method::PUT,
        "manifests/v1",
        INDEX,
        index.as_bytes(),
    )
    .await;
    assert_eq!(code(put).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
    let lenient = Registry::start(Options::new().checks_children(false));
    let put = ask(
        &lenient,
        Method::PUT,
        "manifests/v1",
        INDEX,
        index.as_bytes(),
    )
    .await;
    assert_eq!(put.status(), 201);
    assert!(lenient.tags(NAME).contains_key("v1"));
    // Blobs are checked all the same.
    let put = ask(
        &lenient,
        Method::PUT,
        "manifests/v2",
        MANIFEST,
        image.as_bytes(),
    )
    .await;
    assert_eq!(code(put).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
}
