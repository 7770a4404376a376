//! What somebody writes who may push to the repository and means no good: it is refused, and reading it ends.

use sandbox::{Kind, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{REPOSITORY, World};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A descriptor of what the registry has under `digest`.
fn descriptor(world: &World, digest: &str) -> Value {
    let (media_type, bytes) = world.registry().manifest(REPOSITORY, digest).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// The same for a child of an index, for linux on `architecture`.
fn child(world: &World, digest: &str, architecture: &str) -> Value {
    let mut child = descriptor(world, digest);
    child["platform"] = json!({"os": "linux", "architecture": architecture});
    child
}

fn index_of(children: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
}

fn push(world: &World, tag: Option<&str>, index: &str) -> String {
    world
        .registry()
        .push_raw(REPOSITORY, tag, INDEX, index.as_bytes())
}

/// The index of the world's images, as another tool would write it.
fn whole(world: &World) -> Value {
    index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
    ])
}

/// Another build for linux/amd64, by somebody else.
fn foreign(world: &World) -> Value {
    let image = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666);
    child(world, &image.digest, "amd64")
}

#[test]
fn foreign_image_does_not_hide_before_a_nested_index() {
    let world = World::new();
    let amd64 = child(&world, &world.amd64.digest, "amd64");
    let inner = push(&world, None, &index_of(&[amd64]).to_string());
    let nested = descriptor(&world, &inner);
    let foreign = foreign(&world);
    let arm64 = child(&world, &world.arm64.digest, "arm64");
    let digests = format!("{inner},{}", world.arm64.digest);
    let create = world.create().input("digests", digests);
    let whole = index_of(&[nested.clone(), arm64.clone()]);
    push(&world, Some("v1"), &whole.to_string());
    create.succeed();
    for children in [
        [foreign.clone(), nested.clone(), arm64.clone()],
        [nested, foreign, arm64],
    ] {
        push(&world, Some("v1"), &index_of(&children).to_string());
        create.end_with(3);
    }
}
