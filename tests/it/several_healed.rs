//! Content that one of several registries lost, or has in other bytes, is restored from the others.

use serde_json::json;

use crate::support::{MIRROR, REPOSITORY, Two, writes};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn child_that_one_registry_has_lost_is_brought_back() {
    let two = Two::new();
    let digest = two.seal().succeed().output("digest").to_owned();
    two.other.delete_manifest(MIRROR, &two.world.arm64.digest);
    let outcome = two.seal().succeed();
    assert_eq!(
        (outcome.output("digest"), outcome.output("result")),
        (digest.as_str(), "unchanged")
    );
    assert!(two.is_whole_in_both(&two.world.arm64));
    assert!(
        outcome.summary.contains("Copied&nbsp;content"),
        "{}",
        outcome.summary
    );
    // The registry that the digests refer to may be the one that lost it.
    two.world
        .registry()
        .delete_manifest(REPOSITORY, &two.world.amd64.digest);
    two.seal().input("max-attempts", "2").succeed();
    assert!(two.is_whole_in_both(&two.world.amd64));
}

/// Pushes an index of the world's images under `v1`, with an attestation of another build. This workflow signs it, which
/// vouches for it. Returns the digest of that attestation.
fn push_with_attestation(two: &Two) -> String {
    let registry = two.world.registry();
    let build = registry.push_index_with_provenance(REPOSITORY, "linux/amd64");
    let made = two.world.create().input("tags", "").succeed();
    let mut index = two.world.manifest(made.output("digest"));
    let provenance = two.world.manifest(&build.digest);
    let entries = provenance["manifests"].as_array().unwrap();
    let mut entry = entries[1].clone();
    entry["annotations"]["vnd.docker.reference.digest"] = json!(two.world.amd64.digest);
    index["manifests"].as_array_mut().unwrap().push(entry);
    let index = index.to_string();
    let digest = registry.push_raw(REPOSITORY, Some("v1"), INDEX, index.as_bytes());
    two.world.sign(&digest).succeed();
    build.attestation
}

#[test]
fn attestation_that_one_registry_has_lost_is_brought_back() {
    let two = Two::new();
    let attestation = push_with_attestation(&two);
    two.seal().succeed();
    assert!(two.other.manifest(MIRROR, &attestation).is_some());
    two.world
        .registry()
        .delete_manifest(REPOSITORY, &attestation);
    let again = two.seal().input("max-attempts", "2").succeed();
    assert_eq!(again.output("result"), "unchanged");
    assert!(
        two.world
            .registry()
            .manifest(REPOSITORY, &attestation)
            .is_some()
    );
}

#[test]
fn attestation_that_every_registry_has_lost_is_an_error() {
    let two = Two::new();
    let attestation = push_with_attestation(&two);
    let registry = two.world.registry();
    registry.delete_manifest(REPOSITORY, &attestation);
    let certificates = two.world.certificates();
    let outcome = two.seal().input("max-attempts", "2").end_with(1);
    outcome.says(&[&format!("`{}` was not found", two.world.at(&attestation))]);
    assert_eq!(two.world.certificates(), certificates);
    assert_eq!(writes(&two.other), [""; 0]);
}

#[test]
fn child_of_a_given_index_that_one_registry_has_lost_is_brought_back() {
    let two = Two::new();
    let registry = two.world.registry();
    let build = registry.push_index_with_provenance(REPOSITORY, "linux/amd64");
    let digests = format!("{}\n{}", build.digest, two.world.arm64.digest);
    let action = two
        .seal()
        .input("digests", digests)
        .input("max-attempts", "2");
    let first = action.succeed();
    for lost in [&build.image.digest, &build.attestation] {
        registry.delete_manifest(REPOSITORY, lost);
        let again = action.succeed();
        assert_eq!(again.output("digest"), first.output("digest"));
        assert!(registry.manifest(REPOSITORY, lost).is_some());
    }
}

#[test]
fn repository_whose_tags_all_hold_an_equivalent_index_is_not_written_again() {
    let two = Two::new();
    two.push_theirs("v1");
    two.seal().succeed();
    two.world.registry().clear_requests();
    two.other.clear_requests();
    let again = two.seal().succeed();
    assert_eq!(
        (again.output("result"), again.output("sign-skipped")),
        ("unchanged", "true")
    );
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn index_that_another_tool_nested_is_signed_down_to_its_images() {
    let two = Two::new();
    let registry = two.world.registry();
    let build = registry.push_index_with_provenance(REPOSITORY, "linux/s390x");
    let (media_type, bytes) = registry.manifest(REPOSITORY, &build.digest).unwrap();
    let arm64 = &two.world.arm64;
    let nested = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": media_type, "digest": build.digest, "size": bytes.len()},
        {"mediaType": arm64.media_type, "digest": arm64.digest, "size": arm64.size,
            "platform": {"os": "linux", "architecture": "arm64"}},
    ]});
    let nested = nested.to_string();
    let nested = registry.push_raw(REPOSITORY, Some("v1"), INDEX, nested.as_bytes());
    // Its entries differ from those that this run would write, so only a signature can vouch for it.
    two.world.sign(&nested).succeed();
    let digests = format!("{}\n{}", build.digest, arm64.digest);
    let seal = two.seal().input("digests", digests);
    let seal = seal.input("recursive", "true").input("max-attempts", "2");
    assert_eq!(seal.succeed().output("digest"), nested);
    let verify = two.verify_there().input("recursive", "true");
    verify.succeed();
    // The innermost manifests are restored too.
    two.other.delete_manifest(MIRROR, &build.image.digest);
    assert_eq!(seal.succeed().output("result"), "unchanged");
    assert!(two.other.manifest(MIRROR, &build.image.digest).is_some());
    verify.succeed();
}
