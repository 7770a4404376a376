//! The record, and interrupted runs: the next run continues and reaches the same result.

use std::time::Duration;

use sandbox::{Fault, Options, Referrers, Request};
use serde_json::{Value, json};

use crate::support::cleanup::earlier;
use crate::support::{Action, World, until};

/// A delay longer than any test: the waiting run is killed before it ends.
const FOR_EVER: Duration = Duration::from_mins(10);

#[test]
fn record_tells_before_and_after_of_every_tag() {
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
fn run_that_fails_half_way_has_told_what_it_did() {
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

/// The state of a world after a complete run, or after an interrupted run and its rerun.
#[derive(Debug, PartialEq)]
struct End {
    digest: String,
    tags: Vec<(String, String)>,
    signatures: Vec<usize>,
}

fn end(world: &World, rerun: &Action) -> End {
    let digest = rerun.succeed().output("digest").to_owned();
    let subjects = [&digest, &world.amd64.digest, &world.arm64.digest];
    End {
        signatures: subjects.map(|subject| world.listed(subject).len()).to_vec(),
        tags: world.tags().into_iter().collect(),
        digest,
    }
}

/// The server whose request a run is killed at.
#[derive(Clone, Copy, Debug)]
enum At {
    Registry,
    Sigstore,
}

impl At {
    fn fault(self, world: &World, fault: Fault) {
        match self {
            Self::Registry => world.registry().fault(fault),
            Self::Sigstore => world.sigstore().fault(fault),
        }
    }

    fn requests(self, world: &World) -> Vec<Request> {
        match self {
            Self::Registry => world.registry().requests(),
            Self::Sigstore => world.sigstore().requests(),
        }
    }
}

/// Kills a run at its `k`-th request, after the request took effect and before the response. Compares the result of the rerun
/// with `expected`. Returns false if the run ended before, which timing may cause for the last requests.
fn killed_at(options: &Options, at: At, k: u64, expected: &End) -> bool {
    let world = World::with(options.clone());
    let action = sealing(&world);
    at.fault(&world, Fault::at(k).delay(FOR_EVER));
    let reached = || at.requests(&world).iter().any(|request| request.faulty);
    let mut running = action.begin();
    let mut ended = false;
    until("a request", || {
        ended = running.has_ended();
        ended || reached()
    });
    running.kill();
    // Half of the reruns are the next step of the same job, the others run on another machine.
    let rerun = if k.is_multiple_of(2) {
        action
    } else {
        action.elsewhere()
    };
    assert_eq!(
        end(&world, &rerun),
        *expected,
        "killed at request {k} to {at:?}"
    );
    world.verify("v1").input("recursive", "true").succeed();
    !ended
}

fn sealing(world: &World) -> Action {
    world
        .seal()
        .input("tags", "v1\nv1.0")
        .input("moving-tags", "latest")
        .input("recursive", "true")
}

#[test]
fn run_that_is_killed_anywhere_is_completed_by_the_next() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let options = Options::new().referrers(kind);
        let whole = World::with(options.clone());
        sealing(&whole).succeed();
        let places = [At::Registry, At::Sigstore]
            .map(|at| (1..=at.requests(&whole).len() as u64).map(move |k| (at, k)));
        let places: Vec<(At, u64)> = places.into_iter().flatten().collect();
        let expected = &end(&whole, &sealing(&whole));
        assert_eq!(
            (expected.signatures.as_slice(), expected.tags.len()),
            ([1, 1, 1].as_slice(), 3)
        );
        let options = &options;
        // Threads run concurrently: most of their time they wait for the list of signatures to settle.
        let killed: usize = std::thread::scope(|scope| {
            let share = |share: &[(At, u64)]| {
                let share = share.to_vec();
                scope.spawn(move || {
                    share
                        .into_iter()
                        .filter(|(at, k)| killed_at(options, *at, *k, expected))
                        .count()
                })
            };
            let threads: Vec<_> = places.chunks(places.len().div_ceil(8)).map(share).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        eprintln!("killed at {killed} of {} requests", places.len());
        assert!(
            killed + 3 >= places.len() && killed > 30,
            "{killed} of {}",
            places.len()
        );
    }
}

#[test]
fn run_that_is_told_to_end_says_what_happened() {
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
