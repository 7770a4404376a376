//! The signatures that make a newer version stay under a moving tag.

use sandbox::Kind;

use crate::support::{Action, REPOSITORY, World};

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
        older.says(&["left alone: it holds version 1.1.0, which is newer than 1.0.1"]);
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
    let text = format!("has no signature by the pattern `{only}`, whose other refs do not count");
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
    outcome.says(&["does not state the name `app`", "and the tag moves"]);
    let latest = outcome.output("digest").to_owned();
    assert_eq!(world.tag("latest"), Some(latest.clone()));
    seal("app", "1.9.0")
        .succeed()
        .says(&["left alone: it holds version 2.0.1"]);
    assert_eq!(world.tag("latest"), Some(latest));
}
