//! A record that a run does not continue is kept: it may be the only place with the digests that moving tags held.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use manifest_seal::domain::Digest;
use sandbox::Fault;
use serde_json::Value;

use crate::support::cleanup::{earlier, outside};
use crate::support::{Action, Outcome, World, cleanup, until};

const RECORD: &str = "manifest-seal.json";

/// Returns the kept records in the workspace, by name.
fn kept(action: &Action) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(action.workspace()).unwrap();
    let entries = entries.map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let kept = named.filter(|(name, _)| name.ends_with(".earlier"));
    kept.map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

fn bytes(action: &Action) -> Vec<u8> {
    fs::read(action.workspace().join(RECORD)).unwrap()
}

/// Returns the run as another run of the workflow.
fn in_run(action: &Action, id: &str) -> Action {
    action.clone().env("GITHUB_RUN_ID", id)
}

fn says_kept(outcome: &Outcome) {
    outcome.says(&["the record that this run writes does not continue it; the old file is kept under a name that ends in `.earlier`"]);
}

#[test]
fn record_that_is_not_continued_is_kept_under_a_name_of_its_content() {
    let world = World::new();
    let held = earlier(&world, "latest");
    let first = world.seal().input("moving-tags", "latest");
    first.succeed();
    let record = bytes(&first);
    assert_eq!(kept(&first).len(), 0, "nothing was there");
    // A vouched record of this run is continued.
    first.succeed();
    assert_eq!(kept(&first).len(), 0);
    let record_of_both = bytes(&first);
    // In the same attempt of another job, nothing vouches for it; in another run it is another's.
    for (id, left) in [("100", &record), ("200", &record_of_both)] {
        let action = in_run(&first.elsewhere(), id);
        let action = action.file(RECORD, left);
        says_kept(&action.succeed());
        let copies = kept(&action);
        assert_eq!(copies.values().collect::<Vec<_>>(), [left]);
        assert!(String::from_utf8_lossy(left).contains(&held));
        // The same content again gets the same name, and later steps continue the new record.
        says_kept(&action.clone().file(RECORD, left).succeed());
        assert_eq!(kept(&action), copies);
        action.succeed().does_not_say(&["does not continue it"]);
        assert_eq!(kept(&action), copies);
    }
    // With its digest, the kept record reverts what its run wrote.
    let name = format!("{RECORD}.0.earlier");
    let back = cleanup(&first.elsewhere()).input("record", &name);
    back.handed(&name, record).succeed();
    assert_eq!(world.tag("latest"), Some(held));
}

#[test]
fn nothing_is_copied_where_no_record_is_written() {
    let world = World::new();
    let first = world.seal();
    first.succeed();
    let record = bytes(&first);
    let other = |action: Action| in_run(&action.elsewhere(), "200").file(RECORD, &record);
    let dry = other(world.seal().input("dry-run", "true"));
    dry.succeed()
        .does_not_say(&["writes", "replaces it", "is kept"]);
    for action in [dry, other(world.verify("v1")), other(cleanup(&first))] {
        action.succeed();
        assert_eq!(kept(&action).len(), 0);
        assert_eq!(bytes(&action), record);
    }
}

#[test]
fn folder_with_the_name_of_the_copy_stops_no_run() {
    let world = World::new();
    let first = world.seal();
    first.succeed();
    let record = bytes(&first);
    let hex = Digest::of(&record).hex().to_owned();
    let action = in_run(&first.elsewhere(), "200").file(RECORD, &record);
    let action = action.file(&format!("{RECORD}.{}.earlier/x", &hex[..16]), "");
    action.succeed();
    let mut entries = fs::read_dir(action.workspace()).unwrap();
    assert!(entries.any(|entry| {
        let entry = entry.unwrap();
        let is_kept = entry.file_name().to_string_lossy().ends_with(".earlier");
        is_kept && fs::read(entry.path()).is_ok_and(|text| text == record)
    }));
}

/// Starts a run whose moving tag cannot be written, and waits for that write.
fn stuck(world: &World, action: &Action, tag: &str) -> Outcome {
    let slow = Fault::on("PUT", &format!("*/manifests/{tag}")).times(u32::MAX);
    world.registry().fault(slow.delay(Duration::from_mins(10)));
    world.registry().clear_requests();
    let mut running = action.begin();
    until("the write", || {
        let requests = world.registry().requests();
        running.has_ended() || requests.iter().any(|request| request.faulty)
    });
    let outcome = running.terminate();
    world.registry().clear_faults();
    outcome
}

#[test]
fn stopped_run_reports_how_to_continue_its_record() {
    let world = World::new();
    let held = earlier(&world, "latest,edge");
    let action = world.create().input("moving-tags", "latest");
    let told = stuck(&world, &action, "latest");
    told.says(&["hint: run it again; completed steps are skipped\n"]);
    let action = outside(action.elsewhere()).input("moving-tags", "edge");
    let told = stuck(&world, &action, "edge");
    let digest = Digest::of(&bytes(&action)).to_string();
    told.says(&[
        &format!("pass `record-digest: {digest}` to continue the record"),
        &format!("Pass `record-digest: {digest}`"),
    ]);
    let action = action.input("record-digest", &*digest);
    action.succeed();
    let tags: Value = serde_json::from_slice(&bytes(&action)).unwrap();
    assert_eq!(tags["images"][0]["tags"][1]["before"], held);
}
