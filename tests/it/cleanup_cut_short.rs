//! Runs that are killed or stopped at any moment. A cleanup restores the tags, or reports the work that it did not finish.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options, Referrers};

use crate::support::cleanup::{earlier, nothing_remains, remaining, sealing};
use crate::support::{World, cleanup, until};

/// A delay longer than any test: the waiting run is killed before it ends.
const FOR_EVER: Duration = Duration::from_mins(10);

/// Kills a run at its `k`-th request to the registry, after the request took effect; then cleans up.
fn killed_and_cleaned(options: &Options, k: u64) -> bool {
    let world = World::with(options.clone());
    earlier(&world, "latest");
    let before = world.tags();
    let action = sealing(&world);
    world.registry().fault(Fault::at(k).delay(FOR_EVER));
    let reached = || {
        world
            .registry()
            .requests()
            .iter()
            .any(|request| request.faulty)
    };
    let mut running = action.begin();
    let mut ended = false;
    until("a request", || {
        ended = running.has_ended();
        ended || reached()
    });
    running.kill();
    world.registry().clear_faults();
    let outcome = cleanup(&action).succeed();
    // A run killed before it started has left no record, so the cleanup checks every tag.
    if action.workspace().join("manifest-seal.json").exists() {
        nothing_remains(&outcome);
    }
    assert_eq!(
        world.tags(),
        before,
        "killed at request {k}\n{}",
        outcome.log
    );
    cleanup(&action).succeed();
    assert_eq!(world.tags(), before, "killed at request {k}, cleaned twice");
    !ended
}

#[test]
fn run_that_is_killed_anywhere_leaves_no_tag_behind_a_cleanup() {
    for options in [
        Options::new(),
        Options::new()
            .referrers(Referrers::TagSchema)
            .deletes(Deletes::Digests),
    ] {
        let whole = World::with(options.clone());
        earlier(&whole, "latest");
        whole.registry().clear_requests();
        sealing(&whole).succeed();
        let requests: Vec<u64> = (1..=whole.registry().requests().len() as u64).collect();
        let options = &options;
        let killed: usize = std::thread::scope(|scope| {
            let share = |share: &[u64]| {
                let share = share.to_vec();
                scope.spawn(move || {
                    let killed = share.iter().filter(|k| killed_and_cleaned(options, **k));
                    killed.count()
                })
            };
            let threads: Vec<_> = requests
                .chunks(requests.len().div_ceil(8))
                .map(share)
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        eprintln!("killed at {killed} of {} requests", requests.len());
        assert!(killed + 3 >= requests.len() && killed > 20, "{killed}");
    }
}

#[test]
fn cleanup_that_is_cut_short_hands_over_what_it_did_not_come_to() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let seal = sealing(&world);
    seal.succeed();
    let registry = world.registry();
    registry.fault(Fault::on("DELETE", "*/manifests/v1").delay(FOR_EVER));
    let running = cleanup(&seal).begin();
    until("the deletion", || {
        registry.requests().iter().any(|request| request.faulty)
    });
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    // The report does not list the work that was finished before.
    assert_eq!(world.tag("latest"), Some(before));
    let remaining = remaining(&outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["edge", "v1", "v1.0"]);
    assert_eq!(remaining["v1"]["why"], "the run ended before");
    assert!(
        outcome.summary.contains("not&nbsp;reverted"),
        "{}",
        outcome.summary
    );
    // The next cleanup finishes the work.
    nothing_remains(&cleanup(&seal).succeed());
    assert_eq!(world.tags().len(), 1);
}
