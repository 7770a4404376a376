//! The record, and interrupted runs: the next run continues and reaches the same result.

use std::time::Duration;

use sandbox::Fault;
use serde_json::{Value, json};

use crate::support::cleanup::{earlier, outside};
use crate::support::{Action, Running, World, cleanup, until};

/// A delay longer than any test: the waiting run is killed before it ends.
const FOR_EVER: Duration = Duration::from_mins(10);

#[test]
fn record_lists_every_tag_before_and_after() {
    let world = World::new();
    let before = earlier(&world, "latest");
    world.create().succeed();
    let seal = world
        .seal()
        .input("tags", "v1\nv2")
        .input("moving-tags", "latest");
    let outcome = seal.succeed();
    let digest = outcome.output("digest");
    let tag = |name: &str, moving: bool, before: Value, state: &str| json!({"tag": name, "moving": moving, "before": before, "after": digest, "state": state});
    let first = [
        tag("v1", false, json!(digest), "kept"),
        tag("v2", false, Value::Null, "written"),
        tag("latest", true, json!(before), "written"),
    ];
    let image = &seal.record()["images"][0];
    assert_eq!(image["tags"], json!(first));
    assert_eq!(
        (&image["image"], &image["digest"]),
        (&json!(world.image()), &json!(digest))
    );
    let signature = &image["signatures"][0];
    assert_eq!(signature["manifest"], json!(world.listed(digest)[0]));
    assert_eq!(
        (&signature["made"], &signature["logIndex"]),
        (&json!(true), &json!(0))
    );
    // A rerun in the same workspace keeps the tag contents to restore.
    seal.succeed();
    assert_eq!(seal.record()["images"][0]["tags"], json!(first));
}

#[test]
fn failed_run_records_its_writes() {
    let world = World::new();
    world.registry().fault(
        Fault::on("PUT", "*/manifests/v2")
            .times(u32::MAX)
            .status(403),
    );
    let seal = world.seal().input("tags", "v1\nv2\nv3");
    let outcome = seal.end_with(1);
    let states: Vec<Value> = seal.record()["images"][0]["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["state"].clone())
        .collect();
    // The registry refused the write and does not show it.
    assert_eq!(states, ["written", "planned", "written"]);
    let keys: Vec<&str> = outcome.outputs.keys().map(String::as_str).collect();
    assert_eq!(keys, ["record", "record-digest"]);
    assert!(
        outcome
            .summary
            .contains("Written before the failure: `v1`, `v3`; 1 signed"),
        "{}",
        outcome.summary
    );
    world.registry().clear_faults();
    assert_eq!(seal.succeed().output("result"), "completed");
    assert_eq!(world.sigstore().entries(), 1);
}

#[test]
fn dry_run_writes_nothing_and_no_record() {
    let world = World::new();
    let action = world.seal().input("dry-run", "true");
    action.succeed();
    assert!(!action.workspace().join("manifest-seal.json").exists());
    assert_eq!(
        (
            world.writes(),
            world.sigstore().entries(),
            world.certificates()
        ),
        (Vec::new(), 0, 0)
    );
}

#[test]
fn terminated_run_reports_its_writes() {
    let world = World::new();
    world
        .registry()
        .fault(Fault::on("PUT", "*/manifests/v2").delay(FOR_EVER));
    let action = world.seal().input("moving-tags", "v2");
    let running = action.begin();
    until("the second tag", || world.tag("v2").is_some());
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    outcome.says(&[
        "the run was stopped by a signal (SIGTERM)",
        "hint: run it again",
    ]);
    assert!(
        outcome
            .summary
            .contains("Written before the failure: `v1`; 1 signed"),
        "{}",
        outcome.summary
    );
    let tags = action.record()["images"][0]["tags"].clone();
    let states: Vec<&Value> = tags
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["state"])
        .collect();
    // The run ended before the response for the second tag.
    assert_eq!(states, ["written", "intended"]);
    world.registry().clear_faults();
    action.succeed();
    assert_eq!(
        action.record()["images"][0]["tags"][1]["before"],
        Value::Null
    );
}

/// Starts a run that writes 99 tags, one of which is never answered. Waits until the registry has them, and the record has
/// most of the results.
fn writing_many(world: &World, create: Action) -> (Action, Running) {
    let last = Fault::on("PUT", "*/manifests/v98").times(u32::MAX);
    world.registry().fault(last.delay(FOR_EVER));
    let names: Vec<String> = (0..99).map(|number| format!("v{number}")).collect();
    let create = create.input("tags", names.join("\n"));
    let record = create.workspace().join("manifest-seal.json");
    let running = create.begin();
    until("the tags", || world.tags().len() == 99);
    until("the record", || {
        let text = std::fs::read_to_string(&record).unwrap();
        text.matches("\"written\"").count() >= 90
    });
    (create, running)
}

fn states(action: &Action) -> Vec<String> {
    let record = action.record();
    let tags = record["images"][0]["tags"].as_array().unwrap().iter();
    tags.map(|tag| tag["state"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn stopped_run_saves_the_last_results() {
    let world = World::new();
    let (create, running) = writing_many(&world, world.create());
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    let states = states(&create);
    let written = states.iter().filter(|state| *state == "written").count();
    assert_eq!(
        written,
        outcome.log.matches("` points to `").count(),
        "{}",
        outcome.log
    );
    assert_eq!(states[98], "intended");
}

#[test]
fn stopped_run_names_the_record_that_it_saved_last() {
    let world = World::new();
    let (create, running) = writing_many(&world, outside(world.create()));
    let outcome = running.terminate();
    let text = std::fs::read(create.workspace().join("manifest-seal.json")).unwrap();
    let digest = manifest_seal::domain::Digest::of(&text);
    let named = format!("record-digest: {digest}");
    assert_eq!(outcome.log.matches("record-digest: ").count(), 2);
    assert_eq!(outcome.log.matches(&named).count(), 2, "{}", outcome.log);
}

#[test]
fn killed_run_leaves_a_record_of_every_write_that_may_have_happened() {
    let world = World::new();
    let (create, running) = writing_many(&world, world.create());
    running.kill();
    let states = states(&create);
    let may_be_written = |state: &String| ["written", "intended"].contains(&state.as_str());
    assert!(states.iter().all(may_be_written), "{states:?}");
    world.registry().clear_faults();
    assert_eq!(world.tags().len(), 99);
    let outcome = cleanup(&create).succeed();
    assert!(world.tags().is_empty(), "{}", outcome.log);
}
