//! A reusable workflow has one identity for all its callers: the repository of the run tells them apart, with a token and
//! without.

use sandbox::Kind;
use serde_json::{Value, json};

use crate::support::{Action, REPOSITORY, World, child, descriptor, index_of, push};

const SHARED: &str = "manifest-seal/manifest-seal/.github/workflows/build-publish.yml@refs/tags/v0";
const EVIL: &str = "its workflow's repository is `evil/repository`, not `octo-org/octo-app`";

/// Returns the run with the identity of the shared workflow, on the server that issues the tokens.
fn given(world: &World, action: &Action, has_token: bool) -> Action {
    let action = action
        .elsewhere()
        .input(
            "certificate-identity",
            format!("https://github.com/{SHARED}"),
        )
        .input("certificate-oidc-issuer", world.sigstore().issuer())
        .env("GITHUB_SERVER_URL", world.sigstore().url());
    if has_token {
        action
    } else {
        action.without_token()
    }
}

#[test]
fn image_of_another_caller_is_not_reported_as_own() {
    let world = World::new();
    let registry = world.registry();
    let foreign = registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666);
    world.as_workflow(SHARED, "evil/repository", || {
        world.seal().input("digests", foreign.digest).succeed();
    });
    world.sigstore().set_claim("job_workflow_ref", SHARED);
    let skip = world.preflight().input("on-existing-tag", "skip");
    for has_token in [true, false] {
        let look = given(&world, &skip, has_token).end_with(3);
        look.says(&["which is neither in `digests` nor signed by", EVIL]);
        assert_eq!(look.outputs.get("source").map(String::as_str), None);
    }
    // A certificate for a token of another server states no repository of this one.
    let elsewhere = given(&world, &skip, false).env("GITHUB_SERVER_URL", "https://git.example");
    elsewhere.succeed();
    // Without an issuer it is the one of GitHub, and so of this server.
    let default = given(&world, &skip, false).input("certificate-oidc-issuer", "");
    let default = default.env("GITHUB_SERVER_URL", "https://github.com");
    let refused = default.end_with(3);
    refused.says(&["repository `octo-org/octo-app`"]);
    // The repository may be given.
    let named = given(&world, &skip, false);
    let named = named.input("certificate-github-workflow-repository", "evil/repository");
    named.succeed();
}

#[test]
fn signature_of_another_caller_is_not_taken_for_this_runs() {
    let world = World::new();
    let registry = world.registry();
    let fake = registry.push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 666);
    let mut attestation = descriptor(&world, &fake.digest);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": world.amd64.digest,
    });
    let theirs: Value = index_of(&[
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
        attestation,
    ]);
    let theirs = push(&world, Some("v1"), &theirs.to_string());
    world.as_workflow(SHARED, "evil/repository", || world.sign(&theirs).succeed());
    world.sigstore().set_claim("job_workflow_ref", SHARED);
    let signatures = world.listed(&theirs);
    for has_token in [true, false] {
        let seal = world.seal().input("moving-tags", "latest");
        let seal = given(&world, &seal, has_token).end_with(3);
        seal.says(&["it is not verified"]);
        assert_eq!(world.tag("latest"), None);
    }
    // The caller names the digest, so it is to be signed; a signature by another caller does not suffice for that.
    let sign = given(&world, &world.sign(&theirs), false).end_with(1);
    assert_ne!(
        sign.outputs.get("verified").map(String::as_str),
        Some("true")
    );
    assert_eq!(world.listed(&theirs), signatures);
}

/// The identity of a reusable workflow has the ref of that workflow. The ref of the run tells the runs of one repository apart,
/// whether the identity is given or not.
#[test]
fn given_own_identity_asks_for_the_ref_of_the_run() {
    let world = World::new();
    let claim = |name: &str, value: &str| world.sigstore().set_claim(name, value);
    claim("job_workflow_ref", SHARED);
    claim("ref", "refs/heads/feature");
    let digest = world.seal().succeed().output("digest").to_owned();
    claim("ref", "refs/tags/v1");
    let exact = given(&world, &world.sign(&digest), true).succeed();
    assert_eq!(exact.output("sign-skipped"), "false", "{}", exact.log);
    // A pattern leaves the ref open.
    claim("ref", "refs/tags/v2");
    let pattern = given(&world, &world.sign(&digest), true)
        .input("certificate-identity", "")
        .input(
            "certificate-identity-regexp",
            "https://github.com/manifest-seal/.*",
        );
    let pattern = pattern.succeed();
    assert_eq!(pattern.output("sign-skipped"), "true", "{}", pattern.log);
}
