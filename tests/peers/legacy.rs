//! Cosign's older format: it coexists with bundles, and the entries of others under the shared tag stay. A signature that
//! was moved from another image is refused by all verifiers and does not prevent signing.

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Cosign, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_child,
    push_index, text,
};

const BOTH: [Cosign; 2] = [Cosign::Two, Cosign::Three];

on_each_registry!(
    both_formats_stand_side_by_side,
    moved_from_another_image_is_refused,
    signatures_of_all_three_stay,
);

/// Tests the README's statement on cosign 2.6: with a bundle present it checks nothing else without further options.
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
    assert_eq!(layers(&repository, older.output("digest")).len(), 1);
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
    for (format, added) in [("legacy", 1), ("bundle", 0)] {
        let repository = registry.fresh();
        let theirs = push_child(&repository, "s390x", Flavour::Oci).digest;
        let sign = |digest: &str| Action::new("sign", &format!("{repository}@{digest}"));
        sign(&theirs)
            .input("signature-format", "legacy")
            .log(Log::Rekor1)
            .succeed();
        let children = two_children(&repository, Flavour::Oci);
        let index = push_index(&repository, &[&children[0], &children[1]], "v1");
        let child = &children[0].digest;
        for ours in [child, &index] {
            let (from, to) = (tag(&theirs), tag(ours));
            Tool::regctl(&repository)
                .args(["image", "copy"])
                .args([from, to].map(|tag| format!("{repository}:{tag}")))
                .succeed();
            let image = format!("{repository}@{ours}");
            let refused = Action::new("verify", &image).end_with(3).log;
            let why = format!("it signs `{theirs}`");
            assert!(refused.contains(&why), "{refused}");
            for cosign in BOTH {
                let verified = Tool::legacy_verify(cosign, &Workflow::default()).arg(&image);
                assert!(!verified.output().status.success(), "{cosign:?}");
            }
        }
        let moved = layers(&repository, &theirs);
        for (ours, run) in [
            (child, sign(child)),
            (
                &index,
                Action::seal(&repository, &digests(&children), &["v1"]),
            ),
        ] {
            let signed = run
                .input("signature-format", format)
                .log(Log::Rekor1)
                .succeed();
            assert_eq!(signed.output("digest"), ours);
            assert_eq!(signed.output("sign-skipped"), "false", "{}", signed.log);
            let held = layers(&repository, ours);
            assert_eq!(
                (held.len(), &held[..1]),
                (1 + added, &moved[..]),
                "{format}"
            );
            assert_eq!(Tool::bundles(&repository, ours).len(), 1 - added);
            let image = format!("{repository}@{ours}");
            Action::new("verify", &image).succeed();
            Tool::legacy_verify(Cosign::Three, &Workflow::default())
                .arg(&image)
                .succeed();
        }
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
        let after = layers(&repository, &child.digest);
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

fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// Returns the layers under the tag, each as its own text; none if there is no such tag.
pub(crate) fn layers(repository: &str, digest: &str) -> Vec<String> {
    let tag = tag(digest);
    let tags = Tool::crane().args(["ls", repository]).succeed();
    if !tags.lines().any(|known| known == tag) {
        return Vec::new();
    }
    let manifest = Tool::crane()
        .args(["manifest", &format!("{repository}:{tag}")])
        .succeed();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(ToString::to_string).collect()
}
