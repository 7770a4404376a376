//! Parallel runs: no reported signature is lost, in either format, with or without a shared tag. Runs of one workflow
//! have equal results.

mod contest;
mod mixed;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::thread;

use sandbox::Proof;
use serde_json::Value;

use super::interoperability::{digests, two_children};
use super::legacy::layers;
use super::support::{
    Action, Cosign, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_index,
};

const SIGNERS: usize = 8;

/// Returns the number of rounds.
fn rounds() -> usize {
    if Proof::is_wanted() { 20 } else { 2 }
}

on_each_registry!(
    keeping referrers:
    eight_signers_lose_no_bundle,
    eight_signers_lose_no_legacy_signature,
    eight_runs_of_one_workflow_end_alike,
);

fn eight_signers_lose_no_bundle(registry: Registry) {
    eight_signers_lose_nothing(registry, "bundle", Log::Rekor2);
}

fn eight_signers_lose_no_legacy_signature(registry: Registry) {
    eight_signers_lose_nothing(registry, "legacy", Log::Rekor1);
}

/// The results of all rounds so far.
#[derive(Debug, Default)]
struct Counts {
    failed: usize,
    made: usize,
    skipped: usize,
    held: usize,
    lost: usize,
}

fn eight_signers_lose_nothing(registry: Registry, format: &str, log: Log) {
    let mut counts = Counts::default();
    for _ in 0..rounds() {
        meet(registry, format, log, &mut counts);
    }
    let Counts {
        failed,
        made,
        skipped,
        held,
        lost,
    } = counts;
    let processes = rounds() * SIGNERS;
    let head = [
        "registry",
        "format",
        "processes #",
        "reported made #",
        "reported skipped #",
        "failed #",
        "held #",
        "lost #",
    ];
    let cells: [&dyn Display; 8] = [
        &registry.name(),
        &format,
        &processes,
        &made,
        &skipped,
        &failed,
        &held,
        &lost,
    ];
    let mut proof = Proof::new("concurrency", "Eight signers of one digest", &head);
    proof.row(&cells);
    proof.join();
    assert_eq!(
        (failed, lost, made + skipped, held),
        (0, 0, processes, made)
    );
}

/// Signs one digest with eight signers in parallel, then compares each report with the registry's final content.
fn meet(registry: Registry, format: &str, log: Log, counts: &mut Counts) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    let image = format!("{repository}@{index}");
    // Two signers share each workflow: the later one may find the signature of the other.
    let workflows: Vec<Workflow> = (0..SIGNERS)
        .map(|number| Workflow::named(&format!("release-{}", number / 2)))
        .collect();
    let outcomes = at_once(&workflows, |workflow| {
        Action::new("sign", &image)
            .input("signature-format", format)
            .log(log)
            .by(workflow)
            .run()
    });
    let held = held(&repository, &index, format);
    counts.held += held.len();
    for (workflow, outcome) in workflows.iter().zip(&outcomes) {
        if outcome.code != 0 {
            counts.failed += 1;
            println!("{image}: exit code {}\n{}", outcome.code, outcome.log);
            continue;
        }
        let reported: Value = serde_json::from_str(outcome.output("signatures")).unwrap();
        let [reported] = &reported.as_array().unwrap()[..] else {
            panic!("one signature is expected: {reported}");
        };
        match outcome.output("sign-skipped") {
            "false" => counts.made += 1,
            _ => counts.skipped += 1,
        }
        if !held.contains(&reported["log-index"].as_u64().unwrap()) {
            counts.lost += 1;
            println!("{image} has lost {reported}\n{}", outcome.log);
            continue;
        }
        Tool::legacy_verify(Cosign::Three, workflow)
            .arg(&image)
            .succeed();
    }
}

/// Returns the log indexes of the signatures in the registry, as read by other tools.
fn held(repository: &str, digest: &str, format: &str) -> BTreeSet<u64> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    if format == "legacy" {
        let layers = layers(repository, digest);
        let place = |layer: &String| {
            let layer = parse(layer);
            let bundle = &layer["annotations"]["dev.sigstore.cosign/bundle"];
            parse(bundle.as_str().unwrap())["Payload"]["logIndex"]
                .as_u64()
                .unwrap()
        };
        layers.iter().map(place).collect()
    } else {
        let bundles = Tool::bundles(repository, digest);
        let place = |bundle: &String| {
            let entry = &parse(bundle)["verificationMaterial"]["tlogEntries"][0];
            entry["logIndex"].as_str().unwrap_or("0").parse().unwrap()
        };
        bundles.iter().map(place).collect()
    }
}

fn eight_runs_of_one_workflow_end_alike(registry: Registry) {
    let signed: usize = (0..rounds()).map(|_| meet_in_one_workflow(registry)).sum();
    let processes = rounds() * SIGNERS;
    let head = [
        "registry",
        "processes #",
        "digests for each round #",
        "signed #",
        "held #",
    ];
    let cells: [&dyn Display; 5] = [&registry.name(), &processes, &1, &signed, &signed];
    let mut proof = Proof::new("concurrency", "Eight runs of one workflow", &head);
    proof.row(&cells);
    proof.join();
}

/// Returns the number of runs that signed, which is also the number of signatures in the registry.
fn meet_in_one_workflow(registry: Registry) -> usize {
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
    assert_eq!(held.len(), signers);
    // A later run has nothing to do.
    let later = runs[0].succeed();
    assert_eq!(later.output("result"), "unchanged", "{}", later.log);
    assert_eq!(later.output("sign-skipped"), "true", "{}", later.log);
    signers
}

/// Runs `work` for all items in parallel.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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
