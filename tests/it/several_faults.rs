//! Faults at one of several registries: each stops the work that depends on it, is reported by name, and a rerun finishes.

use sandbox::{Fault, Kind, Referrers};

use crate::support::{Action, MIRROR, REPOSITORY, Two, World, listed, told, writes};

#[test]
fn conflict_in_one_registry_keeps_all_from_being_written() {
    let two = Two::new();
    let other = two.other.push_image(MIRROR, "linux/s390x", Kind::Oci);
    two.other.tag(MIRROR, "v1", &other.digest);
    let before = two.other.tags(MIRROR);
    let outcome = two.seal().end_with(3);
    outcome.says(&[&format!(
        "the tag `{}` points to `{}`",
        two.there("v1"),
        other.digest
    )]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
    assert_eq!(
        (two.other.tags(MIRROR), two.world.certificates()),
        (before, 0)
    );
}

#[test]
fn unknown_state_of_one_registry_stops_the_run() {
    for status in [404, 429, 500] {
        let two = Two::new();
        let tag = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
        two.other.fault(tag.status(status));
        let outcome = two.seal().input("max-attempts", "2").end_with(1);
        assert!(
            outcome.log.contains(&two.other.address()),
            "{}",
            outcome.log
        );
        assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
    }
}

#[test]
fn registry_that_takes_nothing_keeps_the_other_untagged_and_a_rerun_finishes() {
    let two = Two::new();
    let broken = Fault::on("POST", "*/blobs/uploads/*").times(u32::MAX);
    two.other
        .fault(broken.registry_error(403, "DENIED", "read-only"));
    let outcome = two.seal().end_with(1);
    outcome.says(&[&format!(
        "could not upload blob `{}",
        two.other.repository(MIRROR)
    )]);
    assert_eq!(
        (two.world.tags().len(), two.other.tags(MIRROR).len()),
        (0, 0)
    );
    assert_eq!(two.world.sigstore().entries(), 0);
    two.other.clear_faults();
    let digest = two.seal().succeed().output("digest").to_owned();
    assert_eq!(two.world.tag("v1").as_ref(), Some(&digest));
    assert_eq!(two.other.tags(MIRROR)["v1"], digest);
}

#[test]
fn failed_tag_in_one_registry_is_reported_and_completed_by_a_rerun() {
    let two = Two::new();
    let broken = Fault::on("PUT", "*/manifests/v1").times(u32::MAX);
    two.other
        .fault(broken.registry_error(403, "DENIED", "tags are frozen"));
    let outcome = two.seal().end_with(1);
    insta::assert_snapshot!(told(&two.world, &outcome));
    assert!(two.world.tag("v1").is_some() && !two.other.tags(MIRROR).contains_key("v1"));
    two.other.clear_faults();
    let rerun = two.seal().succeed();
    assert_eq!(
        (rerun.output("result"), rerun.output("sign-skipped")),
        ("completed", "true")
    );
    assert_eq!(two.world.sigstore().entries(), 1);
}

#[test]
fn signature_that_one_registry_does_not_take_is_an_outage_of_that_one() {
    let two = Two::new();
    let broken = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    two.other
        .fault(broken.registry_error(507, "DENIED", "no room"));
    let outcome = two.seal().input("on-signing-failure", "warn").succeed();
    let digest = outcome.output("digest");
    outcome.says(&[&format!(
        "`{}@{digest}` remains unsigned",
        two.other.repository(MIRROR)
    )]);
    assert!(
        !outcome
            .log
            .contains(&format!("`{}` remains unsigned", two.world.at(digest)))
    );
    assert_eq!(
        (outcome.output("signed"), outcome.output("verified")),
        ("false", "false")
    );
    two.world.verify("v1").succeed();
    two.other.clear_faults();
    two.seal().succeed();
    two.verify_there().succeed();
    assert_eq!(two.world.sigstore().entries(), 1);
}

/// Returns a run that signs many images, and their digests.
fn seal_many(two: &Two) -> (Action, Vec<String>) {
    let push = |number: usize| {
        let platform = format!("linux/other{number}");
        let registry = two.world.registry();
        registry.push_image(REPOSITORY, &platform, Kind::Oci).digest
    };
    let images: Vec<String> = (0..25).map(push).collect();
    let action = two.seal().input("digests", images.join("\n"));
    (action.input("recursive", "true"), images)
}

#[test]
fn registry_that_takes_no_signatures_keeps_no_image_of_another_unsigned() {
    let two = Two::new();
    let (action, images) = seal_many(&two);
    let broken = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    two.other
        .fault(broken.registry_error(507, "DENIED", "no room"));
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
    // Eight are made at once. Meanwhile, as many are stored, and as many listed.
    assert!(refused.count() <= 24, "an outage is found out once");
}

#[test]
fn signature_that_is_there_is_copied_whatever_ails_fulcio() {
    let two = Two::new();
    let first = two.world.seal().succeed();
    two.world.sigstore().fault(
        Fault::on("POST", "/api/v2/signingCert")
            .times(u32::MAX)
            .status(503),
    );
    let action = two.seal().input("recursive", "true");
    let outcome = action.input("on-signing-failure", "warn").succeed();
    outcome.says(&["remains unsigned"]);
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
    outcome.says(&[&format!("the config of the image `{there}` was not found")]);
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
        .fault(broken.registry_error(507, "DENIED", "no room"));
    // The registry with the outage comes first, and is reported first.
    let tags = format!("{}\nv1", two.there("v1"));
    let seal = two.seal().input("tags", tags);
    let outcome = seal.input("on-signing-failure", "warn").end_with(1);
    outcome.says(&[
        &format!("{}:{tag}", two.world.image()),
        "it is left unchanged",
    ]);
    assert!(two.world.tags().is_empty());
}
