//! Cosign's older signature format: written if requested, accepted always, and never accepted for another image.

use sandbox::{Fault, Options, Referrers};
use serde_json::{Value, json};

use crate::support::legacy::{legacy, legacy_tag, signatures};
use crate::support::{MANIFEST, REPOSITORY, World, refused_at_once, sealed, unsigned};

const OTHER_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/nightly.yml@refs/heads/main";

/// Counts the signatures of each format: bundles, then legacy ones.
fn counts(world: &World, digest: &str) -> (usize, usize) {
    (world.listed(digest).len(), signatures(world, digest).len())
}

fn formats(outcome: &crate::support::Outcome) -> Vec<(String, bool)> {
    let listed = outcome.json("signatures");
    let listed = listed.as_array().unwrap().iter();
    let read = |signature: &Value| {
        let format = signature["format"].as_str().unwrap().to_owned();
        (format, signature["made"].as_bool().unwrap())
    };
    listed.map(read).collect()
}

#[test]
fn legacy_signature_is_made_once_and_verified() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let action = legacy(world.seal());
        let outcome = action.succeed();
        let digest = outcome.output("digest");
        assert_eq!(counts(&world, digest), (0, 1));
        assert_eq!(formats(&outcome), [("legacy".to_owned(), true)]);
        assert!(
            outcome.summary.contains("| legacy |"),
            "{}",
            outcome.summary
        );
        let recorded = &action.record()["images"][0]["signatures"][0];
        assert_eq!(recorded["format"], "legacy");
        let held = &world.registry().tags(REPOSITORY)[&legacy_tag(digest)];
        assert_eq!(recorded["manifest"], json!(held));
        // The image is signed before it is tagged.
        let writes = world.writes();
        let place = |wanted: &str| writes.iter().position(|write| write.contains(wanted));
        assert!(place(".sig") < place("manifests/v1"), "{writes:?}");

        world.registry().clear_requests();
        let again = action.succeed();
        assert_eq!(world.writes(), [""; 0]);
        assert_eq!((world.certificates(), world.sigstore().entries()), (1, 1));
        assert_eq!(again.output("sign-skipped"), "true");
        let verified = world.verify("v1").succeed();
        assert_eq!(formats(&verified), [("legacy".to_owned(), false)]);
        refused_at_once(
            &world
                .verify("v1")
                .input("certificate-identity", "https://github.com/somebody/else"),
            &["it is by"],
        );
    }
}

#[test]
fn either_format_is_enough_and_both_adds_the_other() {
    for (first, then, missing) in [
        ("bundle", "legacy", "legacy"),
        ("legacy", "bundle", "bundle"),
    ] {
        let world = World::new();
        let made = world.seal().input("signature-format", first).succeed();
        let digest = made.output("digest");
        let before = counts(&world, digest);
        let other = world.seal().input("signature-format", then).succeed();
        assert_eq!(other.output("sign-skipped"), "true", "{first} {then}");
        assert_eq!(counts(&world, digest), before);
        let both = world.seal().input("signature-format", "both");
        let added = both.succeed();
        assert_eq!(counts(&world, digest), (1, 1));
        assert_eq!(
            (added.output("signed"), added.output("sign-skipped")),
            ("true", "false")
        );
        let mut told = formats(&added);
        told.sort();
        let expected = |format: &str| (format.to_owned(), format == missing);
        assert_eq!(told, [expected("bundle"), expected("legacy")]);
        assert_eq!(both.succeed().output("sign-skipped"), "true");
        assert_eq!(world.sigstore().entries(), 2);
    }
}

#[test]
fn both_are_made_with_one_certificate_for_every_digest() {
    let world = World::new();
    let action = world
        .seal()
        .input("signature-format", "both")
        .input("recursive", "true");
    let outcome = action.succeed();
    let index = outcome.output("digest");
    for digest in [index, &world.amd64.digest, &world.arm64.digest] {
        assert_eq!(counts(&world, digest), (1, 1), "{digest}");
    }
    assert_eq!((world.certificates(), world.sigstore().entries()), (1, 6));
    assert_eq!(formats(&outcome).len(), 6);
    world.verify("v1").input("recursive", "true").succeed();
    assert_eq!(action.succeed().output("sign-skipped"), "true");
    assert_eq!(world.sigstore().entries(), 6);
}

#[test]
fn signature_moved_from_another_image_is_refused() {
    let (world, digest) = unsigned();
    legacy(world.sign(&world.amd64.digest)).succeed();
    let registry = world.registry();
    let theirs = legacy_tag(&world.amd64.digest);
    let (media_type, manifest) = registry.manifest(REPOSITORY, &theirs).unwrap();
    registry.push_raw(
        REPOSITORY,
        Some(&legacy_tag(&digest)),
        &media_type,
        &manifest,
    );
    let says = format!("it signs `{}`, not `{digest}`", world.amd64.digest);
    refused_at_once(&world.verify("v1"), &[&says]);
    // A run does not skip signing because of it. It stays, and ours is added.
    assert_eq!(
        legacy(world.seal()).succeed().output("sign-skipped"),
        "false"
    );
    assert_eq!(signatures(&world, &digest).len(), 2);
    world.verify("v1").succeed();
}

#[test]
fn tampered_signature_is_refused() {
    let world = World::new();
    let digest = legacy(world.seal()).succeed().output("digest").to_owned();
    let tag = legacy_tag(&digest);
    let whole = world.manifest(&tag);
    world.verify("v1").succeed();
    for annotation in [
        "dev.cosignproject.cosign/signature",
        "dev.sigstore.cosign/certificate",
        "dev.sigstore.cosign/bundle",
    ] {
        for middle in [None, Some(2)] {
            let mut changed = whole.clone();
            let text = &mut changed["layers"][0]["annotations"][annotation];
            *text = match middle {
                None => json!(""),
                Some(part) => {
                    let old = text.as_str().unwrap();
                    let at = old.len() / part;
                    let other = if &old[at..=at] == "3" { "4" } else { "3" };
                    json!(format!("{}{other}{}", &old[..at], &old[at + 1..]))
                }
            };
            let changed = changed.to_string();
            world
                .registry()
                .push_raw(REPOSITORY, Some(&tag), MANIFEST, changed.as_bytes());
            let outcome = world.verify("v1").end_with(3);
            assert!(!outcome.outputs.contains_key("verified"), "{annotation}");
        }
    }
}

#[test]
fn others_signature_does_not_count_and_stays() {
    let world = World::new();
    let theirs = world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
        legacy(world.seal()).succeed()
    });
    let digest = theirs.output("digest");
    let before = signatures(&world, digest);
    refused_at_once(&world.verify("v1"), &["it is by"]);
    let ours = legacy(world.seal());
    assert_eq!(ours.succeed().output("sign-skipped"), "false");
    let after = signatures(&world, digest);
    assert_eq!((after.len(), &after[0]), (2, &before[0]));
    // The signature that the record names is recognized, whatever was added under the tag since.
    world.as_workflow(
        "octo-org/octo-app/third.yml@main",
        "octo-org/octo-app",
        || legacy(world.sign("v1")).succeed(),
    );
    assert_eq!(ours.succeed().output("sign-skipped"), "true");
    let recorded = ours.record()["images"][0]["signatures"].clone();
    assert_eq!(recorded.as_array().unwrap().len(), 1);
    world.verify("v1").succeed();
}

#[test]
fn record_that_announces_a_legacy_signature_is_waited_for() {
    let world = World::new();
    world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
        legacy(world.seal()).succeed()
    });
    let digest = world.tag("v1").unwrap();
    let before = world.manifest(&legacy_tag(&digest)).to_string();
    let seal = legacy(world.seal());
    seal.succeed();
    let record = std::fs::read(seal.workspace().join("manifest-seal.json")).unwrap();
    let hide = |times| {
        let fault = Fault::on("GET", "*.sig").times(times);
        let answer = fault.answer(200, &[("content-type", MANIFEST)], &before);
        world.registry().fault(answer);
    };
    hide(1);
    refused_at_once(&world.verify("v1"), &["it is by"]);
    hide(2);
    let verify = world.verify("v1").file("manifest-seal.json", record);
    verify.succeed().says(&["no signature is visible yet"]);
    // A visible signature ends the wait, although the manifest is no longer the one that the record names.
    world.as_workflow(
        "octo-org/octo-app/third.yml@main",
        "octo-org/octo-app",
        || legacy(world.sign("v1")).succeed(),
    );
    let stranger = verify.input("certificate-identity", "https://github.com/somebody/else");
    refused_at_once(&stranger, &["it is by"]);
}

#[test]
fn signing_config_without_a_rekor_v1_is_an_input_error() {
    let world = World::new();
    let mut config: Value = serde_json::from_str(&world.sigstore().signing_config()).unwrap();
    config["rekorTlogUrls"][0]["majorApiVersion"] = json!(2);
    config["tsaUrls"] = config["caUrls"].clone();
    config["tsaConfig"] = json!({"selector": "ANY"});
    let action = world.seal().input("signing-config", config.to_string());
    for format in ["legacy", "both"] {
        for dry_run in ["false", "true"] {
            let outcome = action
                .clone()
                .input("signature-format", format)
                .input("on-signing-failure", "warn")
                .input("dry-run", dry_run)
                .end_with(2);
            outcome.says(&["input `signature-format`", "Rekor v1", "hint: "]);
        }
    }
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.sigstore().requests(), []);
    legacy(world.seal())
        .input("signature-format", "older")
        .end_with(2)
        .says(&["input `signature-format`"]);
}

#[test]
fn outage_of_one_format_leaves_the_other_and_says_so() {
    let world = World::new();
    world
        .registry()
        .fault(Fault::on("PUT", "*.sig").times(u32::MAX).status(503));
    let both = world.seal().input("signature-format", "both");
    both.end_with(1).says(&["could not store the signature"]);
    assert_eq!(world.tag("v1"), None);
    let warned = both.clone().input("on-signing-failure", "warn").succeed();
    assert_eq!(
        (warned.output("signed"), warned.output("verified")),
        ("false", "false")
    );
    let digest = warned.output("digest");
    assert_eq!(counts(&world, digest), (1, 0));
    world.registry().clear_faults();
    assert_eq!(both.succeed().output("signed"), "true");
    assert_eq!(counts(&world, digest), (1, 1));
}

#[test]
fn signature_is_only_as_good_as_its_log() {
    let (other, same) = sealed();
    let world = World::new();
    let digest = legacy(world.seal()).succeed().output("digest").to_owned();
    assert_eq!(digest, same);
    // This image in another world, signed there with another Sigstore.
    let payload = world.manifest(&legacy_tag(&digest));
    let layer = payload["layers"][0]["digest"].as_str().unwrap();
    let blob = world.registry().blob(REPOSITORY, layer).unwrap();
    for listed in other.listed(&digest) {
        other.registry().delete_manifest(REPOSITORY, &listed);
    }
    other.registry().push_blob(REPOSITORY, &blob);
    let tag = legacy_tag(&digest);
    let payload = payload.to_string();
    other
        .registry()
        .push_raw(REPOSITORY, Some(&tag), MANIFEST, payload.as_bytes());
    refused_at_once(&other.verify("v1"), &["it is not authentic"]);
}
