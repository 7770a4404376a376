//! The command `verify`: it accepts only proven signatures, waits for signatures that may still appear, and refuses wrong ones
//! at once.

use sandbox::{Fault, Options, Referrers};
use serde_json::json;

use crate::support::{REPOSITORY, World, refused_at_once, sealed, told, unsigned};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OTHER_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/nightly.yml@refs/heads/main";

#[test]
fn image_is_verified_by_tag_and_by_digest() {
    let (world, digest) = sealed();
    let outcome = world.verify("v1").succeed();
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(
        (outcome.output("verified"), outcome.output("digest")),
        ("true", digest.as_str())
    );
    assert_eq!(world.verify(&digest).succeed().output("verified"), "true");
}

#[test]
fn identity_and_issuer_are_held_against_what_is_asked_for() {
    let (world, _) = sealed();
    let identity = world.sigstore().identity();
    let issuer = world.sigstore().issuer();
    let by = |exact: &str, pattern: &str, issuer: &str, issuers: &str| {
        world
            .verify("v1")
            .input("certificate-identity", exact)
            .input("certificate-identity-regexp", pattern)
            .input("certificate-oidc-issuer", issuer)
            .input("certificate-oidc-issuer-regexp", issuers)
    };
    let pattern = "https://github.com/octo-org/octo-app/.*@refs/(heads|tags)/.*";
    for right in [
        by(&identity, "", &issuer, ""),
        by("", pattern, &issuer, ""),
        by("", &format!("^{pattern}$"), "", "https?://127.*"),
    ] {
        right.succeed();
    }
    for wrong in [
        by(&identity.to_uppercase(), "", &issuer, ""),
        by(&identity.replace("main", "mai"), "", &issuer, ""),
        // The pattern is anchored at both ends, whether or not it has anchors.
        by("", "https://github.com/octo-org/", &issuer, ""),
        by("", "octo-org/octo-app/.*", &issuer, ""),
        by(
            &identity,
            "",
            "https://token.actions.githubusercontent.com",
            "",
        ),
        by(&identity, "", "", ""),
        by(&identity, "", "", "127.0.0.1"),
    ] {
        refused_at_once(
            &wrong,
            &[&format!("it is by `{identity}` (issuer `{issuer}`)")],
        );
    }
    // The hint names the inputs that were not met, and no other.
    let elsewhere = "https://token.actions.githubusercontent.com";
    let whole = "(a pattern that must match the whole value)";
    let other = identity.replace("main", "mai");
    for (wrong, unmet) in [
        (
            by(&other, "", &issuer, ""),
            "`certificate-identity`".to_owned(),
        ),
        (
            by(&identity, "", elsewhere, ""),
            "`certificate-oidc-issuer`".to_owned(),
        ),
        (
            by(&other, "", elsewhere, ""),
            "`certificate-identity` and `certificate-oidc-issuer`".to_owned(),
        ),
        (
            by("", "octo-org/octo-app/.*", &issuer, ""),
            format!("`certificate-identity-regexp` {whole}"),
        ),
        (
            by(&identity, "", "", "127.0.0.1"),
            format!("`certificate-oidc-issuer-regexp` {whole}"),
        ),
    ] {
        let hint = format!(
            "hint: if one of these is the right signer, give its value in {unmet}; otherwise"
        );
        refused_at_once(&wrong, &[&hint]);
    }
    let pattern = by("", "octo-org/.*", &issuer, "").end_with(3);
    pattern.says(&["not by the pattern `octo-org/.*` (issuer `"]);
    world
        .verify("v1")
        .input("certificate-identity", "")
        .end_with(2)
        .says(&["input `certificate-identity`"]);
}

#[test]
fn each_claim_about_the_workflow_is_held_against_what_is_asked_for() {
    let (world, _) = sealed();
    let claims = [
        ("repository", "octo-org/octo-app"),
        ("ref", "refs/heads/main"),
        ("sha", "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3"),
        ("name", "release"),
        ("trigger", "push"),
    ];
    let input = |claim: &str| format!("certificate-github-workflow-{claim}");
    let mut all = world.verify("v1");
    for (claim, right) in claims {
        all = all.input(&input(claim), right);
        let wrong = world.verify("v1").input(&input(claim), format!("{right}x"));
        refused_at_once(
            &wrong,
            &[
                &format!("its workflow's {claim} is `{right}`, not `{right}x`"),
                &format!("give its value in `{}`; otherwise", input(claim)),
            ],
        );
    }
    all.succeed();
}

#[test]
fn recursive_asks_for_every_child() {
    let (world, _) = sealed();
    let recursive = world
        .verify("v1")
        .input("recursive", "true")
        .input("max-attempts", "2");
    world.sign(&world.amd64.digest).succeed();
    let outcome = recursive.end_with(3);
    outcome.says(&[&format!(
        "`{}` has no signature",
        world.at(&world.arm64.digest)
    )]);
    world.sign(&world.arm64.digest).succeed();
    assert_eq!(
        recursive
            .succeed()
            .json("signatures")
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn unsigned_image_is_refused_after_all_tries() {
    let (world, _) = unsigned();
    world.registry().clear_requests();
    let outcome = world.verify("v1").input("max-attempts", "4").end_with(3);
    outcome.says(&[
        "no signature is visible yet",
        "has no signature; a signature by",
        "hint: check that the image was signed",
    ]);
    assert_eq!(outcome.log.matches("retry in").count(), 3);
    let looks = world.registry().requests();
    assert_eq!(
        looks
            .iter()
            .filter(|request| request.path.contains("/referrers/"))
            .count(),
        4
    );
}

#[test]
fn image_that_is_not_there_is_no_refusal() {
    let world = World::new();
    world
        .verify("v1")
        .input("max-attempts", "2")
        .end_with(1)
        .says(&["`", "was not found"]);
}

#[test]
fn signature_by_somebody_else_is_refused_at_once() {
    let (world, _) = unsigned();
    let workflows = [
        OTHER_WORKFLOW,
        "octo-org/octo-app/.github/workflows/third.yml@refs/heads/main",
    ];
    for workflow in workflows {
        world.as_workflow(workflow, "octo-org/octo-app", || world.sign("v1").succeed());
    }
    world.registry().clear_requests();
    let found = workflows.map(|workflow| format!("it is by `https://github.com/{workflow}`"));
    let outcome = world.verify("v1").end_with(3);
    outcome.says(&[&found[0], &found[1], "hint: if one of these"]);
    insta::assert_snapshot!(told(&world, &outcome));
    let requests = world.registry().requests();
    assert_eq!(
        requests
            .iter()
            .filter(|request| request.path.contains("/referrers/"))
            .count(),
        1
    );
    // Our own signature beside the other is sufficient.
    world.sign("v1").succeed();
    world.verify("v1").succeed();
}

#[test]
fn temporary_fault_is_retried_and_a_lasting_one_is_not_a_refusal() {
    for path in ["*/referrers/*", "*/blobs/*", "*/manifests/*"] {
        let (world, _) = sealed();
        world
            .registry()
            .fault(Fault::on("GET", path).times(2).status(503));
        world.verify("v1").succeed().says(&["503"]);
        world
            .registry()
            .fault(Fault::on("GET", path).times(u32::MAX).status(503));
        let outcome = world
            .verify("v1")
            .input("max-attempts", "2")
            .input("retry-delay", "1ms")
            .end_with(1);
        outcome.says(&["503"]);
        assert!(!outcome.outputs.contains_key("verified"), "{path}");
    }
}

#[test]
fn denied_registry_ends_verify_at_once() {
    for status in [401, 403] {
        let (world, _) = sealed();
        world.registry().fault(
            Fault::on("GET", "*/referrers/*")
                .times(u32::MAX)
                .status(status),
        );
        let outcome = world.verify("v1").end_with(1);
        assert!(!outcome.log.contains("retry in"), "{}", outcome.log);
    }
}

#[test]
fn signature_that_the_record_announces_is_waited_for() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        world.create().succeed();
        world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
            world.sign("v1").succeed()
        });
        let seal = world.seal();
        let digest = seal.succeed().output("digest").to_owned();
        let record = std::fs::read(seal.workspace().join("manifest-seal.json")).unwrap();
        // At first the registry lists the other signature and not ours.
        let theirs = &world.listed(&digest)[0];
        let size = world
            .registry()
            .manifest(REPOSITORY, theirs)
            .unwrap()
            .1
            .len();
        let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": theirs, "size": size});
        let list =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
        let path = match kind {
            Referrers::Api => "*/referrers/*".to_owned(),
            Referrers::TagSchema => format!("*/manifests/{}", digest.replace(':', "-")),
        };
        let hide = |times| {
            let fault = Fault::on("GET", &path).times(times);
            world
                .registry()
                .fault(fault.answer(200, &[("content-type", INDEX)], &list));
        };
        hide(1);
        refused_at_once(&world.verify("v1"), &["it is by"]);
        hide(2);
        let verify = world.verify("v1").file("manifest-seal.json", record);
        let outcome = verify.succeed();
        outcome.says(&["no signature is visible yet"]);
        hide(u32::MAX);
        verify.input("max-attempts", "2").end_with(3);
    }
}
