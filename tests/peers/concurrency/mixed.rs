//! Our runs beside cosign's, which does not check whether its write persists. Our runs lose none of their own signatures.
//! The losses to others under a tag without a lock are counted, and the README states them.

use std::fmt::Display;

use super::{SIGNERS, at_once, rounds};
use crate::interoperability::two_children;
use sandbox::Proof;

use crate::support::{
    Action, Cosign, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_index,
};

on_each_registry!(
    keeping referrers:
    bundles_beside_cosign_are_counted,
    legacy_signatures_beside_cosign_are_counted,
);

fn bundles_beside_cosign_are_counted(registry: Registry) {
    // Without a shared tag every referrer is an object of its own, and nothing may be lost.
    let is_shared = matches!(registry, Registry::Debian | Registry::Distribution);
    beside_cosign(registry, "bundle", Log::Rekor2, is_shared);
}

fn legacy_signatures_beside_cosign_are_counted(registry: Registry) {
    beside_cosign(registry, "legacy", Log::Rekor1, true);
}

/// The signers that reported a stored signature, and the number of those that are stored.
#[derive(Debug, Default)]
struct Counts {
    ours: usize,
    ours_held: usize,
    theirs: usize,
    theirs_held: usize,
}

fn beside_cosign(registry: Registry, format: &str, log: Log, is_shared: bool) {
    let mut counts = Counts::default();
    for _ in 0..rounds() {
        meet(registry, format, log, &mut counts);
    }
    let Counts {
        ours,
        ours_held,
        theirs,
        theirs_held,
    } = counts;
    let head = [
        "registry",
        "format",
        "ours, stored by their word #",
        "lost #",
        "cosign's, stored by its word #",
        "lost #",
    ];
    let cells: [&dyn Display; 6] = [
        &registry.name(),
        &format,
        &ours,
        &(ours - ours_held),
        &theirs,
        &(theirs - theirs_held),
    ];
    let mut proof = Proof::new("concurrency", "Four of ours beside four of cosign's", &head);
    proof.row(&cells);
    proof.join();
    assert!(ours > 0 && theirs > 0, "{counts:?}");
    if !is_shared {
        assert_eq!((ours, theirs), (ours_held, theirs_held));
    }
}

/// Signs one digest in parallel; every other signer is a cosign.
fn meet(registry: Registry, format: &str, log: Log, counts: &mut Counts) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    let image = format!("{repository}@{index}");
    let workflows: Vec<(usize, Workflow)> = (0..SIGNERS)
        .map(|number| (number, Workflow::named(&format!("release-{number}"))))
        .collect();
    let is_ours = |number: usize| number.is_multiple_of(2);
    let stored: Vec<bool> = at_once(&workflows, |(number, workflow)| {
        if is_ours(*number) {
            let sign = Action::new("sign", &image).input("signature-format", format);
            let outcome = sign.log(log).by(workflow).run();
            if outcome.code != 0 {
                println!("ours: exit code {}\n{}", outcome.code, outcome.log);
            }
            return outcome.code == 0;
        }
        let cosign = match format {
            "legacy" => Tool::legacy_signing(Cosign::Three, workflow),
            _ => Tool::cosign_signing("sign", log, workflow),
        };
        cosign.arg(&image).output().status.success()
    });
    for ((number, workflow), stored) in workflows.iter().zip(stored) {
        let verify = Tool::legacy_verify(Cosign::Three, workflow).arg(&image);
        let is_held = verify.output().status.success();
        let (said, kept) = if is_ours(*number) {
            (&mut counts.ours, &mut counts.ours_held)
        } else {
            (&mut counts.theirs, &mut counts.theirs_held)
        };
        *said += usize::from(stored);
        *kept += usize::from(stored && is_held);
    }
}
