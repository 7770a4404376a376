//! Cosign's older format: whoever of cosign 2, cosign 3 and us signs in it, all three verify, index and children; what
//! others put under the shared tag stays; and what was moved from another image is refused by everybody.

use super::concurrency::at_once;
use super::interoperability::{digests, two_children};
use super::support::{
    Action, Child, Cosign, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_index,
    text,
};

const BOTH: [Cosign; 2] = [Cosign::Two, Cosign::Three];
const SIGNERS: usize = 8;

on_each_registry!(
    ours_is_verified,
    cosign_2s_is_verified,
    cosign_3s_is_verified,
    both_formats_stand_side_by_side,
    moved_from_another_image_is_refused,
    signatures_of_all_three_stay,
    eight_signers_lose_nothing,
);

fn ours_is_verified(registry: Registry) {
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let repository = registry.fresh();
        let children = two_children(&repository, flavour);
        let seal = Action::seal(&repository, &digests(&children), &["v1"])
            .input("signature-format", "legacy")
            .input("recursive", "true")
            .log(Log::Rekor1);
        let sealed = seal.succeed();
        assert_eq!(sealed.output("signed"), "true", "{}", sealed.log);
        assert_eq!(sealed.output("sign-skipped"), "false", "{}", sealed.log);
        all_verify(&repository, sealed.output("digest"), &children);
        assert_eq!(seal.succeed().output("sign-skipped"), "true");
    }
}

fn cosign_2s_is_verified(registry: Registry) {
    cosigns_is_verified(registry, Cosign::Two);
}

fn cosign_3s_is_verified(registry: Registry) {
    cosigns_is_verified(registry, Cosign::Three);
}

fn cosigns_is_verified(registry: Registry, cosign: Cosign) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    Tool::legacy_signing(cosign, &Workflow::default())
        .args(["--recursive", &format!("{repository}@{index}")])
        .succeed();
    all_verify(&repository, &index, &children);
    for format in ["bundle", "legacy"] {
        let sealed = Action::seal(&repository, &digests(&children), &["v1"])
            .input("signature-format", format)
            .input("recursive", "true")
            .log(Log::Rekor1)
            .succeed();
        assert_eq!(sealed.output("sign-skipped"), "true", "{}", sealed.log);
    }
    assert_eq!(signatures(&repository, &index).len(), 1);
}

/// What the README says of cosign 2.6: once a bundle is there, it does not look at anything else unless it is told more.
fn both_formats_stand_side_by_side(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]).log(Log::Rekor1);
    let older = seal.clone().input("signature-format", "legacy").succeed();
    let image = format!("{repository}@{}", older.output("digest"));
    let verify = |cosign| Tool::legacy_verify(cosign, &Workflow::default()).arg(&image);
    verify(Cosign::Two).succeed();
    let added = seal.input("signature-format", "both").succeed();
    assert_eq!(added.output("sign-skipped"), "false", "{}", added.log);
    assert_eq!(signatures(&repository, older.output("digest")).len(), 1);
    let bundles = Tool::bundles(&repository, older.output("digest"));
    assert_eq!(bundles.len(), 1);
    verify(Cosign::Three).succeed();
    Action::new("verify", &image).succeed();
    let plain = verify(Cosign::Two).output();
    assert!(!plain.status.success());
    assert!(text(&plain).contains("trusted root"), "{}", text(&plain));
    verify(Cosign::Two)
        .args(["--new-bundle-format", "--trusted-root"])
        .arg(super::support::stack("TRUSTED_ROOT"))
        .succeed();
}

fn moved_from_another_image_is_refused(registry: Registry) {
    let repository = registry.fresh();
    let [theirs, ours] = two_children(&repository, Flavour::Oci);
    Action::new("sign", &format!("{repository}@{}", theirs.digest))
        .input("signature-format", "legacy")
        .log(Log::Rekor1)
        .succeed();
    let (from, to) = (tag(&theirs.digest), tag(&ours.digest));
    Tool::regctl(&repository)
        .args(["image", "copy"])
        .args([from, to].map(|tag| format!("{repository}:{tag}")))
        .succeed();
    let image = format!("{repository}@{}", ours.digest);
    let refused = Action::new("verify", &image).end_with(3);
    assert!(
        refused
            .log
            .contains(&format!("it signs `{}`", theirs.digest)),
        "{}",
        refused.log
    );
    for cosign in BOTH {
        let verified = Tool::legacy_verify(cosign, &Workflow::default()).arg(&image);
        assert!(!verified.output().status.success(), "{cosign:?}");
    }
}

fn signatures_of_all_three_stay(registry: Registry) {
    let repository = registry.fresh();
    let [child, _] = two_children(&repository, Flavour::Oci);
    let image = format!("{repository}@{}", child.digest);
    let workflows = ["two", "ours", "three"].map(Workflow::named);
    let mut before = Vec::new();
    for (number, workflow) in workflows.iter().enumerate() {
        match number {
            0 => drop(
                Tool::legacy_signing(Cosign::Two, workflow)
                    .arg(&image)
                    .succeed(),
            ),
            1 => {
                let sign = Action::new("sign", &image).by(workflow).log(Log::Rekor1);
                sign.input("signature-format", "legacy").succeed();
            }
            _ => drop(
                Tool::legacy_signing(Cosign::Three, workflow)
                    .arg(&image)
                    .succeed(),
            ),
        }
        let after = signatures(&repository, &child.digest);
        assert_eq!((after.len(), &after[..number]), (number + 1, &before[..]));
        before = after;
    }
    for workflow in &workflows {
        Action::new("verify", &image).by(workflow).succeed();
        for cosign in BOTH {
            Tool::legacy_verify(cosign, workflow).arg(&image).succeed();
        }
    }
}

fn eight_signers_lose_nothing(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    let image = format!("{repository}@{index}");
    let workflows: Vec<Workflow> = (0..SIGNERS)
        .map(|number| Workflow::named(&format!("release-{number}")))
        .collect();
    // Each under an identity of its own, so that nobody can skip because of somebody else's signature.
    let outcomes = at_once(&workflows, |workflow| {
        let sign = Action::new("sign", &image).by(workflow).log(Log::Rekor1);
        sign.input("signature-format", "legacy").run()
    });
    for (workflow, outcome) in workflows.iter().zip(&outcomes) {
        assert_eq!(outcome.code, 0, "{}", outcome.log);
        assert_eq!(outcome.output("sign-skipped"), "false", "{}", outcome.log);
        Tool::legacy_verify(Cosign::Two, workflow)
            .arg(&image)
            .succeed();
    }
    let held = signatures(&repository, &index);
    println!(
        "{repository}: {SIGNERS} signers of the older format, {} reported, {} held",
        outcomes.len(),
        held.len()
    );
    assert_eq!(held.len(), SIGNERS);
}

/// Everybody verifies the index and each child; we verify all of them at once, too.
fn all_verify(repository: &str, index: &str, children: &[Child; 2]) {
    for digest in digests(children).into_iter().chain([index]) {
        for cosign in BOTH {
            Tool::legacy_verify(cosign, &Workflow::default())
                .arg(format!("{repository}@{digest}"))
                .succeed();
        }
    }
    let verified = Action::new("verify", &format!("{repository}@{index}"))
        .input("recursive", "true")
        .succeed();
    assert_eq!(verified.output("verified"), "true", "{}", verified.log);
}

fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// The layers under the tag, each as its own text.
fn signatures(repository: &str, digest: &str) -> Vec<String> {
    let manifest = Tool::crane()
        .args(["manifest", &format!("{repository}:{}", tag(digest))])
        .succeed();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(ToString::to_string).collect()
}
