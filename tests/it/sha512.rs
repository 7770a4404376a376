//! Content under SHA-512 digests is published and listed like any other. Nothing verifies a signature of such a digest, so none
//! is made.

use sandbox::{Algorithm, Fault, Image, Kind, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MANIFEST, Pipeline, REPOSITORY, TARGET, World, index_of, is_there, said, target,
};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const KINDS: [Referrers; 2] = [Referrers::Api, Referrers::TagSchema];

/// Returns a pipeline whose registries keep referrers in this way.
fn pipeline(referrers: Referrers) -> Pipeline {
    Pipeline {
        world: World::with(Options::new().referrers(referrers)),
        target: target(referrers),
    }
}

/// Pushes an image for linux/arm/v7 whose manifest, config and layer have SHA-512 digests.
fn image(world: &World) -> Image {
    let registry = world.registry();
    registry.push_image_as(Algorithm::Sha512, REPOSITORY, "linux/arm/v7", Kind::Oci)
}

/// Pushes an image whose only layer is `layer` under its SHA-512 digest. Returns the digests of image and layer.
fn image_with_layer(world: &World, layer: &[u8]) -> (String, String) {
    let registry = world.registry();
    let config = json!({"os": "linux", "architecture": "amd64"}).to_string();
    let layer_digest = registry.push_blob_as(Algorithm::Sha512, REPOSITORY, layer);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": registry.push_blob(REPOSITORY, config.as_bytes()), "size": config.len(),
        },
        "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": layer.len()}],
    });
    let digest = registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes());
    (digest, layer_digest)
}

/// Pushes an index of `image` alone.
fn index(world: &World, image: &Image) -> String {
    let index = index_of(&[entry(world, &image.digest)]).to_string();
    let registry = world.registry();
    registry.push_raw(REPOSITORY, None, INDEX, index.as_bytes())
}

fn entry(world: &World, digest: &str) -> Value {
    let (media_type, bytes) = world.registry().manifest(REPOSITORY, digest).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Pushes an artifact that refers to `subject`. Returns its digest.
fn artifact(world: &World, subject: &str) -> String {
    let registry = world.registry();
    let empty = registry.push_blob(REPOSITORY, b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [],
        "subject": entry(world, subject),
    });
    registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes())
}

/// Returns the referrers tag of a SHA-512 digest.
fn referrers_tag(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap();
    format!("{algorithm}-{}", &hex[..64])
}

/// Writes the list of referrers of `subject` as other clients do.
fn list(world: &World, subject: &str, referrers: &[&str]) {
    let entries: Vec<Value> = referrers
        .iter()
        .map(|digest| entry(world, digest))
        .collect();
    let list = index_of(&entries).to_string();
    let tag = referrers_tag(subject);
    let registry = world.registry();
    registry.push_raw(REPOSITORY, Some(&tag), INDEX, list.as_bytes());
}

/// Asserts that a rerun writes nothing.
fn is_settled(pipeline: &Pipeline, publish: &Action) {
    pipeline.target.clear_requests();
    let again = publish.succeed();
    assert_eq!(again.outputs["result"], "unchanged");
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn image_with_a_sha512_layer_is_published_unchanged() {
    for layer in [b"layer".to_vec(), vec![7; 200_000]] {
        let pipeline = pipeline(Referrers::TagSchema);
        let (image, blob) = image_with_layer(&pipeline.world, &layer);
        let publish = pipeline.publish(&pipeline.world.at(&image));
        let published = publish.succeed();
        assert_eq!(published.outputs["digest"], image);
        assert_eq!(pipeline.target.blob(TARGET, &blob).unwrap(), layer);
        assert_eq!(pipeline.target.tags(TARGET)["v1"], image);
        let posts = pipeline.target.requests();
        let announced = posts.iter().filter(|request| {
            request.method == "POST" && request.path.contains("digest-algorithm=sha512")
        });
        assert_eq!(announced.count(), 1);
        is_settled(&pipeline, &publish);
    }
}

#[test]
fn sha512_blob_is_copied_within_one_registry() {
    let world = World::new();
    let (image, blob) = image_with_layer(&world, &vec![7; 200_000]);
    let there = format!("{}:v1", world.registry().repository(TARGET));
    let publish = Action::new("publish")
        .input("source", world.at(&image))
        .input("tags", there);
    publish.succeed();
    assert!(world.registry().blob(TARGET, &blob).is_some());
    assert_eq!(world.registry().tags(TARGET)["v1"], image);
}

#[test]
fn damaged_sha512_blob_is_refused() {
    for layer in [b"layer".to_vec(), vec![7; 200_000]] {
        let pipeline = pipeline(Referrers::Api);
        let (image, blob) = image_with_layer(&pipeline.world, &layer);
        let read = Fault::on("GET", &format!("*/blobs/{blob}")).times(u32::MAX);
        pipeline.world.registry().fault(read.wrong_digest());
        let publish = pipeline.publish(&pipeline.world.at(&image));
        let refused = publish.input("max-attempts", "1").end_with(1);
        refused.says(&["the requested digest", "damaged"]);
        assert_eq!(pipeline.target.blob(TARGET, &blob), None);
        assert!(pipeline.target.tags(TARGET).is_empty());
    }
}

#[test]
fn index_with_a_sha512_image_is_published_with_the_referrers_of_the_image() {
    for referrers in KINDS {
        let pipeline = pipeline(referrers);
        let world = &pipeline.world;
        let image = image(world);
        let index = index(world, &image);
        let artifact = artifact(world, &image.digest);
        if referrers == Referrers::TagSchema {
            list(world, &image.digest, &[&artifact]);
        }
        let publish = pipeline
            .publish(&world.at(&index))
            .input("referrers", "all");
        let published = publish.succeed();
        assert_eq!(published.outputs["digest"], index);
        for digest in [&index, &image.digest, &artifact] {
            let held = |manifest: Option<(String, Vec<u8>)>| manifest.unwrap();
            assert_eq!(
                held(pipeline.target.manifest(TARGET, digest)),
                held(world.registry().manifest(REPOSITORY, digest))
            );
        }
        assert!(pipeline.target.blob(TARGET, &image.layer).is_some());
        let tags = pipeline.target.tags(TARGET);
        assert_eq!(tags["v1"], index);
        let list = tags.get(&referrers_tag(&image.digest));
        assert_eq!(list.is_some(), referrers == Referrers::TagSchema);
        if let Some(list) = list {
            let (_, list) = pipeline.target.manifest(TARGET, list).unwrap();
            assert!(String::from_utf8(list).unwrap().contains(&artifact));
        }
        is_settled(&pipeline, &publish);
    }
}

/// Two digests may have the first 64 digits in common, and their referrers tag.
#[test]
fn referrer_of_another_digest_with_the_tag_is_not_copied() {
    let pipeline = pipeline(Referrers::TagSchema);
    let world = &pipeline.world;
    let image = image(world);
    let (ours, theirs) = (
        artifact(world, &image.digest),
        artifact(world, &world.amd64.digest),
    );
    list(world, &image.digest, &[&ours, &theirs]);
    let publish = pipeline.publish(&world.at(&index(world, &image)));
    let published = publish.input("referrers", "all").succeed();
    assert_eq!(said(&published, &theirs)["carried"], false);
    assert!(is_there(&pipeline, &ours) && !is_there(&pipeline, &theirs));
}

/// A registry gives a SHA-256 digest to what is pushed under a tag.
#[test]
fn tag_of_a_published_sha512_image_points_to_its_bytes() {
    let pipeline = pipeline(Referrers::Api);
    let image = image(&pipeline.world);
    let publish = pipeline.publish(&pipeline.world.at(&image.digest));
    let published = publish.succeed();
    assert_eq!(published.outputs["digest"], image.digest);
    let by_digest = pipeline.target.manifest(TARGET, &image.digest);
    assert!(by_digest.is_some());
    for tag in ["v1", "latest"] {
        assert!(pipeline.target.tags(TARGET)[tag].starts_with("sha256:"));
        assert_eq!(pipeline.target.manifest(TARGET, tag), by_digest);
    }
    is_settled(&pipeline, &publish);
    // Another client may bind the tag to the SHA-512 digest.
    for tag in ["v1", "latest"] {
        pipeline.target.tag(TARGET, tag, &image.digest);
    }
    is_settled(&pipeline, &publish);
}

#[test]
fn sha512_children_are_listed_as_given() {
    let world = World::new();
    let image = image(&world);
    let digests = format!("{}\n{}", world.amd64.digest, image.digest);
    world.create().input("digests", &digests).succeed();
    let listed = world.manifest("v1")["manifests"].clone();
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    assert!(listed.iter().any(|child| child["digest"] == *image.digest));
    assert!(world.tag("v1").unwrap().starts_with("sha256:"));
    // The signature is that of the index.
    let sealed = world.seal().input("digests", &digests).succeed();
    assert_eq!(sealed.outputs["result"], "unchanged");
    assert_eq!(world.certificates(), 1);
}

#[test]
fn sha512_children_are_copied_from_another_repository() {
    let world = World::new();
    let image = image(&world);
    let there = world.registry().repository(TARGET);
    world
        .create()
        .input("image", &there)
        .input("digests", world.at(&image.digest))
        .succeed();
    for digest in [&image.layer, &image.config] {
        assert!(world.registry().blob(TARGET, digest).is_some());
    }
    assert!(world.registry().manifest(TARGET, &image.digest).is_some());
}

#[test]
fn sha512_digest_is_not_signed_and_nothing_is_written_before() {
    let world = World::new();
    let image = image(&world);
    world.registry().clear_requests();
    let there = world.registry().repository(TARGET);
    // The children are copied to a repository that denies its tags before they can be read.
    let denied = Fault::on("GET", &format!("/v2/{TARGET}/manifests/v1")).times(u32::MAX);
    world.registry().fault(denied.status(403));
    let recursive = |action: Action| action.input("recursive", "true");
    let sealed = world.seal().input("digests", world.at(&image.digest));
    for action in [
        world.sign(&image.digest),
        recursive(sealed.clone()),
        recursive(sealed.input("image", there)),
    ] {
        let refused = action.end_with(2);
        refused.says(&[&image.digest, "cosign included", "use the SHA-256 digest"]);
        assert_eq!(world.writes(), [""; 0]);
        assert_eq!(world.certificates(), 0);
    }
}

#[test]
fn sha512_digest_counts_as_unsigned() {
    let pipeline = pipeline(Referrers::Api);
    let world = &pipeline.world;
    let image = image(world);
    let refused = world.verify(&image.digest).run();
    assert_eq!(refused.code, 3, "{}", refused.log);
    refused.says(&["a SHA-512 digest"]);
    let gated = pipeline.checked(&world.at(&image.digest)).end_with(2);
    gated.says(&[&image.digest, "cannot be signed"]);
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn registry_that_refuses_sha512_is_named_in_the_hint() {
    let pipeline = pipeline(Referrers::Api);
    let (image, blob) = image_with_layer(&pipeline.world, b"layer");
    let upload = Fault::on("POST", "*?*digest-algorithm=sha512").times(u32::MAX);
    pipeline.target.fault(upload.status(400));
    let refused = pipeline.publish(&pipeline.world.at(&image)).end_with(1);
    refused.says(&[&blob, "may not store SHA-512 digests"]);
    assert!(pipeline.target.tags(TARGET).is_empty());
}

#[test]
fn other_algorithms_are_refused_with_the_names_of_both() {
    let world = World::new();
    let digest = format!("sha384:{}", "0".repeat(96));
    let refused = world.create().input("digests", &digest).end_with(2);
    refused.says(&[
        &digest,
        "`sha384`",
        "only `sha256` and `sha512` are supported",
    ]);
}

#[test]
fn folder_of_digests_may_have_names_of_both_algorithms() {
    let world = World::new();
    let image = image(&world);
    let mut create = world.create().input("digests", "");
    create = create.input("digests-folder", "digests");
    for digest in [&world.amd64.digest, &image.digest] {
        let (_, hex) = digest.split_once(':').unwrap();
        create = create.file(&format!("digests/{hex}"), "");
    }
    create.succeed();
    let index = world.manifest("v1").to_string();
    assert!(index.contains(&image.digest) && index.contains(&world.amd64.digest));
    let odd = create.file("digests/00", "").end_with(2);
    odd.says(&["`00` is not 64 lower-case hex digits (SHA-256), nor 128 (SHA-512)"]);
}
