//! What is wrong with one of several registries is told by its name, and is nobody else's trouble.

use sandbox::{Fault, Kind, Referrers};
use serde_json::{Value, json};

use crate::several::{MIRROR, Two, writes};
use crate::support::{Action, REPOSITORY, World, listed};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn denied(tag: &str) -> sandbox::Trigger {
    Fault::on("GET", &format!("*/manifests/{tag}")).times(u32::MAX)
}

#[test]
fn repository_that_answers_for_one_tag_is_none_that_was_never_seen() {
    let two = Two::new();
    two.other
        .fault(denied("v1").registry_error(403, "DENIED", "denied"));
    let tags = [&two.there("v1"), &two.there("v2"), "v1"];
    let outcome = two.seal().input("tags", tags.join("\n")).end_with(1);
    outcome.says(&[&two.there("v1"), "403"]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn nothing_is_brought_anywhere_while_another_repository_will_not_say() {
    let two = Two::new();
    two.other
        .fault(Fault::on("GET", "*/manifests/v1").registry_error(403, "DENIED", "denied"));
    let here = denied("v1").registry_error(403, "DENIED", "denied");
    two.world.registry().fault(here);
    let tags = format!("{}\nv1", two.there("v1"));
    let outcome = two.seal().input("tags", tags).end_with(1);
    outcome.says(&[&two.world.at("v1"), "403"]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

/// The index of the world's images with what another tool adds, under `v1`. Returns the digest of what it added.
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
    registry.push_raw(REPOSITORY, Some("v1"), INDEX, index.as_bytes());
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
    let outcome = two.seal().input("max-attempts", "2").end_with(1);
    outcome.says(&[&format!("`{}` is not there", two.world.at(&attestation))]);
    assert_eq!((two.world.certificates(), writes(&two.other)), (0, vec![]));
}

#[test]
fn repository_whose_tags_all_hold_an_equivalent_index_is_not_written_again() {
    let two = Two::new();
    let ours = two.world.create().succeed();
    let (media_type, bytes) = two
        .world
        .registry()
        .manifest(REPOSITORY, ours.output("digest"))
        .unwrap();
    let pretty =
        serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&bytes).unwrap()).unwrap();
    for platform in ["linux/amd64", "linux/arm64"] {
        two.other.push_image(MIRROR, platform, Kind::Oci);
    }
    two.other.push_raw(MIRROR, Some("v1"), &media_type, &pretty);
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

/// A run that signs many images.
fn seal_many(two: &Two) -> (Action, Vec<String>) {
    let platforms = [
        "386", "arm/v5", "arm/v6", "arm/v7", "s390x", "ppc64le", "riscv64", "mips", "mips64",
        "loong64",
    ];
    let push = |platform: &&str| {
        let platform = format!("linux/{platform}");
        let registry = two.world.registry();
        registry.push_image(REPOSITORY, &platform, Kind::Oci).digest
    };
    let images: Vec<String> = platforms.iter().map(push).collect();
    let action = two.seal().input("digests", images.join("\n"));
    (action.input("recursive", "true"), images)
}

#[test]
fn registry_that_takes_no_signatures_keeps_no_image_of_another_unsigned() {
    let two = Two::new();
    let (action, images) = seal_many(&two);
    let broken = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    two.other
        .fault(broken.registry_error(403, "DENIED", "no such tags"));
    let outcome = action.input("on-signing-failure", "warn").succeed();
    for image in &images {
        let signed = listed(two.world.registry(), REPOSITORY, image);
        assert_eq!(signed.len(), 1, "{}", outcome.log);
    }
    let refused = two
        .other
        .requests()
        .into_iter()
        .filter(|request| request.faulty);
    assert!(refused.count() <= 8, "an outage is found out once");
}

#[test]
fn signature_that_is_there_is_copied_whatever_ails_fulcio() {
    let two = Two::new();
    let first = two.world.seal().succeed();
    two.world.sigstore().fault(
        Fault::on("POST", "/api/v2/signingCert")
            .times(u32::MAX)
            .status(403),
    );
    let action = two.seal().input("recursive", "true");
    let outcome = action.input("on-signing-failure", "warn").succeed();
    outcome.says(&["stays unsigned"]);
    let digest = first.output("digest");
    assert_eq!(
        listed(&two.other, MIRROR, digest).len(),
        1,
        "{}",
        outcome.log
    );
}

#[test]
fn tag_that_is_no_list_of_signatures_is_told_by_its_full_name() {
    let two = Two::new();
    let digest = two.seal().input("command", "create").succeed();
    let digest = digest.output("digest");
    for tag in [
        digest.replace(':', "-"),
        format!("{}.sig", digest.replace(':', "-")),
    ] {
        two.other.push_image(MIRROR, "linux/amd64", Kind::Oci);
        two.other.tag(MIRROR, &tag, &two.world.amd64.digest);
        let outcome = two.seal().input("signature-format", "both").end_with(1);
        outcome.says(&["::error", &two.there(&tag)]);
        two.other.delete_tag(MIRROR, &tag);
    }
}

#[test]
fn image_that_has_lost_its_config_is_told_by_its_full_name() {
    let two = Two::new();
    let s390x = two.other.push_image(MIRROR, "linux/s390x", Kind::Oci);
    two.other.delete_blob(MIRROR, &s390x.config);
    let there = format!("{}@{}", two.other.repository(MIRROR), s390x.digest);
    let digests = format!("{}\n{there}", two.world.amd64.digest);
    let outcome = two.seal().input("digests", digests).end_with(1);
    outcome.says(&[&format!("`{there}` has lost its config")]);
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
fn several_repositories_that_were_never_seen_are_brought_the_images() {
    let world = World::new();
    let hides = sandbox::Options::new()
        .hides_new(true)
        .referrers(Referrers::TagSchema);
    let other = sandbox::Registry::start(hides.bearer("u", "p"));
    let auths = format!(
        "- registry: {}\n  username: u\n  password: p",
        other.address()
    );
    let full = |name: &str, tag: &str| format!("{}:{tag}", other.repository(name));
    let tags = [full("a/a", "v1"), full("a/a", "v2"), full("b/b", "v1")];
    let action = world
        .seal()
        .input("tags", format!("v1\n{}", tags.join("\n")));
    let outcome = action.input("registry-auths", auths).succeed();
    let digest = outcome.output("digest");
    for name in ["a/a", "b/b"] {
        assert_eq!(other.tags(name)["v1"], digest);
        assert_eq!(listed(&other, name, digest).len(), 1);
    }
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
    let digests = format!("{}\n{}", build.digest, arm64.digest);
    let seal = two.seal().input("digests", digests);
    let seal = seal.input("recursive", "true").input("max-attempts", "2");
    assert_eq!(seal.succeed().output("digest"), nested);
    let verify = two.verify_there().input("recursive", "true");
    verify.succeed();
    // The innermost too are brought back to where they are lost.
    two.other.delete_manifest(MIRROR, &build.image.digest);
    assert_eq!(seal.succeed().output("result"), "unchanged");
    assert!(two.other.manifest(MIRROR, &build.image.digest).is_some());
    verify.succeed();
}

#[test]
fn conflict_in_one_registry_is_not_hidden_by_an_outage_of_another() {
    let options = || sandbox::Options::new().referrers(Referrers::TagSchema);
    let two = Two {
        world: World::with(options()),
        other: sandbox::Registry::start(options()),
    };
    let digest = two.world.create().input("tags", "").succeed();
    let tag = digest.output("digest").replace(':', "-");
    let registry = two.world.registry();
    registry.tag(REPOSITORY, &tag, &two.world.amd64.digest);
    let broken = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    two.other
        .fault(broken.registry_error(403, "DENIED", "no such tags"));
    // The outage is the first to be told.
    let tags = format!("{}\nv1", two.there("v1"));
    let seal = two.seal().input("tags", tags);
    let outcome = seal.input("on-signing-failure", "warn").end_with(1);
    outcome.says(&[&format!("{}:{tag}", two.world.image()), "it is left alone"]);
    assert!(two.world.tags().is_empty());
}
