//! Forged records by somebody without signing rights, and records of other runs: nothing is signed, tagged, restored or deleted
//! because of them. Each attack worked once.

use std::fs;

use sandbox::{Image, Kind, Options, Registry};
use serde_json::{Value, json};

use crate::support::cleanup::{earlier, remaining};
use crate::support::{Action, Outcome, Pipeline, REPOSITORY, TARGET, World, cleanup};

const RECORD: &str = "manifest-seal.json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Returns a record as the current test run would write it.
fn forged(images: &[Value]) -> String {
    let run = json!({"id": 100, "attempt": 1, "repository": "octo-org/octo-app"});
    json!({"schema": 1, "run": run, "images": images}).to_string()
}

fn image(image: &str, digest: &str, tags: &[Value]) -> Value {
    json!({"image": image, "digest": digest, "mediaType": INDEX, "platforms": [], "tags": tags})
}

fn written(tag: &str, before: Option<&str>, after: &str) -> Value {
    json!({"tag": tag, "moving": tag == "latest", "before": before, "after": after, "state": "written"})
}

/// Pushes the image of a pull request, which anybody may push.
fn stranger(world: &World) -> Image {
    let registry = world.registry();
    registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666)
}

fn is_unsigned(world: &World) {
    assert_eq!((world.sigstore().entries(), world.certificates()), (0, 0));
}

fn warnings(outcome: &Outcome) -> usize {
    let lines = outcome.log.lines();
    lines.filter(|line| line.starts_with("::warning")).count()
}

#[test]
fn nothing_is_signed_at_a_registry_that_only_a_forged_record_names() {
    let world = World::new();
    let foreign = Registry::start(Options::new());
    let theirs = foreign.push_image(REPOSITORY, "linux/amd64", Kind::Oci);
    let there = foreign.repository(REPOSITORY);
    foreign.clear_requests();
    let record = forged(&[image(&there, &theirs.digest, &[])]);
    let sign = world.sign("v1").file(RECORD, &record);
    for named in ["", &there] {
        for command in [sign.clone(), sign.clone().input("dry-run", "true")] {
            let outcome = command.input("image", named).end_with(2);
            outcome.says(&[
                "the record `manifest-seal.json` is not trusted",
                "`record-digest`",
                "`registry/repository@sha256:…`",
            ]);
        }
    }
    assert_eq!(foreign.requests(), []);
    is_unsigned(&world);
    // A later step that continues the record does not add the forged entry either.
    let create = world.create().file(RECORD, &record);
    create.succeed();
    assert_eq!(create.record()["images"].as_array().unwrap().len(), 1);
    let signed = sign_here(&world, &create).succeed();
    assert!(!signed.output("signatures").contains(&there));
    assert_eq!(
        (foreign.requests(), world.sigstore().entries()),
        (vec![], 3)
    );
}

/// Signs the images of the record, in a step of the same job.
fn sign_here(world: &World, step: &Action) -> Action {
    let mut sign = step.clone().input("command", "sign").input("image", "");
    for (name, value) in world.sigstore().github_env() {
        sign = sign.env(&name, value);
    }
    sign.input("trusted-root", world.sigstore().trusted_root())
        .input("signing-config", world.sigstore().signing_config())
}

#[test]
fn forged_record_publishes_nothing() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let theirs = stranger(&pipeline.world);
    let foreign = Registry::start(Options::new());
    let there = foreign.repository(REPOSITORY);
    let record = forged(&[
        image(&pipeline.world.image(), &theirs.digest, &[]),
        image(&there, &index, &[]),
    ]);
    let publish = |sources: &str| pipeline.publish(sources).file("built.json", &record);
    let spare = pipeline.world.image();
    for sources in [
        "built.json".to_owned(),
        format!("built.json\n{spare}"),
        format!("{spare}:v1\nbuilt.json"),
    ] {
        let outcome = publish(&sources).end_with(2);
        outcome.says(&["the record `built.json` is not trusted", "hint: "]);
    }
    assert_eq!(pipeline.writes_there(), [""; 0]);
    // Beside an image given by digest the record is skipped, whatever its position.
    for sources in ["built.json\n[IMAGE]", "[IMAGE]\nbuilt.json"] {
        let sources = sources.replace("[IMAGE]", &pipeline.world.at(&index));
        let outcome = publish(&sources).succeed();
        outcome.says(&["::warning", "one `source` is skipped"]);
        assert_eq!(outcome.output("digest"), index);
    }
    assert_eq!(pipeline.target.tags(TARGET)["latest"], index);
    assert!(pipeline.target.manifest(TARGET, &theirs.digest).is_none());
    assert_eq!(foreign.requests(), []);
}

#[test]
fn forged_record_does_not_move_latest_to_another_image() {
    let world = World::new();
    let theirs = stranger(&world);
    let held = earlier(&world, "latest");
    let seal = world.seal().input("moving-tags", "latest").elsewhere();
    let entry = written("latest", Some(&theirs.digest), &held);
    let record = forged(&[image(&world.image(), &held, &[entry])]);
    world.registry().clear_requests();
    let cleaned = cleanup(&seal.clone().file(RECORD, record)).succeed();
    assert_eq!(
        (world.tag("latest"), world.writes()),
        (Some(held.clone()), vec![])
    );
    let left = &remaining(&cleaned)["latest"];
    assert_eq!(
        (&left["digest"], &left["before"]),
        (&json!(held), &Value::Null)
    );
    let steps = left["steps"].as_str().unwrap();
    assert!(
        steps.contains("crane tag '") && steps.contains("@sha256:…'"),
        "{steps}"
    );
    assert!(!cleaned.everything().contains(&theirs.digest));
}

/// Earlier tag contents of a forged record stay untrusted after our own step continued the record.
#[test]
fn forged_entries_do_not_become_vouched() {
    let world = World::new();
    let theirs = stranger(&world);
    let seal = world.seal().input("moving-tags", "latest");
    let digest = seal.elsewhere().succeed().output("digest").to_owned();
    let entries = [
        written("v1", None, &digest),
        written("latest", Some(&theirs.digest), &digest),
    ];
    let record = forged(&[image(&world.image(), &digest, &entries)]);
    let again = seal.file(RECORD, record).env("GITHUB_RUN_ATTEMPT", "2");
    again.succeed();
    assert!(!again.record().to_string().contains(&theirs.digest));
    let before = world.tags();
    world.registry().clear_requests();
    cleanup(&again).succeed();
    assert_eq!((world.tags(), world.writes()), (before, vec![]));
}

#[test]
fn forged_record_deletes_no_release() {
    let world = World::new();
    let tags = world.seal().input("tags", "v1.0.0");
    let digest = tags.elsewhere().succeed().output("digest").to_owned();
    let record = forged(&[image(
        &world.image(),
        &digest,
        &[written("v1.0.0", None, &digest)],
    )]);
    world.registry().clear_requests();
    let named = tags.input("tags", "v1.0.0\nv9");
    for mode in ["false", "true"] {
        let action = named
            .elsewhere()
            .file(RECORD, &record)
            .input("dry-run", mode);
        let cleaned = cleanup(&action).succeed();
        assert_eq!(
            (world.tag("v1.0.0"), world.writes()),
            (Some(digest.clone()), vec![])
        );
        let left = remaining(&cleaned);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["v1.0.0"]);
        let steps = format!(
            "if the run created it: `regctl tag delete '{}'`",
            world.at("v1.0.0")
        );
        assert_eq!(left["v1.0.0"]["steps"], steps);
        assert_eq!(left["v1.0.0"]["digest"], digest);
        assert_eq!(warnings(&cleaned), 1, "{}", cleaned.log);
        cleaned.says(&[
            "no tag is deleted or moved: the record `manifest-seal.json` is not trusted",
            "v9`: left unchanged: it does not exist",
            "1 tag to be checked manually",
        ]);
        assert!(
            cleaned.summary.contains("left unchanged"),
            "{}",
            cleaned.summary
        );
    }
}

/// A workspace that run 100 has left to run 200, as on a self-hosted runner.
struct LeftOver {
    world: World,
    old: String,
    record: Vec<u8>,
}

impl LeftOver {
    fn new() -> Self {
        let world = World::new();
        let old = world
            .registry()
            .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
        let create = world.create().input("digests", &old.digest);
        let create = create.input("tags", "old");
        create.succeed();
        let record = fs::read(create.workspace().join(RECORD)).unwrap();
        world.registry().clear_requests();
        Self {
            world,
            old: old.digest,
            record,
        }
    }

    fn run_200(&self, action: &Action) -> Action {
        let action = action.elsewhere().env("GITHUB_RUN_ID", "200");
        action.file(RECORD, &self.record)
    }
}

#[test]
fn record_of_another_run_signs_nothing_of_it() {
    let scene = LeftOver::new();
    let world = &scene.world;
    let sign = scene.run_200(&world.sign("old").input("image", ""));
    let refused = sign.end_with(2);
    refused.says(&["is not trusted"]);
    is_unsigned(world);
    let create = scene.run_200(&world.create());
    create.succeed().says(&[
        "::warning",
        "belongs to run 100, attempt 1, of `octo-org/octo-app`, not to run 200, attempt 1, of `octo-org/octo-app`",
        "the record that this run writes does not continue it",
    ]);
    let record = create.record();
    assert_eq!(record["run"]["id"], 200);
    assert_eq!(record["images"].as_array().unwrap().len(), 1, "{record}");
    sign_here(world, &create).succeed();
    assert_eq!(world.listed(&scene.old), [""; 0]);
    assert_eq!(world.sigstore().entries(), 3);
}

#[test]
fn cleanup_of_a_run_leaves_the_tags_of_another() {
    let scene = LeftOver::new();
    let world = &scene.world;
    let before = world.tags();
    let action = scene.run_200(&cleanup(&world.create().input("tags", "old")));
    // The record is ignored even if its digest is handed over.
    for action in [action.clone(), action.handed(RECORD, &scene.record)] {
        let outcome = action.succeed();
        assert_eq!((world.tags(), world.writes()), (before.clone(), vec![]));
        outcome.says(&["::warning", "belongs to run 100", "not to run 200"]);
        assert_eq!(remaining(&outcome).len(), 1);
    }
}
