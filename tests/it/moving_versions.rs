//! The signatures that make a newer version stay under a moving tag.

use sandbox::{Fault, Kind};
use serde_json::json;

use crate::support::{Action, REPOSITORY, World, child, index_of, push};

const VERSION: &str = "org.opencontainers.image.version";
const NAME: &str = "io.github.manifest-seal.name";
const CALLER: &str = "octo-org/octo-app";

fn seal(world: &World, version: &str) -> Action {
    let seal = world.seal().elsewhere().input("tags", version);
    let seal = seal.input("annotations", format!("{VERSION}={version}"));
    seal.input("moving-tags", "latest")
}

fn workflow(pin: &str) -> String {
    format!("manifest-seal/manifest-seal/.github/workflows/build-publish.yml@{pin}")
}

#[test]
fn workflow_that_is_pinned_by_commit_is_the_same_at_any_pin() {
    let [first, second] = ["1", "2"].map(|digit| digit.repeat(40));
    for [newer, older] in [
        ["refs/tags/v0", "refs/tags/v1"],
        [&second, &first],
        ["refs/tags/v0", &first],
        [&second, "refs/heads/main"],
    ] {
        let world = World::new();
        let kept = world.as_workflow(&workflow(newer), CALLER, || {
            let sealed = seal(&world, "1.1.0").succeed();
            sealed.output("digest").to_owned()
        });
        let older = world.as_workflow(&workflow(older), CALLER, || seal(&world, "1.0.1").succeed());
        older.says(&["left unchanged: it points to version 1.1.0, which is newer than 1.0.1"]);
        assert_eq!(world.tag("latest"), Some(kept));
    }
}

#[test]
fn signature_of_another_caller_or_workflow_does_not_count_at_any_pin() {
    let [first, second] = ["1", "2"].map(|digit| digit.repeat(40));
    let other = format!("manifest-seal/manifest-seal/.github/workflows/other.yml@{second}");
    for (signer, caller) in [(workflow(&second), "evil/repository"), (other, CALLER)] {
        let world = World::new();
        world.as_workflow(&signer, caller, || seal(&world, "1.1.0").succeed());
        let older = world.as_workflow(&workflow(&first), CALLER, || {
            seal(&world, "1.0.1").succeed()
        });
        older.says(&["has no signature by this workflow"]);
        assert_eq!(world.tag("latest").as_deref(), Some(older.output("digest")));
    }
}

#[test]
fn identity_whose_other_refs_are_not_known_is_named() {
    let world = World::new();
    world.sigstore().set_claim("ref", "refs/heads/other");
    let branch = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/other";
    world.as_workflow(branch, CALLER, || seal(&world, "1.1.0").succeed());
    world.sigstore().set_claim("ref", "refs/heads/main");
    let only = r"https://github\.com/.*@refs/heads/main";
    let older = seal(&world, "1.0.1").input("certificate-identity-regexp", only);
    let text = format!(
        "has no signature by the pattern `{only}` (signatures from other refs do not count)"
    );
    older.succeed().says(&[&text]);
}

#[test]
fn newer_version_of_another_image_of_the_workflow_does_not_count() {
    let world = World::new();
    let registry = world.registry();
    let other = registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 77);
    let seal = |name: &str, version: &str| {
        let seal = seal(&world, version);
        seal.input("annotations", format!("{NAME}={name}\n{VERSION}={version}"))
    };
    let tools = seal("tools", "9.0.0").input("digests", &other.digest);
    let tools = tools.input("tags", "tools-9.0.0").input("moving-tags", "");
    let tools = tools.succeed().output("digest").to_owned();
    seal("app", "2.0.0").succeed();
    // Anyone with push access can put the one under the tag of the other.
    registry.tag(REPOSITORY, "latest", &tools);
    let outcome = seal("app", "2.0.1").succeed();
    outcome.says(&["does not state the name `app`", "and the tag is moved"]);
    let latest = outcome.output("digest").to_owned();
    assert_eq!(world.tag("latest"), Some(latest.clone()));
    seal("app", "1.9.0")
        .succeed()
        .says(&["left unchanged: it points to version 2.0.1"]);
    assert_eq!(world.tag("latest"), Some(latest));
}

/// Returns a run of Dependabot, which gets no token.
fn without_token(action: &Action) -> Action {
    let action = action.clone().without_token();
    let action = action.env("GITHUB_ACTOR", "dependabot[bot]");
    action.input("on-signing-failure", "warn")
}

#[test]
fn unsigned_newer_version_does_not_freeze_a_tag_in_a_job_without_a_token() {
    for server in ["", "https://github.com"] {
        let world = World::new();
        let mut index = index_of(&[child(&world, &world.amd64.digest, "amd64")]);
        index["annotations"] = json!({VERSION: "999.0.0"});
        let theirs = push(&world, Some("latest"), &index.to_string());
        let repository = if server.is_empty() { "" } else { CALLER };
        let run = without_token(&seal(&world, "1.0.0"))
            .env("GITHUB_SERVER_URL", server)
            .env("GITHUB_REPOSITORY", repository);
        let outcome = run.succeed();
        outcome.says(&["states version 999.0.0 and ", "and the tag is moved"]);
        outcome.says(&[if server.is_empty() {
            "the required signer is unknown"
        } else {
            "has no signature by a workflow of `octo-org/octo-app`"
        }]);
        assert_ne!(world.tag("latest"), Some(theirs));
        assert_eq!(
            world.tag("latest").as_deref(),
            Some(outcome.output("digest"))
        );
    }
}

#[test]
fn signed_newer_version_stays_in_a_job_without_a_token() {
    for (repository, stays) in [(CALLER, true), ("evil/repository", false)] {
        let world = World::new();
        let usual = format!("{CALLER}/.github/workflows/release.yml@refs/heads/main");
        let newer = world.as_workflow(&usual, repository, || seal(&world, "1.1.0").succeed());
        let older = without_token(&seal(&world, "1.0.1"))
            .input("certificate-oidc-issuer", world.sigstore().issuer())
            .env("GITHUB_SERVER_URL", world.sigstore().url())
            .succeed();
        let expected = if stays { &newer } else { &older };
        assert_eq!(
            world.tag("latest").as_deref(),
            Some(expected.output("digest"))
        );
    }
}

/// The token service is down, which the inputs excuse.
#[test]
fn unsigned_newer_version_does_not_freeze_a_tag_in_an_outage() {
    let world = World::new();
    let mut index = index_of(&[child(&world, &world.amd64.digest, "amd64")]);
    index["annotations"] = json!({VERSION: "999.0.0"});
    let theirs = push(&world, Some("latest"), &index.to_string());
    let down = Fault::on("GET", "/gh/token*").times(u32::MAX).status(503);
    world.sigstore().fault(down);
    let run = seal(&world, "1.0.0").input("on-signing-failure", "warn");
    let run = run.input("retry-max-delay", "20ms").input("timeout", "25s");
    let outcome = run.run();
    assert_ne!(world.tag("latest"), Some(theirs), "{}", outcome.log);
}
