//! An index that nothing vouches for is never completed with content of another repository. Somebody with push permission to one
//! repository could name any digest in it, and the run would copy that content to them.

use sandbox::{Image, Kind, Registry};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MIRROR, REPOSITORY, Two, World, child, descriptor, index_of, push,
};

/// Returns an entry that calls `digest` an attestation of the image `of`.
fn attesting(world: &World, digest: &str, of: &str) -> Value {
    let mut entry = descriptor(world, digest);
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": of,
    });
    entry
}

/// Returns an index of the world's images that names `digest` as an attestation.
fn naming(world: &World, digest: &str) -> String {
    index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
        attesting(world, digest, &world.amd64.digest),
    ])
    .to_string()
}

/// Asserts that a run of `action` warns about `digest` and does not copy it into `name` of `registry`.
fn is_not_copied(action: Action, digest: &str, registry: &Registry, name: &str) {
    let outcome = action.input("max-attempts", "2").run();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    assert_eq!(registry.manifest(name, digest), None, "{}", outcome.log);
    let mut lines = outcome.log.lines();
    let warned = lines.any(|line| {
        line.starts_with("::warning::`")
            && line.contains(digest)
            && line.contains("is not copied there")
    });
    assert!(warned, "{}", outcome.log);
}

/// Pushes an image to the first registry, and an index to the other one that names it. Returns the image.
fn name_private(two: &Two) -> Image {
    let registry = two.world.registry();
    let private = registry.push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 4242);
    let theirs = naming(&two.world, &private.digest);
    let other = &two.other;
    other.push_raw(MIRROR, Some("v1"), INDEX, theirs.as_bytes());
    private
}

#[test]
fn private_image_is_not_copied_into_an_observed_index() {
    for command in ["create", "seal"] {
        for tags in ["there", "both"] {
            let two = Two::new();
            let world = &two.world;
            let private = name_private(&two);
            let tags = match tags {
                "both" => format!("v1\n{}", two.there("v1")),
                _ => two.there("v1"),
            };
            let action = world.create().input("command", command).input("tags", tags);
            let action = match command {
                "seal" => action.input("sign", "false"),
                _ => action,
            };
            is_not_copied(action, &private.digest, &two.other, MIRROR);
            assert_eq!(two.other.blob(MIRROR, &private.layer), None);
        }
    }
}

#[test]
fn private_release_is_not_copied_into_another_repository() {
    let world = World::new();
    let registry = world.registry();
    let private = ["amd64", "arm64"].map(|architecture| {
        let platform = format!("linux/{architecture}");
        let image = registry.push_image_seeded(REPOSITORY, &platform, Kind::Oci, 777);
        child(&world, &image.digest, architecture)
    });
    let release = push(&world, None, &index_of(&private).to_string());
    let theirs = naming(&world, &release);
    registry.push_raw("public/app", Some("v1"), INDEX, theirs.as_bytes());
    let tags = format!("{}:v1", registry.repository("public/app"));
    let create = world.create().input("tags", tags);
    is_not_copied(create, &release, registry, "public/app");
    for image in private {
        let digest = image["digest"].as_str().unwrap();
        assert_eq!(registry.manifest("public/app", digest), None);
    }
}

/// The images that were given to the run are copied, whoever wrote the index that lists them.
#[test]
fn given_images_are_copied_into_an_observed_index() {
    let two = Two::new();
    let world = &two.world;
    name_private(&two);
    world.create().input("tags", two.there("v1")).succeed();
    assert!(two.is_whole_in_both(&world.amd64) && two.is_whole_in_both(&world.arm64));
}
