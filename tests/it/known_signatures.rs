//! A signature that one registry has is stored in another only if it contains nothing that verification does not read. Somebody
//! with push permission to one registry could otherwise put their text into the other.

use sandbox::{Options, Referrers, Registry};
use serde_json::{Value, json};

use crate::support::{
    MANIFEST, MIRROR, REPOSITORY, Two, attach, bundle_of, descriptor, index_of, push,
};

const MALLORY: &str = "by mallory";

/// Returns all manifests and blobs of the mirror, as text.
fn everything(registry: &Registry) -> String {
    let mut text = String::new();
    for digest in registry.manifests(MIRROR) {
        let (_, bytes) = registry.manifest(MIRROR, &digest).unwrap();
        text += &String::from_utf8_lossy(&bytes);
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        for blob in layers.iter().chain([&manifest["config"]]) {
            let blob = blob["digest"].as_str();
            let blob = blob.and_then(|digest| registry.blob(MIRROR, digest));
            text += &String::from_utf8_lossy(&blob.unwrap_or_default());
        }
    }
    text
}

/// Seals in both registries, and asserts that the other one gets a signature of its own and nothing of the changed one.
fn gets_its_own(two: &Two, format: &str) {
    let sealed = two.seal().input("signature-format", format).succeed();
    assert_eq!(sealed.output("verified"), "true");
    assert!(
        !everything(&two.other).contains("mallory"),
        "{}",
        sealed.log
    );
    two.verify_there().succeed();
}

/// Verifiers ignore a hint about the key, so a bundle with one is valid.
#[test]
fn changed_bundle_is_not_stored_in_another_registry() {
    for place in ["only", "first", "last"] {
        let first = Options::new().referrers(Referrers::TagSchema);
        let two = Two::with(first, Options::new());
        let world = &two.world;
        let digest = world.seal().succeed().output("digest").to_owned();
        let mut changed: Value = serde_json::from_slice(&bundle_of(world, &digest)).unwrap();
        changed["dsseEnvelope"]["signatures"][0]["keyid"] = json!(MALLORY);
        let theirs = attach(world, &digest, changed.to_string().as_bytes());
        let mut entries = vec![descriptor(world, &theirs)];
        if place != "only" {
            let ours = world.listed(&digest);
            entries.extend(ours.iter().map(|ours| descriptor(world, ours)));
        }
        if place == "last" {
            entries.reverse();
        }
        let list = index_of(&entries).to_string();
        push(world, Some(&digest.replace(':', "-")), &list);
        gets_its_own(&two, "bundle");
    }
}

#[test]
fn changed_annotations_are_not_stored_in_another_registry() {
    for place in ["only", "first", "last"] {
        let two = Two::with(Options::new(), Options::new());
        let world = &two.world;
        let seal = world.seal().input("signature-format", "legacy");
        let digest = seal.succeed().output("digest").to_owned();
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let mut list = world.manifest(&tag);
        let mut theirs = list["layers"][0].clone();
        theirs["annotations"]["org.example.note"] = json!(MALLORY);
        let layers = list["layers"].as_array_mut().unwrap();
        if place == "only" {
            layers.clear();
        }
        let at = if place == "last" { layers.len() } else { 0 };
        layers.insert(at, theirs);
        let list = list.to_string();
        let registry = world.registry();
        registry.push_raw(REPOSITORY, Some(&tag), MANIFEST, list.as_bytes());
        gets_its_own(&two, "legacy");
    }
}

/// A signature that is plain is not made twice.
#[test]
fn plain_signature_is_stored_as_it_is() {
    for format in ["bundle", "legacy"] {
        let two = Two::with(Options::new(), Options::new());
        let world = &two.world;
        world.seal().input("signature-format", format).succeed();
        let before = world.certificates();
        let seal = two.seal().input("signature-format", format);
        seal.elsewhere().succeed();
        assert_eq!(world.certificates(), before, "{format}");
        two.verify_there().succeed();
    }
}
