//! The result for a tag in each state, and the order of writes.

use std::time::Duration;

use sandbox::{Fault, Kind, Options};
use serde_json::Value;

use crate::support::{REPOSITORY, World, told, until};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Tags an index of the same images, in the bytes of another tool, as `tag`.
fn tag_as_others_do(world: &World, tag: &str) -> String {
    world.create().input("tags", "scratch").succeed();
    let value = world.manifest("scratch");
    let pretty = serde_json::to_vec_pretty(&value).unwrap();
    world
        .registry()
        .push_raw(REPOSITORY, Some(tag), OCI_INDEX, &pretty)
}

/// Pushes an index of other builds of both platforms under `tag`. Returns its digest and that of its arm64 image.
fn tag_other_builds(world: &World, tag: &str) -> (String, String) {
    let push = |platform| {
        world
            .registry()
            .push_image_seeded(REPOSITORY, platform, Kind::Oci, 7)
            .digest
    };
    let (amd, arm) = (push("linux/amd64"), push("linux/arm64"));
    let made = world
        .create()
        .input("digests", format!("{amd},{arm}"))
        .input("tags", tag)
        .succeed();
    (made.output("digest").to_owned(), arm)
}

#[test]
fn absent_tag_is_written_after_the_index_and_not_again() {
    let world = World::new();
    let first = world.create().input("tags", "v1\nv1.0").succeed();
    // The index is written first, then with both tags in one request. This registry ignores them there, so they are
    // written concurrently, in any order.
    let mut writes = world.writes();
    writes[2..].sort();
    assert_eq!(
        writes,
        [
            "PUT manifests/[INDEX v1]",
            "PUT manifests/[INDEX v1]",
            "PUT manifests/v1",
            "PUT manifests/v1.0"
        ]
    );
    assert_eq!(
        (
            first.output("result"),
            first.output("manifest-create-skipped")
        ),
        ("created", "false")
    );
    world.registry().clear_requests();
    let again = world.create().input("tags", "v1\nv1.0").succeed();
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(
        (
            again.output("result"),
            again.output("manifest-create-skipped")
        ),
        ("unchanged", "true")
    );
    assert_eq!(again.output("digest"), first.output("digest"));
}

#[test]
fn same_images_in_the_bytes_of_another_tool_are_the_same() {
    let world = World::new();
    let theirs = tag_as_others_do(&world, "v1");
    let outcome = world.create().input("moving-tags", "latest").succeed();
    assert_eq!(outcome.output("digest"), theirs);
    assert_eq!(outcome.output("result"), "completed");
    assert_eq!(
        (world.tag("v1"), world.tag("latest")),
        (Some(theirs.clone()), Some(theirs))
    );
}

#[test]
fn equivalent_indexes_stay_and_each_is_named() {
    let world = World::new();
    let theirs = tag_as_others_do(&world, "v2");
    let outcome = world.create().input("tags", "scratch\nv2\nv3").succeed();
    let ours = world.tag("scratch").unwrap();
    outcome.says(&["::warning::a tag points to", &theirs, &ours]);
    assert_eq!(outcome.output("digest"), ours);
    assert_eq!(
        (world.tag("v2"), world.tag("v3")),
        (Some(theirs.clone()), Some(ours))
    );
    // The first index in the order of `tags` is the result.
    let outcome = world.create().input("tags", "v2\nscratch").succeed();
    assert_eq!(outcome.output("digest"), theirs);
}

#[test]
fn tag_with_other_content_is_refused() {
    let world = World::new();
    let (index, arm) = tag_other_builds(&world, "v1");
    world.registry().clear_requests();
    let outcome = world.create().input("tags", "v0\nv1").end_with(3);
    outcome.says(&[
        &format!("the tag `{}` points to", world.at("v1")),
        &index,
        &arm,
        &world.amd64.digest,
        "hint: ",
    ]);
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.tag("v0"), None);
}

#[test]
fn tag_that_holds_a_single_image_is_refused() {
    let world = World::new();
    world.registry().tag(REPOSITORY, "v1", &world.amd64.digest);
    let outcome = world.create().end_with(3);
    outcome.says(&[
        &format!("the tag `{}` points to", world.at("v1")),
        &world.amd64.digest,
        "it is a single image, not an index",
    ]);
    assert_eq!(world.tag("v1"), Some(world.amd64.digest.clone()));
}

#[test]
fn tag_with_one_platform_less_or_more_is_refused() {
    let world = World::new();
    world
        .create()
        .input("digests", &world.amd64.digest)
        .input("tags", "less")
        .succeed();
    world.create().input("tags", "less").end_with(3);
    world.create().input("tags", "more").succeed();
    world
        .create()
        .input("digests", &world.amd64.digest)
        .input("tags", "more")
        .end_with(3);
}

#[test]
fn absent_tags_beside_present_ones_are_completed() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    world.registry().clear_requests();
    let outcome = world.create().input("tags", "v1\nv1.0").succeed();
    assert_eq!(world.writes(), ["PUT manifests/v1.0"]);
    assert_eq!(
        (outcome.output("result"), outcome.output("digest")),
        ("completed", digest.as_str())
    );
    assert_eq!(world.tag("v1.0"), Some(digest));
}

#[test]
fn moving_tag_moves_and_a_fixed_one_never_does() {
    let world = World::new();
    let (index, _) = tag_other_builds(&world, "latest");
    let action = world.create().input("moving-tags", "latest");
    let outcome = action.succeed();
    assert_eq!(
        world.tag("latest").as_deref(),
        Some(outcome.output("digest"))
    );
    outcome.says(&[&format!("tag `{}`: to be written", world.at("latest"))]);
    let before: Vec<Value> = action.record()["images"][0]["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["before"].clone())
        .collect();
    assert_eq!(before, [Value::Null, Value::String(index)]);
    world.registry().clear_requests();
    assert_eq!(action.succeed().output("result"), "unchanged");
    assert_eq!(world.writes(), [""; 0]);
}

/// Deletes content from the registry, and returns its name.
type Loss = fn(&World) -> String;

#[test]
fn index_with_a_lost_part_is_never_called_unchanged() {
    let losses: [(&str, Loss); 2] = [
        ("child", |world| {
            world
                .registry()
                .delete_manifest(REPOSITORY, &world.arm64.digest);
            world.arm64.digest.clone()
        }),
        ("config", |world| {
            world
                .registry()
                .delete_blob(REPOSITORY, &world.arm64.config);
            world.arm64.config.clone()
        }),
    ];
    for (what, lose) in losses {
        let world = World::new();
        world.create().succeed();
        let part = lose(&world);
        let outcome = world.create().end_with(1);
        outcome.says(&[&part]);
        assert!(!outcome.outputs.contains_key("result"), "{what}");
    }
}

#[test]
fn lost_attestation_is_an_error_or_a_warning() {
    let world = World::new();
    let build = world
        .registry()
        .push_index_with_provenance(REPOSITORY, "linux/amd64");
    world.create().input("digests", &build.digest).succeed();
    world
        .registry()
        .delete_manifest(REPOSITORY, &build.attestation);
    let outcome = world.create().input("digests", &build.digest).end_with(1);
    outcome.says(&[&format!("`{}` was not found", world.at(&build.attestation))]);
    // An attestation that the inputs do not include is not this run's: its loss is a warning.
    let outcome = world
        .create()
        .input("digests", &build.image.digest)
        .succeed();
    outcome.says(&["::warning::", &build.attestation, "it is missing in"]);
}

#[test]
fn registry_that_answers_another_digest_is_not_believed() {
    for path in ["*/manifests/sha256:*", "*/manifests/v1"] {
        let world = World::new();
        world
            .registry()
            .fault(Fault::on("PUT", path).wrong_digest());
        let create = world
            .create()
            .input("tags", "v1")
            .input("moving-tags", "v2");
        create.end_with(1).says(&["Docker-Content-Digest"]);
        assert_eq!(world.tag("v2"), None, "{path}");
    }
}

#[test]
fn tag_that_shows_late_is_waited_for() {
    let world = World::with(Options::new());
    world.registry().set_lag(3);
    let outcome = world.create().succeed();
    outcome.says(&["it does not show the new digest yet"]);
    // A tag that never becomes visible is an error, after the configured attempts.
    world.registry().set_lag(9);
    let outcome = world
        .create()
        .input("tags", "v2")
        .input("max-attempts", "2")
        .end_with(1);
    let late = world.at("v2");
    outcome.says(&[&format!(
        "the tag `{late}` was written but still points to nothing"
    )]);
}

#[test]
fn fixed_tag_of_a_later_run_is_a_conflict_and_a_moving_one_is_not() {
    for (input, code) in [("tags", 3), ("moving-tags", 0)] {
        let world = World::new();
        let (index, theirs) = tag_other_builds(&world, "theirs");
        let late = Duration::from_millis(500);
        let slow = Fault::on("PUT", "*/manifests/v1").delay(late);
        world.registry().fault(slow);
        let create = world.create().input("tags", "").input(input, "v1");
        let running = create.input("max-attempts", "2").begin();
        until("the tag", || world.tag("v1").is_some());
        world.registry().tag(REPOSITORY, "v1", &index);
        let outcome = running.end();
        assert_eq!(outcome.code, code, "{}", outcome.log);
        let at = world.at("v1");
        if code == 0 {
            outcome.says(&[&format!(
                "`{at}` was moved by another run: it points to `{index}`"
            )]);
        } else {
            let why = "another run wrote it during this run";
            outcome.says(&[
                &format!("the tag `{at}` points to `{index}` ({why})"),
                &theirs,
            ]);
        }
        assert_eq!(world.tag("v1"), Some(index));
    }
}

#[test]
fn lost_response_to_a_write_changes_nothing() {
    for immutable in [false, true] {
        let world = World::with(Options::new().immutable_tags(immutable));
        world
            .registry()
            .fault(Fault::on("PUT", "*/manifests/sha256:*").lost_response());
        world
            .registry()
            .fault(Fault::on("PUT", "*/manifests/v1").lost_response());
        let outcome = world.create().succeed();
        assert_eq!(world.tag("v1").as_deref(), Some(outcome.output("digest")));
    }
}

/// A record may be lost. Then only the report names what a tag held.
#[test]
fn log_and_summary_name_the_whole_digest_that_a_moving_tag_held() {
    let world = World::new();
    let (index, _) = tag_other_builds(&world, "latest");
    let action = world.create().input("moving-tags", "latest\nedge");
    let step = format!(
        "tag `{}`: to be written; it points to `{index}`",
        world.at("latest")
    );
    let absent = format!("tag `{}`: to be written\n", world.at("edge"));
    let planned = action.clone().input("dry-run", "true").succeed();
    planned.says(&[&step, &absent]);
    let row = |summary: &str, tag: &str| {
        let mut lines = summary.lines();
        let line = lines.find(|line| line.starts_with(&format!("| `{tag}`")));
        line.unwrap().to_owned()
    };
    let latest = row(&planned.summary, "latest");
    assert!(
        latest.contains(&format!("| points to `{index}` |")),
        "{latest}"
    );
    let edge = row(&planned.summary, "edge");
    assert!(edge.contains("does not exist yet"), "{edge}");
    let fault = Fault::on("PUT", "*/manifests/latest").times(u32::MAX);
    world
        .registry()
        .fault(fault.registry_error(403, "DENIED", "no"));
    let failed = action.end_with(1);
    let latest = row(&failed.summary, "latest");
    assert!(
        latest.contains(&format!("it pointed to `{index}`")),
        "{latest}"
    );
    world.registry().clear_faults();
    let moved = action.succeed();
    moved.says(&[&step]);
    let latest = row(&moved.summary, "latest");
    assert!(latest.contains(&format!("| was `{index}` |")), "{latest}");
}
