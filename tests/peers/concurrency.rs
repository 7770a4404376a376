//! Many signers of one digest at once: no signature that was reported is lost, shared fallback tag or not.

use std::collections::BTreeSet;
use std::thread;

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Flavour, Outcome, Registry, Tool, Workflow, on_each_registry, push_index,
};

const SIGNERS: usize = 8;

on_each_registry!(
    eight_signers_lose_nothing,
    eight_runs_of_one_workflow_end_alike,
);

fn eight_signers_lose_nothing(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    let workflows: Vec<Workflow> = (0..SIGNERS)
        .map(|number| Workflow::named(&format!("release-{number}")))
        .collect();
    // Each under an identity of its own, so that nobody can skip because of somebody else's signature.
    let outcomes = at_once(&workflows, |workflow| {
        Action::new("sign", &format!("{repository}@{index}"))
            .by(workflow)
            .run()
    });
    let mut reported = 0;
    for (workflow, outcome) in workflows.iter().zip(&outcomes) {
        assert_eq!(outcome.code, 0, "{}", outcome.log);
        assert_eq!(outcome.output("signed"), "true", "{}", outcome.log);
        assert_eq!(outcome.output("sign-skipped"), "false", "{}", outcome.log);
        reported += 1;
        Tool::cosign_verify(workflow)
            .arg(format!("{repository}@{index}"))
            .succeed();
    }
    let held: BTreeSet<_> = Tool::bundles(&repository, &index).into_iter().collect();
    println!(
        "{repository}: {SIGNERS} signers, {reported} reported, {} held",
        held.len()
    );
    assert_eq!(held.len(), SIGNERS);
}

fn eight_runs_of_one_workflow_end_alike(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let runs: Vec<Action> = (0..SIGNERS)
        .map(|_| Action::seal(&repository, &digests(&children), &["v1"]))
        .collect();
    let outcomes = at_once(&runs, Action::run);
    let signers = outcomes
        .iter()
        .inspect(|outcome| assert_eq!(outcome.code, 0, "{}", outcome.log))
        .filter(|outcome| outcome.output("sign-skipped") == "false")
        .count();
    let results: BTreeSet<&str> = outcomes
        .iter()
        .map(|outcome| outcome.output("digest"))
        .collect();
    assert_eq!(results.len(), 1, "{results:?}");
    let index = outcomes[0].output("digest");
    let held: BTreeSet<_> = Tool::bundles(&repository, index).into_iter().collect();
    println!(
        "{repository}: {SIGNERS} runs, {signers} signed, {} held",
        held.len()
    );
    assert_eq!(held.len(), signers);
    // Whoever comes later has nothing to do.
    let later = runs[0].succeed();
    assert_eq!(later.output("result"), "unchanged", "{}", later.log);
    assert_eq!(later.output("sign-skipped"), "true", "{}", later.log);
}

/// Does `work` for each item at the same time.
pub(crate) fn at_once<T: Sync>(items: &[T], work: impl Fn(&T) -> Outcome + Sync) -> Vec<Outcome> {
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(|| work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}
