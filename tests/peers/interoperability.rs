//! What we sign, cosign verifies; what cosign signs, we verify and do not sign again; on each registry, with each log.

use super::support::{
    Action, Child, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_child, push_index,
};

on_each_registry!(
    ours_is_verified_with_rekor1,
    ours_is_verified_with_rekor2,
    cosigns_is_verified_with_rekor1,
    cosigns_is_verified_with_rekor2,
    docker_children_are_sealed_and_verified,
);

fn ours_is_verified_with_rekor1(registry: Registry) {
    ours_is_verified(registry, Log::Rekor1, Flavour::Oci);
}

fn ours_is_verified_with_rekor2(registry: Registry) {
    ours_is_verified(registry, Log::Rekor2, Flavour::Oci);
}

fn docker_children_are_sealed_and_verified(registry: Registry) {
    ours_is_verified(registry, Log::Rekor2, Flavour::Docker);
}

fn cosigns_is_verified_with_rekor1(registry: Registry) {
    cosigns_is_verified(registry, Log::Rekor1);
}

fn cosigns_is_verified_with_rekor2(registry: Registry) {
    cosigns_is_verified(registry, Log::Rekor2);
}

fn ours_is_verified(registry: Registry, log: Log, flavour: Flavour) {
    let repository = registry.fresh();
    let children = two_children(&repository, flavour);
    let sealed = Action::seal(&repository, &digests(&children), &["v1"])
        .input("recursive", "true")
        .log(log)
        .succeed();
    assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
    assert_eq!(sealed.output("signed"), "true", "{}", sealed.log);
    let index = sealed.output("digest");
    // The digest that was reported is the one that the tag holds, by somebody else's account.
    let held = Tool::crane()
        .args(["digest", &format!("{repository}:v1")])
        .succeed();
    assert_eq!(index, held);
    let media_type = manifest(&repository, index)["mediaType"].clone();
    let expected = match flavour {
        Flavour::Oci => "application/vnd.oci.image.index.v1+json",
        Flavour::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
    };
    assert_eq!(media_type, expected);
    for digest in digests(&children).into_iter().chain([index]) {
        assert_eq!(Tool::bundles(&repository, digest).len(), 1, "{digest}");
    }
    all_verify(&repository, index, &children);
    Tool::pasted(sealed.output("verify-command")).succeed();
}

fn cosigns_is_verified(registry: Registry, log: Log) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    Tool::cosign_signing("sign", log, &Workflow::default())
        .args(["--recursive", &format!("{repository}@{index}")])
        .succeed();
    all_verify(&repository, &index, &children);
    let sealed = Action::seal(&repository, &digests(&children), &["v1"])
        .input("recursive", "true")
        .log(log)
        .succeed();
    assert_eq!(sealed.output("result"), "unchanged", "{}", sealed.log);
    assert_eq!(sealed.output("sign-skipped"), "true", "{}", sealed.log);
    for digest in digests(&children).into_iter().chain([index.as_str()]) {
        assert_eq!(Tool::bundles(&repository, digest).len(), 1, "{digest}");
    }
}

/// cosign verifies the index and each child; we verify all of them at once, by digest and by tag.
fn all_verify(repository: &str, index: &str, children: &[Child; 2]) {
    for digest in digests(children).into_iter().chain([index]) {
        Tool::cosign_verify(&Workflow::default())
            .arg(format!("{repository}@{digest}"))
            .succeed();
    }
    for image in [format!("{repository}@{index}"), format!("{repository}:v1")] {
        let verified = Action::new("verify", &image)
            .input("recursive", "true")
            .succeed();
        assert_eq!(verified.output("verified"), "true", "{}", verified.log);
    }
}

/// Policy engines choose by the entry's type, and cosign's own entries carry the wrong one.
#[test]
fn fallback_entry_says_what_it_is() {
    for registry in [Registry::Debian, Registry::Distribution] {
        let repository = registry.fresh();
        let children = two_children(&repository, Flavour::Oci);
        let sealed = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
        let tag = sealed.output("digest").replace(':', "-");
        let fallback = Tool::crane()
            .args(["manifest", &format!("{repository}:{tag}")])
            .succeed();
        let fallback: serde_json::Value = serde_json::from_str(&fallback).unwrap();
        let entries = fallback["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{fallback}");
        assert_eq!(
            entries[0]["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json",
            "{fallback}"
        );
    }
}

fn manifest(repository: &str, digest: &str) -> serde_json::Value {
    let text = Tool::crane()
        .args(["manifest", &format!("{repository}@{digest}")])
        .succeed();
    serde_json::from_str(&text).unwrap()
}

/// Two images, for amd64 and arm64.
pub(crate) fn two_children(repository: &str, flavour: Flavour) -> [Child; 2] {
    ["amd64", "arm64"].map(|architecture| push_child(repository, architecture, flavour))
}

/// Their digests.
pub(crate) fn digests(children: &[Child]) -> Vec<&str> {
    children.iter().map(|child| child.digest.as_str()).collect()
}
