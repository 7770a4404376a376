//! `preflight` with `skip` outputs only digests that something vouches for. Anybody with push permission can put any content
//! under a tag, and the output digest is signed and copied.

use sandbox::{Fault, Kind, Options, Referrers, Registry};
use serde_json::{Value, json};

use crate::support::{Action, Outcome, REPOSITORY, World, attach, statement_bundle, states};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const NOBODY: &str = "which is neither in `digests` nor signed by";

/// Returns a run of `preflight` with `skip` for `v1`, in a job that has `id-token: write`.
fn skip(world: &World) -> Action {
    world.preflight().input("on-existing-tag", "skip")
}

/// Pushes an index of other builds under `v1`, as somebody with push permission and without signing rights. Returns its digest.
fn push_strange(registry: &Registry) -> String {
    let child = |platform: &str| {
        let image = registry.push_image_seeded(REPOSITORY, platform, Kind::Oci, 7);
        let (media_type, bytes) = registry.manifest(REPOSITORY, &image.digest).unwrap();
        let (os, architecture) = platform.split_once('/').unwrap();
        json!({"mediaType": media_type, "digest": image.digest, "size": bytes.len(), "platform": {"os": os, "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child("linux/amd64"), child("linux/arm64")]});
    registry.push_raw(
        REPOSITORY,
        Some("v1"),
        OCI_INDEX,
        index.to_string().as_bytes(),
    )
}

/// Asserts that the run outputs no digest.
fn refused(action: &Action, code: i32, says: &[&str]) -> Outcome {
    let outcome = action.end_with(code);
    assert_eq!(outcome.output("proceed"), "false");
    for name in ["digest", "source", "reference", "result"] {
        assert!(!outcome.outputs.contains_key(name), "{name}");
    }
    outcome.says(says);
    outcome
}

fn skipped(action: &Action, source: &str) -> Outcome {
    let outcome = action.succeed();
    assert_eq!(
        (outcome.output("proceed"), outcome.output("source")),
        ("false", source)
    );
    outcome
}

#[test]
fn strangers_tag_is_refused_and_can_be_adopted_by_naming_its_digest() {
    let world = World::new();
    let strange = push_strange(world.registry());
    let image = world.at(&strange);
    let cure = format!(
        "choose another version; or, if you know the origin of this image, adopt it: give `digests: {image}`"
    );
    let outcome = refused(
        &skip(&world),
        3,
        &[NOBODY, &world.sigstore().identity(), &cure],
    );
    assert_eq!(states(&outcome), ["present"]);
    assert!(
        outcome
            .summary
            .contains("not verified: it is neither signed nor in `digests`"),
        "{}",
        outcome.summary
    );
    assert_eq!(world.writes(), [""; 0]);
    // Adopting the index by its digest needs neither a token nor a signature.
    let adopt = skip(&world).without_token().input("digests", &image);
    let outcome = skipped(&adopt, &image);
    outcome.says(&["is in `digests`"]);
    // With our own signature the index need not be named.
    world.seal().input("digests", &image).succeed();
    skipped(&skip(&world), &image);
}

#[test]
fn signature_of_our_own_vouches_and_one_of_somebody_else_does_not() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let other = "octo-org/evil/.github/workflows/release.yml@refs/heads/main";
        let sealed = world.as_workflow(other, "octo-org/evil", || world.seal().succeed());
        let image = world.at(sealed.output("digest"));
        refused(
            &skip(&world),
            3,
            &[NOBODY, "it is by `https://github.com/octo-org/evil/"],
        );
        // A reusable workflow has the same identity for another caller.
        let usual = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
        world.as_workflow(usual, "octo-org/evil", || world.seal().succeed());
        refused(
            &skip(&world),
            3,
            &[NOBODY, "its workflow's repository is `octo-org/evil`"],
        );
        world.seal().succeed();
        let outcome = skipped(&skip(&world), &image);
        outcome.says(&["is signed by `https://github.com/octo-org/octo-app/"]);
        assert!(
            outcome.summary.contains("is published, signed by"),
            "{}",
            outcome.summary
        );
    }
}

#[test]
fn identity_that_is_given_needs_no_token() {
    let world = World::new();
    let image = world.at(world.seal().succeed().output("digest"));
    let given = skip(&world)
        .without_token()
        .input("certificate-identity", world.sigstore().identity());
    let issuer = given
        .clone()
        .input("certificate-oidc-issuer", world.sigstore().issuer());
    skipped(&issuer, &image);
    // Without a token the expected issuer is GitHub's, as for `verify`.
    refused(
        &given,
        3,
        &[
            NOBODY,
            "issuer `https://token.actions.githubusercontent.com`",
        ],
    );
    let wrong = issuer.input("certificate-github-workflow-ref", "refs/tags/v1");
    refused(
        &wrong,
        3,
        &["its workflow's ref is `refs/heads/main`, not `refs/tags/v1`"],
    );
}

#[test]
fn attestation_by_our_own_identity_is_no_signature() {
    let world = World::new();
    let made = world.create().succeed();
    let digest = made.output("digest");
    let bundle = statement_bundle(&world, digest, "https://slsa.dev/provenance/v1");
    attach(&world, digest, &bundle);
    refused(&skip(&world), 3, &[NOBODY]);
}

#[test]
fn digests_vouch_for_the_very_same_index_and_no_other() {
    let world = World::new();
    let digests = format!("{},{}", world.arm64.digest, world.amd64.digest);
    let look = || skip(&world).without_token().input("digests", &digests);
    let made = world.create().succeed();
    skipped(&look(), &world.at(made.output("digest")));
    let index: Value = world.manifest("v1");
    let push = |index: &Value| {
        let bytes = serde_json::to_vec_pretty(index).unwrap();
        world
            .registry()
            .push_raw(REPOSITORY, Some("v1"), OCI_INDEX, &bytes)
    };
    // Other bytes and another order do not matter.
    let mut turned = index.clone();
    turned["manifests"].as_array_mut().unwrap().reverse();
    let turned = push(&turned);
    skipped(&look(), &world.at(&turned));
    // The same images with an annotation, or an attestation, that was not requested.
    let mut annotated = index.clone();
    annotated["annotations"] = json!({"org.opencontainers.image.version": "999999.0.0"});
    let mut child = index.clone();
    child["manifests"][0]["annotations"] = json!({"x": "y"});
    let mut attested = index.clone();
    let fake = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 7,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": world.amd64.digest},
    });
    attested["manifests"].as_array_mut().unwrap().push(fake);
    for other in [&annotated, &child, &attested] {
        push(other);
        let outcome = refused(&look(), 2, &["id-token: write"]);
        assert_eq!(states(&outcome), ["same"]);
        let outcome = refused(&skip(&world).input("digests", &digests), 3, &[NOBODY]);
        assert_eq!(states(&outcome), ["same"]);
    }
}

#[test]
fn failed_lookup_is_never_unsigned() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        for path in [
            "*/referrers/*",
            "*/manifests/sha256-*.sig",
            "*/blobs/sha256:*",
        ] {
            for status in [401, 403, 429, 500, 503] {
                let world = World::with(Options::new().referrers(kind));
                let sealed = path.contains("blobs");
                if sealed {
                    world.seal().succeed();
                } else {
                    world.create().succeed();
                }
                let fault = Fault::on("GET", path).times(u32::MAX).status(status);
                world.registry().fault(fault);
                let outcome = refused(&skip(&world).input("max-attempts", "1"), 1, &["could not"]);
                outcome.does_not_say(&[NOBODY]);
            }
        }
    }
    // The expected identity is unknown.
    for status in [403, 503] {
        let world = World::new();
        world.seal().succeed();
        world
            .sigstore()
            .fault(Fault::on("*", "/gh/token").times(u32::MAX).status(status));
        refused(
            &skip(&world).input("max-attempts", "1"),
            1,
            &["could not get an identity token"],
        );
    }
    // The trusted root is unusable.
    let world = World::new();
    world.seal().succeed();
    let outcome = skip(&world).input("trusted-root", "{}").end_with(2);
    outcome.says(&["input `trusted-root`: the trusted root cannot be read"]);
}

#[test]
fn job_without_token_and_identity_is_told_what_it_lacks() {
    let world = World::new();
    // Without a signature to check, nothing is missing.
    let look = skip(&world).without_token();
    assert_eq!(look.succeed().output("proceed"), "true");
    world.seal().succeed();
    let outcome = refused(
        &look,
        2,
        &["`permissions: id-token: write`", "`certificate-identity`"],
    );
    outcome.does_not_say(&[NOBODY]);
    assert_eq!(states(&outcome), ["present"]);
    // This error precedes the read of the trusted root.
    let outcome = refused(
        &look.input("trusted-root", ""),
        2,
        &["`permissions: id-token: write`"],
    );
    outcome.does_not_say(&["TUF"]);
}

#[test]
fn who_never_signs_says_so_and_is_warned() {
    let world = World::new();
    let strange = push_strange(world.registry());
    let look = skip(&world).without_token().input("sign", "false");
    let look = look.input("trusted-root", "").input("signing-config", "");
    let outcome = skipped(&look, &world.at(&strange));
    outcome.says(&["::warning::the content of the tags is not verified"]);
    assert_eq!(asked_for_signatures(&world), 0);
}

#[test]
fn fail_and_warn_ask_for_no_signature_and_no_token() {
    let world = World::new();
    push_strange(world.registry());
    for (policy, code) in [("fail", 3), ("warn", 0)] {
        for action in [world.preflight(), world.preflight().without_token()] {
            let outcome = action.input("on-existing-tag", policy).end_with(code);
            outcome.does_not_say(&[NOBODY, "is not verified"]);
        }
    }
    assert_eq!(asked_for_signatures(&world), 0);
}

fn asked_for_signatures(world: &World) -> usize {
    let requests = world.registry().requests();
    let is_look = |path: &str| path.contains("/referrers/") || path.contains("/manifests/sha256-");
    let looks = requests.iter().filter(|request| is_look(&request.path));
    looks.count() + world.sigstore().requests().len()
}

#[test]
fn nothing_spreads_from_the_weaker_of_two_registries() {
    let (world, weak) = (World::new(), Registry::start(Options::new()));
    let elsewhere = weak.repository(REPOSITORY);
    let tags = format!("{elsewhere}:v1\n{}", world.at("v1"));
    let both = skip(&world).input("tags", &tags);
    // The other registry has a stranger's index, this one nothing.
    let strange = push_strange(&weak);
    refused(
        &both,
        3,
        &[NOBODY, &format!("`digests: {elsewhere}@{strange}`")],
    );
    // This registry has our own index, and the other one has other images.
    let ours = world.seal().succeed();
    let ours = ours.output("digest");
    refused(&both, 3, &["points to"]);
    // The other registry has the same images in a stranger's bytes, with an annotation.
    let mut theirs = world.manifest("v1");
    theirs["annotations"] = json!({"x": "y"});
    for platform in ["linux/amd64", "linux/arm64"] {
        weak.push_image(REPOSITORY, platform, Kind::Oci);
    }
    weak.push_raw(
        REPOSITORY,
        Some("v1"),
        OCI_INDEX,
        theirs.to_string().as_bytes(),
    );
    let outcome = refused(
        &both,
        3,
        &[NOBODY, &format!("the tag `{elsewhere}:v1` points to")],
    );
    outcome.does_not_say(&[&format!("the tag `{}` points to", world.at("v1"))]);
    // The other registry has our own digest too, without its signature. The index is taken from the repository with the
    // signature.
    let (media_type, bytes) = world.registry().manifest(REPOSITORY, ours).unwrap();
    weak.push_raw(REPOSITORY, Some("v1"), &media_type, &bytes);
    skipped(&both, &world.at(ours));
    // The other registry's list of signatures may be unreadable.
    weak.fault(
        Fault::on("GET", "*/referrers/*")
            .times(u32::MAX)
            .status(503),
    );
    skipped(&both.input("max-attempts", "1"), &world.at(ours));
    let sent = weak.requests();
    assert!(
        sent.iter()
            .all(|request| matches!(request.method.as_str(), "GET" | "HEAD"))
    );
}
