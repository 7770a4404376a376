//! The proof of a record's origin: its SHA-256. Our own steps export it to later steps of the job, and pass it to other jobs as
//! the output `record-digest`. No other statement of the record proves its origin.

use std::fs;
use std::time::Duration;

use manifest_seal::domain::Digest;
use sandbox::{Fault, Kind};
use serde_json::{Value, json};

use crate::support::cleanup::{earlier, nothing_remains, outside, remaining};
use crate::support::{
    Action, Pipeline, REPOSITORY, TARGET, World, child, cleanup, index_of, push, until,
};

const RECORD: &str = "manifest-seal.json";
/// A delay longer than any test: the waiting run is killed before it ends.
const FOR_EVER: Duration = Duration::from_mins(10);

fn bytes(action: &Action) -> Vec<u8> {
    fs::read(action.workspace().join(RECORD)).unwrap()
}

fn digest(action: &Action) -> String {
    Digest::of(&bytes(action)).to_string()
}

/// Returns the digests that are exported to later steps of the job.
fn exported(action: &Action) -> Vec<String> {
    let variables = action.exported();
    let names: Vec<&String> = variables.keys().collect();
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("MANIFEST_SEAL_RECORD_"))
    );
    assert!(variables.len() < 2, "{names:?}");
    let values = variables.values();
    values
        .flat_map(|value| value.split(' '))
        .map(str::to_owned)
        .collect()
}

#[test]
fn step_tells_the_digest_of_its_record_however_it_ends() {
    let world = World::new();
    let seal = world.seal().input("tags", "v1\nv2");
    let refuse = || Fault::on("PUT", "*/manifests/v2").times(u32::MAX);
    world.registry().fault(refuse().status(403));
    let failed = seal.end_with(1);
    assert_eq!(failed.output("record-digest"), digest(&seal));
    assert_eq!(failed.output("record"), RECORD);
    assert_eq!(exported(&seal), [digest(&seal)]);
    world.registry().clear_faults();
    world.registry().fault(refuse().delay(FOR_EVER));
    for is_killed in [true, false] {
        let seal = world.seal().input("tags", "v1\nv2");
        let running = seal.begin();
        until("the second tag", || world.tag("v2").is_some());
        let outcome = if is_killed {
            running.kill()
        } else {
            running.terminate()
        };
        world.registry().delete_tag(REPOSITORY, "v2");
        assert_eq!(outcome.output("record-digest"), digest(&seal));
        assert_eq!(outcome.output("record"), RECORD);
        assert!(exported(&seal).contains(&digest(&seal)));
    }
    world.registry().clear_faults();
    let outcome = seal.succeed();
    assert_eq!(outcome.output("record-digest"), digest(&seal));
    assert_eq!(exported(&seal), [digest(&seal)]);
    let run = &seal.record()["run"];
    assert_eq!(
        *run,
        json!({"id": 100, "attempt": 1, "repository": "octo-org/octo-app"})
    );
}

#[test]
fn plan_tells_no_digest() {
    let world = World::new();
    let plan = world.seal().input("dry-run", "true");
    assert!(!plan.succeed().outputs.contains_key("record-digest"));
    assert_eq!(exported(&plan), [""; 0]);
}

#[test]
fn other_job_is_handed_the_digest() {
    let world = World::new();
    let create = world.create();
    let given = create.succeed().output("record-digest").to_owned();
    let hex = given.strip_prefix("sha256:").unwrap();
    for named in [given.as_str(), hex] {
        let sign = world
            .sign("v1")
            .input("image", "")
            .file(RECORD, bytes(&create));
        let signed = sign.input("record-digest", named).succeed();
        assert_eq!(signed.output("signed"), "true");
    }
    assert_eq!(world.sigstore().entries(), 3);
    let cleaned = cleanup(&create.elsewhere()).handed(RECORD, bytes(&create));
    nothing_remains(&cleaned.succeed());
    assert_eq!(world.tag("v1"), None);
}

#[test]
fn digest_of_another_record_is_said_to_be_another() {
    let world = World::new();
    let create = world.create();
    create.succeed();
    let other = Digest::of(b"another").to_string();
    let sign = world
        .sign("v1")
        .input("image", "")
        .file(RECORD, bytes(&create));
    let refused = sign.input("record-digest", &other).end_with(2);
    refused.says(&[&format!(
        "its SHA-256 is `{}`, but `record-digest` is `{other}`",
        digest(&create)
    )]);
    let cleaned = cleanup(&create.elsewhere()).file(RECORD, bytes(&create));
    let cleaned = cleaned.input("record-digest", &other).succeed();
    assert_eq!(remaining(&cleaned).len(), 1);
    let cure = "Give `record-digest`, an output of the step that wrote the record; or check what";
    cleaned.says(&[cure]);
    assert!(
        cleaned.summary.contains("Give `record-digest`"),
        "{}",
        cleaned.summary
    );
    // A run that may write the record replaces it, and reports that.
    let anew = world.create().file(RECORD, bytes(&create));
    anew.input("record-digest", &other)
        .succeed()
        .says(&["::warning", "does not continue it"]);
    assert!(world.tag("v1").is_some());
}

#[test]
fn what_is_no_digest_is_an_input_error() {
    let world = World::new();
    for text in ["0", "sha512:00", "main", &"A".repeat(64), &"0".repeat(63)] {
        for action in [
            world.create(),
            world.seal(),
            world.sign("v1"),
            cleanup(&world.create()),
        ] {
            let refused = action.input("record-digest", text).end_with(2);
            refused.says(&["input `record-digest`", "is not a SHA-256"]);
        }
    }
    assert_eq!(world.registry().requests(), []);
}

#[test]
fn steps_vouch_for_the_record_at_one_path_alone() {
    let world = World::new();
    let seal = world.seal().input("record", "out/./one.json");
    seal.succeed();
    let record = fs::read(seal.workspace().join("out/one.json")).unwrap();
    let other = cleanup(&seal).file("out/two.json", record);
    let left = other.clone().input("record", "out/two.json").succeed();
    assert_eq!(remaining(&left).len(), 1);
    // The path may be spelled differently.
    nothing_remains(&other.input("record", "./out/one.json").succeed());
    assert_eq!(world.tag("v1"), None);
}

#[test]
fn record_that_was_changed_behind_the_step_is_not_vouched_for() {
    let world = World::new();
    let seal = world.seal();
    seal.succeed();
    let mut text = bytes(&seal);
    text.push(b'\n');
    let changed = seal.clone().file(RECORD, text);
    let left = cleanup(&changed).succeed();
    assert_eq!(remaining(&left).len(), 1);
    left.says(&["but the step that wrote it exported `sha256:"]);
    assert!(world.tag("v1").is_some());
}

#[test]
fn outside_of_actions_the_input_alone_vouches() {
    let world = World::new();
    let create = outside(world.create());
    let log = create.succeed().log;
    assert_eq!(create.record()["run"], Value::Null);
    let said = format!(
        "pass `record-digest: {}` to continue the record `{RECORD}`",
        digest(&create)
    );
    assert!(log.contains(&said), "{log}");
    assert_eq!(remaining_outside(&cleanup(&create).succeed().log), 1);
    assert!(world.tag("v1").is_some());
    cleanup(&create)
        .input("record-digest", digest(&create))
        .succeed();
    assert_eq!(world.tag("v1"), None);
}

fn remaining_outside(log: &str) -> usize {
    log.lines()
        .filter(|line| line.contains("Manual steps: "))
        .count()
}

#[test]
fn record_of_this_run_is_continued_with_its_digest_and_only_read_without() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let first = world.seal().input("moving-tags", "latest");
    first.succeed();
    let again = |action: Action| action.env("GITHUB_RUN_ATTEMPT", "2");
    let held = |action: &Action| action.record()["images"][0]["tags"][1]["before"].clone();
    let vouched = again(first.elsewhere()).handed(RECORD, bytes(&first));
    assert_eq!(vouched.succeed().output("sign-skipped"), "true");
    assert_eq!(held(&vouched), json!(before));
    assert_eq!(vouched.record()["run"]["attempt"], 2);
    let observed = again(first.elsewhere()).file(RECORD, bytes(&first));
    let outcome = observed.succeed();
    outcome.says(&["is not trusted", "does not continue it"]);
    assert!(!outcome.log.contains("::warning"), "{}", outcome.log);
    assert_eq!(held(&observed), json!(world.tag("latest").unwrap()));
}

/// A signature that the registry does not list is found at the location in an earlier attempt's record: as a hint an unproven
/// record is sufficient.
#[test]
fn record_that_nothing_vouches_for_still_says_where_to_look() {
    let world = World::new();
    let seal = world.seal();
    let index = seal.succeed().output("digest").to_owned();
    let empty = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let oci = [("content-type", "application/vnd.oci.image.index.v1+json")];
    let path = format!("*/referrers/{index}");
    let hide = Fault::on("GET", &path).times(u32::MAX);
    world.registry().fault(hide.answer(200, &oci, empty));
    let again = seal.elsewhere().file(RECORD, bytes(&seal));
    let again = again.env("GITHUB_RUN_ATTEMPT", "2").succeed();
    assert_eq!(again.output("sign-skipped"), "true");
    assert_eq!(world.sigstore().entries(), 1);
}

#[test]
fn digests_of_another_run_are_signed_and_published_where_the_input_vouches() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let create = world.create().input("tags", "");
    let index = create.succeed().output("digest").to_owned();
    let run_200 = |action: Action| action.env("GITHUB_RUN_ID", "200");
    let sign = run_200(world.sign("v1").input("image", "")).handed(RECORD, bytes(&create));
    sign.succeed()
        .says(&["belongs to run 100", "not to run 200"]);
    assert_eq!(world.sigstore().entries(), 3);
    assert_eq!(sign.record()["run"]["id"], 200);
    let publish = run_200(pipeline.checked("built.json")).handed("built.json", bytes(&create));
    assert_eq!(publish.succeed().output("digest"), index);
    assert_eq!(pipeline.target.tags(TARGET)["v1"], index);
}

/// An image that a run with `sign: false` found under its tag, and that somebody else may have pushed.
#[test]
fn image_that_a_run_only_found_is_not_signed_or_published_unless_it_is_named() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let create = world.create().input("tags", "");
    let index = create.succeed().output("digest").to_owned();
    let mut record = create.record();
    record["images"][0]["observed"] = json!(true);
    let record = record.to_string();
    let says = format!(
        "found `{}` under a tag and did not make it",
        world.at(&index)
    );
    let sign = world.sign("v1").handed(RECORD, &record);
    for image in ["", &world.image()] {
        let refused = sign.clone().input("image", image).end_with(2);
        refused.says(&[&says, "hint: if it is the right image, name it"]);
    }
    assert_eq!((world.sigstore().entries(), world.certificates()), (0, 0));
    let publish = pipeline.publish("built.json").handed("built.json", &record);
    for sources in ["built.json", "built.json\n[TAG]"] {
        let sources = sources.replace("[TAG]", &world.at("v1"));
        publish
            .clone()
            .input("source", sources)
            .end_with(2)
            .says(&[&says]);
    }
    assert_eq!(pipeline.writes_there(), [""; 0]);
    sign.input("image", world.at(&index)).succeed();
    let named = publish.input("source", format!("built.json\n{}", world.at(&index)));
    assert_eq!(named.succeed().output("digest"), index);
}

/// An index by somebody else under the tag, with the right platforms, stays if nothing is signed.
#[test]
fn index_of_a_stranger_that_a_run_kept_is_not_signed_from_its_record() {
    let world = World::new();
    let mut theirs = index_of(&[
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
    ]);
    theirs["annotations"] = json!({"org.opencontainers.image.source": "https://evil.test"});
    let theirs = push(&world, Some("v1"), &theirs.to_string());
    let create = world.create();
    assert_eq!(create.succeed().output("result"), "unchanged");
    assert_eq!(create.record()["images"][0]["observed"], true);
    let sign = world
        .sign("v1")
        .input("image", "")
        .handed(RECORD, bytes(&create));
    sign.end_with(2)
        .says(&[&format!("found `{}` under a tag", world.at(&theirs))]);
    assert_eq!((world.sigstore().entries(), world.certificates()), (0, 0));
}

#[test]
fn cleanup_without_a_vouched_record_says_what_is_there_and_changes_nothing() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let seal = world
        .seal()
        .input("tags", "v1\nv2")
        .input("moving-tags", "latest,edge");
    let index = seal.succeed().output("digest").to_owned();
    world.registry().delete_tag(REPOSITORY, "v2");
    let tags = world.tags();
    world.registry().clear_requests();
    // The record is lost with the runner.
    let outcome = cleanup(&seal.elsewhere()).succeed();
    assert_eq!((world.tags(), world.writes()), (tags, vec![]));
    let left = remaining(&outcome);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["edge", "latest", "v1"]);
    for entry in left.values() {
        assert_eq!(
            (&entry["digest"], &entry["before"]),
            (&json!(index), &Value::Null)
        );
        assert_eq!(entry["why"], "there is no record `manifest-seal.json`");
    }
    let text = outcome.everything();
    for tag in ["edge", "latest", "v1"] {
        assert!(
            text.contains(&format!("{tag}`: left unchanged: it points to `{index}`")),
            "{text}"
        );
    }
    assert!(!text.contains(&before));
    outcome.says(&[
        "::warning",
        "there is no record",
        "v2`: left unchanged: it does not exist",
    ]);
    // A denied request does not mean that the tag is absent.
    world
        .registry()
        .fault(Fault::on("*", "*/manifests/v1").times(u32::MAX).status(403));
    let outcome = cleanup(&seal.elsewhere()).succeed();
    let left = remaining(&outcome);
    assert_eq!(left["v1"]["digest"], Value::Null);
    assert!(
        left["v1"]["why"].as_str().unwrap().contains("403"),
        "{left:?}"
    );
}

#[test]
fn nothing_is_changed_where_later_steps_cannot_be_told() {
    let world = World::new();
    let seal = world.seal().env("GITHUB_ENV", "/nowhere/env");
    seal.end_with(1)
        .says(&["could not write `/nowhere/env`, which `GITHUB_ENV` names"]);
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.sigstore().entries(), 0);
    assert!(!seal.workspace().join(RECORD).exists());
}

#[test]
fn image_by_itself_needs_no_record() {
    let world = World::new();
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
    let record = json!({"schema": 1, "images": []}).to_string();
    let sign = world.sign(&other.digest).file(RECORD, record);
    assert_eq!(sign.succeed().output("signed"), "true");
}
