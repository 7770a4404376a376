//! The signatures that make a newer version stay under a moving tag.

use sandbox::Kind;

use crate::support::{Action, REPOSITORY, World};

const VERSION: &str = "org.opencontainers.image.version";
const NAME: &str = "io.github.manifest-seal.name";

fn seal(world: &World, version: &str) -> Action {
    let seal = world.seal().elsewhere().input("tags", version);
    let seal = seal.input("annotations", format!("{VERSION}={version}"));
    seal.input("moving-tags", "latest")
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
