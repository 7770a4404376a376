//! Parallel runs for one tag with different images: one of them gets it, and every other reports that it did not.

use std::fmt::Display;

use super::{SIGNERS, at_once, rounds};
use sandbox::Proof;

use crate::support::{
    Action, Child, Flavour, Outcome, Registry, Tool, on_each_registry, push_child,
};

on_each_registry!(one_tag_goes_to_one_of_eight);

/// The results of all rounds so far.
#[derive(Debug, Default)]
struct Counts {
    /// Succeeded, and the tag points to their index.
    won: usize,
    /// Reported that the tag points to another index.
    told: usize,
    /// Succeeded, but the tag points to another index.
    overrun: usize,
    /// Failed in another way.
    failed: usize,
}

fn one_tag_goes_to_one_of_eight(registry: Registry) {
    let mut counts = Counts::default();
    for _ in 0..rounds() {
        meet(registry, &mut counts);
    }
    let Counts {
        won,
        told,
        overrun,
        failed,
    } = counts;
    let processes = rounds() * SIGNERS;
    let head = [
        "registry",
        "processes #",
        "got the tag #",
        "said that it is another's #",
        "overrun unawares #",
        "failed otherwise #",
    ];
    let cells: [&dyn Display; 6] = [&registry.name(), &processes, &won, &told, &overrun, &failed];
    let mut proof = Proof::new("concurrency", "Eight runs for one tag", &head);
    proof.row(&cells);
    proof.join();
    assert_eq!((won, overrun, failed), (rounds(), 0, 0));
}

fn meet(registry: Registry, counts: &mut Counts) {
    let repository = registry.fresh();
    let children: Vec<Child> = (0..SIGNERS)
        .map(|number| push_child(&repository, &format!("arch{number}"), Flavour::Oci))
        .collect();
    let runs: Vec<Action> = children
        .iter()
        .map(|child| Action::seal(&repository, &[&child.digest], &["v1"]))
        .collect();
    let outcomes = at_once(&runs, Action::run);
    let held = Tool::crane()
        .args(["digest", &format!("{repository}:v1")])
        .succeed();
    for outcome in &outcomes {
        *count_of(outcome, &held, counts) += 1;
    }
    // From now on every losing run fails with a conflict, and the winner has nothing to do.
    for (run, outcome) in runs.iter().zip(&outcomes) {
        let again = run.run();
        let is_winner = outcome.outputs.get("digest") == Some(&held);
        assert_eq!(again.code, if is_winner { 0 } else { 3 }, "{}", again.log);
    }
}

fn count_of<'a>(outcome: &Outcome, held: &str, counts: &'a mut Counts) -> &'a mut usize {
    match outcome.code {
        0 if outcome.output("digest") == held => &mut counts.won,
        0 => {
            println!("overrun unawares: {}", outcome.summary);
            &mut counts.overrun
        }
        // The reported digest is the one that it read; a third run may have replaced that one since.
        3 if outcome.log.contains("points to another image") => &mut counts.told,
        code => {
            println!("exit code {code}: {}", outcome.summary);
            &mut counts.failed
        }
    }
}
