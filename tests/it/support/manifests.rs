//! Manifests, as somebody with push permission writes them.

use serde_json::{Value, json};

use super::{REPOSITORY, World};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Returns a descriptor of the manifest that the registry has under `digest`.
pub(crate) fn descriptor(world: &World, digest: &str) -> Value {
    let (media_type, bytes) = world.registry().manifest(REPOSITORY, digest).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Returns a descriptor of a child of an index, for linux on `architecture`.
pub(crate) fn child(world: &World, digest: &str, architecture: &str) -> Value {
    let mut child = descriptor(world, digest);
    child["platform"] = json!({"os": "linux", "architecture": architecture});
    child
}

pub(crate) fn index_of(children: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
}

pub(crate) fn push(world: &World, tag: Option<&str>, index: &str) -> String {
    world
        .registry()
        .push_raw(REPOSITORY, tag, INDEX, index.as_bytes())
}

/// Pushes an image without layers whose config is `config`.
pub(crate) fn push_image(world: &World, config: &str) -> String {
    let registry = world.registry();
    let digest = registry.push_blob(REPOSITORY, config.as_bytes());
    let image = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()},
        "layers": [],
    });
    registry.push_raw(REPOSITORY, None, MANIFEST, image.to_string().as_bytes())
}

/// Pushes an image for linux/amd64 whose config has the version label `version`, if given.
pub(crate) fn labelled(world: &World, seed: &str, version: Option<&str>) -> String {
    let mut config = json!({"os": "linux", "architecture": "amd64", "created": seed});
    if let Some(version) = version {
        config["config"] = json!({"Labels": {"org.opencontainers.image.version": version}});
    }
    push_image(world, &config.to_string())
}
