//! The input `digests` with tags: each is resolved once, with a warning that names the digest.

use sandbox::{Fault, Kind, ManifestReads, Options};
use serde_json::json;

use crate::support::{Action, REPOSITORY, World, created, push};

/// Returns a run of `create` in which `digests` names the first image by the tag `built`.
fn create_by_tag(world: &World) -> Action {
    let registry = world.registry();
    registry.tag(REPOSITORY, "built", &world.amd64.digest);
    let digests = format!("{}\n{}", world.at("built"), world.arm64.digest);
    world.create().input("digests", digests)
}

#[test]
fn tag_is_resolved_once_and_its_digest_is_recorded() {
    let world = World::new();
    let expected = created(&world.create().input("tags", "by-digest"));
    let (create, digest) = (create_by_tag(&world), &world.amd64.digest);
    world.registry().clear_requests();
    let outcome = create.succeed();
    let (by_tag, by_digest) = (world.at("built"), world.at(digest));
    outcome.says(&[
        &format!("`{by_tag}` was resolved to `{digest}`\n"),
        &format!(
            "::warning::`{by_tag}` was resolved to `{digest}`; a tag can move. Use `{by_digest}`"
        ),
    ]);
    let requests = world.registry().requests();
    let by_tag = requests
        .iter()
        .filter(|request| request.path.ends_with("/manifests/built"));
    assert_eq!(by_tag.count(), 1);
    assert_eq!(outcome.output("digest"), expected);
    assert_eq!(
        outcome.json("children")[digest.as_str()][0],
        digest.as_str()
    );
    assert!(create.record().to_string().contains(digest.as_str()));
    world.create().succeed().does_not_say(&["a tag can move"]);
}

#[test]
fn tag_and_digest_of_one_image_are_one_part() {
    let world = World::new();
    let registry = world.registry();
    for tag in ["built", "again"] {
        registry.tag(REPOSITORY, tag, &world.amd64.digest);
    }
    let digests = [
        world.at("built"),
        world.at("again"),
        world.amd64.digest.clone(),
    ];
    let outcome = world.create().input("digests", digests.join(",")).succeed();
    assert_eq!(outcome.json("children").as_object().unwrap().len(), 1);
}

#[test]
fn tag_that_moved_is_a_conflict_at_a_fixed_tag() {
    let world = World::new();
    let create = create_by_tag(&world);
    let digest = created(&create);
    assert_eq!(create.succeed().output("result"), "unchanged");
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 1);
    world.registry().tag(REPOSITORY, "built", &other.digest);
    world.registry().clear_requests();
    let refused = create.end_with(3);
    refused.says(&[&format!(
        "`{}` was resolved to `{}`",
        world.at("built"),
        other.digest
    )]);
    assert_eq!(world.tag("v1"), Some(digest));
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn absent_tag_is_named_and_a_denied_one_is_not_absent() {
    let world = World::new();
    let create = create_by_tag(&world);
    let missing = world.at("missing");
    let absent = create.clone().input("digests", &missing).end_with(1);
    absent.says(&[&format!("`{missing}` was not found")]);
    for status in [401, 403, 500, 503] {
        let read = Fault::on("*", "/v2/octo-org/app/manifests/built").times(u32::MAX);
        world.registry().fault(read.status(status));
        let failed = create.elsewhere().end_with(1);
        failed.says(&[&format!("could not read `{}`", world.at("built"))]);
        failed.does_not_say(&["was not found", "it is not visible yet"]);
        world.registry().clear_faults();
    }
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn tag_vouches_for_the_index_that_it_has() {
    let world = World::new();
    world.create().input("tags", "other").succeed();
    let mut index = world.manifest("other");
    index["annotations"] = json!({"by": "them"});
    let theirs = push(&world, Some("v1"), &index.to_string());
    world.registry().tag(REPOSITORY, "adopted", &theirs);
    world.registry().clear_requests();
    world.seal().end_with(3).says(&["it is not verified"]);
    let preflight = world.preflight().input("on-existing-tag", "skip");
    preflight.end_with(3);
    let adopted = world.at("adopted");
    let skipped = preflight.input("digests", &adopted).succeed();
    assert_eq!(skipped.output("source"), world.at(&theirs));
    skipped.says(&["a tag can move"]);
    // One digest that is given twice is the only entry.
    let digests = format!("{adopted}\n{theirs}");
    let sealed = world.seal().elsewhere().input("digests", digests).succeed();
    assert_eq!(sealed.output("digest"), theirs);
    assert_eq!(world.listed(&theirs).len(), 1);
}

#[test]
fn tag_that_another_host_answers_is_refused() {
    let world = World::with(Options::new().redirects_manifests(ManifestReads::OtherHost));
    let create = create_by_tag(&world);
    let refused = create.end_with(2);
    refused.says(&[&format!(
        "the registry redirects `{}` to another host",
        world.at("built")
    )]);
    assert_eq!(world.writes(), [""; 0]);
}
