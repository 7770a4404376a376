//! Moving tags: they never move to an older version.

use std::time::Duration;

use sandbox::Fault;

use crate::support::{Action, REPOSITORY, World, until};

/// Returns a run of `create` that gives its images the version `version` and moves `latest` to them.
fn release(world: &World, version: &str) -> Action {
    world
        .create()
        .input("tags", version)
        .input("moving-tags", "latest")
        .input(
            "annotations",
            format!("org.opencontainers.image.version={version}"),
        )
}

#[test]
fn moving_tag_does_not_go_back_to_an_older_version() {
    let world = World::new();
    let newest = release(&world, "1.10.0").succeed();
    let outcome = release(&world, "1.9.7").succeed();
    outcome
        .says(&["latest`: left unchanged: it points to version 1.10.0, which is newer than 1.9.7"]);
    assert_eq!(
        world.tag("latest").as_deref(),
        Some(newest.output("digest"))
    );
    assert_eq!(
        world.tag("1.9.7").as_deref(),
        Some(outcome.output("digest"))
    );
    assert_eq!(outcome.json("tags"), serde_json::json!(["1.9.7"]));
    assert!(
        outcome
            .summary
            .contains("points to `1.10.0`, which is newer than `1.9.7`"),
        "{}",
        outcome.summary
    );
    let next = release(&world, "v2.0.0-rc.1").succeed();
    assert_eq!(world.tag("latest").as_deref(), Some(next.output("digest")));
}

#[test]
fn moving_tag_that_moves_meanwhile_is_decided_again() {
    for (theirs, is_newer) in [("3.0.0", true), ("1.0.0", false)] {
        let world = World::new();
        let earlier = release(&world, theirs).input(
            "annotations",
            format!("org.opencontainers.image.version={theirs}\nby=them"),
        );
        let theirs = earlier.succeed().output("digest").to_owned();
        world.registry().delete_tag(REPOSITORY, "latest");
        let slow = Fault::on("PUT", "*/manifests/2.0.0").delay(Duration::from_millis(500));
        world.registry().fault(slow);
        let action = release(&world, "2.0.0");
        let running = action.begin();
        until("the fixed tag", || world.tag("2.0.0").is_some());
        world.registry().tag(REPOSITORY, "latest", &theirs);
        let outcome = running.end();
        let digest = outcome.output("digest").to_owned();
        let wanted = if is_newer { &theirs } else { &digest };
        assert_eq!(
            world.tag("latest").as_ref(),
            Some(wanted),
            "{}",
            outcome.log
        );
        // A cleanup restores the index that they wrote, not the tag's first content.
        action.clone().input("command", "cleanup").succeed();
        assert_eq!(world.tag("latest").as_ref(), Some(&theirs));
    }
}
