//! The command `create`: digests in, one canonical index out.

use sandbox::Kind;
use serde_json::{Value, json};

use crate::support::{REPOSITORY, World, child, created, index_of, push, told};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

#[test]
fn index_is_created_and_reported() {
    let world = World::new();
    let outcome = world.create().succeed();
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(world.tag("v1").as_deref(), Some(outcome.output("digest")));
}

#[test]
fn child_that_lags_is_waited_for() {
    let world = World::new();
    world.registry().set_lag(3);
    let late = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/arm64", Kind::Oci, 1);
    let digests = format!("{},{}", world.amd64.digest, late.digest);
    let action = world.create().input("digests", digests);
    action
        .succeed()
        .says(&[&late.digest, "it is not visible yet"]);

    let later = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/arm64", Kind::Oci, 2);
    let digests = format!("{},{}", world.amd64.digest, later.digest);
    let action = action
        .input("digests", digests)
        .input("tags", "v2")
        .input("max-attempts", "3");
    let outcome = action.end_with(1);
    outcome.says(&[
        &format!("`{}` was not found", world.at(&later.digest)),
        "hint: check that it was pushed",
    ]);
    assert_eq!(world.tag("v2"), None);
}

#[test]
fn indexes_are_flattened_and_attestations_follow_their_images() {
    let world = World::new();
    let build = |platform| {
        world
            .registry()
            .push_index_with_provenance(REPOSITORY, platform)
    };
    let (arm, amd) = (build("linux/arm64"), build("linux/amd64"));
    let outcome = world
        .create()
        .input("digests", format!("{},{}", arm.digest, amd.digest))
        .succeed();
    let index = world.manifest("v1");
    let children: Vec<&Value> = index["manifests"].as_array().unwrap().iter().collect();
    let digests: Vec<&Value> = children.iter().map(|child| &child["digest"]).collect();
    assert_eq!(
        json!(digests),
        json!([
            amd.image.digest,
            amd.attestation,
            arm.image.digest,
            arm.attestation
        ])
    );
    assert_eq!(
        children[1]["annotations"]["vnd.docker.reference.digest"],
        json!(amd.image.digest)
    );
    assert_eq!(
        outcome.json("platforms"),
        json!({"linux/amd64": amd.image.digest, "linux/arm64/v8": arm.image.digest})
    );
    let of = |one: &sandbox::IndexWithProvenance| {
        let mut members = vec![one.image.digest.clone(), one.attestation.clone()];
        members.sort();
        members
    };
    assert_eq!(
        outcome.json("children"),
        json!({(arm.digest.clone()): of(&arm), (amd.digest.clone()): of(&amd)})
    );
    // The flattened digests name the same set only if the attestations are included.
    let bare = format!("{},{}", amd.image.digest, arm.image.digest);
    assert_ne!(
        created(&world.create().input("digests", bare).input("tags", "bare")),
        outcome.output("digest")
    );
}

#[test]
fn platform_of_an_index_does_not_replace_that_of_the_config() {
    let world = World::new();
    let child = json!({
        "mediaType": world.amd64.media_type, "digest": world.amd64.digest, "size": world.amd64.size,
        "platform": {"os": "linux", "architecture": "s390x"},
    });
    let index =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).to_string();
    let liar = world
        .registry()
        .push_raw(REPOSITORY, None, OCI_INDEX, index.as_bytes());
    let refused = world.create().input("digests", liar).end_with(2);
    refused.says(&["`linux/s390x`", "`linux/amd64`", &world.amd64.digest]);
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn two_children_for_one_platform_are_both_named() {
    let world = World::new();
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 1);
    let digests = format!(
        "{},{},{}",
        world.amd64.digest, world.arm64.digest, other.digest
    );
    let outcome = world.create().input("digests", digests).end_with(2);
    outcome.says(&["linux/amd64", &world.amd64.digest, &other.digest]);
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn digest_is_the_same_from_any_order_on_any_machine() {
    let (here, there) = (World::new(), World::new());
    let reversed = format!("{}\n{}", there.arm64.digest, there.amd64.digest);
    let digest = created(&here.create());
    assert_eq!(
        created(
            &there
                .create()
                .input("digests", reversed)
                .env("TZ", "Asia/Tokyo")
        ),
        digest
    );
    assert_eq!(
        here.registry().manifest(REPOSITORY, "v1"),
        there.registry().manifest(REPOSITORY, "v1")
    );
}

#[test]
fn media_type_follows_children_annotations_and_the_input() {
    let world = World::new();
    let docker = |platform| {
        world
            .registry()
            .push_image(REPOSITORY, platform, Kind::Docker)
            .digest
    };
    let (amd, arm) = (docker("linux/amd64"), docker("linux/arm64"));
    let (all, mixed) = (
        format!("{amd},{arm}"),
        format!("{amd},{}", world.arm64.digest),
    );
    let note = "org.opencontainers.image.title=app";
    for (number, (digests, wanted, annotations, expected)) in [
        (&all, "auto", "", Some(DOCKER_LIST)),
        (&all, "docker", "", Some(DOCKER_LIST)),
        (&all, "oci", "", Some(OCI_INDEX)),
        (&all, "auto", note, Some(OCI_INDEX)),
        (&mixed, "auto", "", Some(OCI_INDEX)),
        (&mixed, "docker", "", None),
        (&all, "docker", note, None),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("t{number}");
        let outcome = world
            .create()
            .input("digests", digests)
            .input("media-type", wanted)
            .input("annotations", annotations)
            .input("tags", &tag)
            .run();
        assert_eq!(
            outcome.code,
            if expected.is_some() { 0 } else { 2 },
            "{number}: {}",
            outcome.log
        );
        let held = world.registry().manifest(REPOSITORY, &tag);
        assert_eq!(
            held.as_ref().map(|(media_type, _)| media_type.as_str()),
            expected,
            "{number}"
        );
        if let Some((media_type, bytes)) = held {
            let index: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(index["mediaType"], media_type, "{number}");
        }
    }
}

#[test]
fn annotations_hold_what_they_were_given() {
    let world = World::new();
    let text = "index:b=1=2, and three\nmanifest,index:a=\n# c=no\nd.e/f=x  y";
    world.create().input("annotations", text).succeed();
    let index = world.registry().manifest(REPOSITORY, "v1").unwrap().1;
    let index = String::from_utf8(index).unwrap();
    assert!(
        index.ends_with(r#""annotations":{"a":"","b":"1=2, and three","d.e/f":"x  y"}}"#),
        "{index}"
    );
}

#[test]
fn staged_pipeline_makes_its_index_without_a_tag() {
    let world = World::new();
    let action = world.create().input("tags", "");
    let first = action.succeed();
    assert_eq!(
        (
            first.output("result"),
            first.output("manifest-create-skipped")
        ),
        ("created", "true")
    );
    assert_eq!(
        world.writes(),
        [format!("PUT manifests/{}", first.output("digest"))]
    );
    world.registry().clear_requests();
    assert_eq!(action.succeed().output("result"), "unchanged");
    assert_eq!(world.writes(), [""; 0]);
}

/// The outputs of a run that signs nothing may name what somebody else pushed.
#[test]
fn found_index_is_reported_with_a_warning() {
    let world = World::new();
    let made = world.create().input("tags", "v0").succeed();
    made.does_not_say(&["it is not verified"]);
    let mut theirs = index_of(&[
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
    ]);
    theirs["annotations"] = json!({"org.opencontainers.image.source": "https://evil.example"});
    let theirs = push(&world, Some("v1"), &theirs.to_string());
    for action in [world.create(), world.seal().input("sign", "false")] {
        let found = action.succeed();
        assert_eq!(found.output("digest"), theirs);
        found.says(&[
            &format!("{theirs}`, which has the same images"),
            "it is not verified. The outputs `digest` and `reference` name it",
        ]);
    }
    // What this run would have made itself is its own.
    world
        .create()
        .input("tags", "v0")
        .succeed()
        .does_not_say(&["it is not verified"]);
}
