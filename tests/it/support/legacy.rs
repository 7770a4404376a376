//! Signatures of cosign's older format.

use serde_json::Value;

use super::{Action, REPOSITORY, World};

/// Returns the digest tag of the signatures of `digest`.
pub(crate) fn legacy_tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// Returns the annotations of every legacy signature of `digest`.
pub(crate) fn signatures(world: &World, digest: &str) -> Vec<Value> {
    let held = world.registry().manifest(REPOSITORY, &legacy_tag(digest));
    let Some((_, manifest)) = held else {
        return Vec::new();
    };
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["annotations"].clone()).collect()
}

/// Returns `action` with signatures of the older format.
pub(crate) fn legacy(action: Action) -> Action {
    action.input("signature-format", "legacy")
}
