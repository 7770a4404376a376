//! Deletion of tags in a registry that deletes only digests, each with all its tags. In a repository with many other tags,
//! these are not compared: the tag is moved to a placeholder, an empty index, whose digest is deleted.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options};

use crate::support::cleanup::{nothing_remains, remaining};
use crate::support::{Action, REPOSITORY, World, cleanup, created, until};

/// More other tags than are compared.
const MANY: usize = 70;
/// The digest of the placeholder of every version.
const PLACEHOLDER: &str = "sha256:3b29b8aab745b147e4cc6ab66b0ab173cac64e8559cf2f5875f0c3ddf653ff4a";
const FOR_EVER: Duration = Duration::from_mins(10);

/// Returns a world with many tags.
fn crowded(deletes: Deletes) -> World {
    let world = World::with(Options::new().deletes(deletes));
    for number in 0..MANY {
        let tag = format!("other{number}");
        world.registry().tag(REPOSITORY, &tag, &world.amd64.digest);
    }
    world
}

/// Runs `create` for two tags. Returns the run and the digest of the index.
fn publish(world: &World) -> (Action, String) {
    let create = world.create().input("tags", "v1\nv2");
    let digest = created(&create);
    (create, digest)
}

#[test]
fn tags_of_others_stay_though_nobody_compared_them() {
    let world = crowded(Deletes::Digests);
    let mut before = world.tags();
    let (create, digest) = publish(&world);
    for tag in ["stable", "theirs"] {
        world.registry().tag(REPOSITORY, tag, &digest);
        before.insert(tag.to_owned(), digest.clone());
    }
    let outcome = cleanup(&create).succeed();
    assert_eq!(world.tags(), before, "{}", outcome.log);
    nothing_remains(&outcome);
    let registry = world.registry();
    assert!(registry.manifest(REPOSITORY, &digest).is_some());
    assert!(registry.manifest(REPOSITORY, PLACEHOLDER).is_none());
    // A second cleanup changes nothing.
    registry.clear_requests();
    nothing_remains(&cleanup(&create).succeed());
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn tag_that_moves_before_it_is_replaced_stays() {
    let world = crowded(Deletes::Digests);
    let (create, _) = publish(&world);
    let registry = world.registry();
    // The first write of the placeholder is by its digest.
    let put = format!("*/manifests/{PLACEHOLDER}");
    registry.fault(Fault::on("PUT", &put).delay(Duration::from_millis(300)));
    registry.clear_requests();
    let running = cleanup(&create).begin();
    until("the placeholder", || {
        registry.requests().iter().any(|request| request.faulty)
    });
    registry.tag(REPOSITORY, "v1", &world.amd64.digest);
    let outcome = running.end();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    assert_eq!(world.tag("v1").as_ref(), Some(&world.amd64.digest));
    assert_eq!(world.tag("v2"), None);
    outcome.says(&["v1`: left unchanged: somebody else moved it"]);
}

/// A cleanup may be killed while a tag points to the placeholder. Another cleanup, or the next run, goes on from there.
#[test]
fn killed_cleanup_is_completed_by_the_next_run() {
    let world = crowded(Deletes::Digests);
    let before = world.tags();
    let (create, digest) = publish(&world);
    let registry = world.registry();
    let start = registry.snapshot();
    registry.clear_requests();
    cleanup(&create).succeed();
    let requests = u64::try_from(registry.requests().len()).unwrap();
    let mut replaced = 0;
    for k in 1..=requests {
        registry.restore(&start);
        registry.clear_requests();
        registry.fault(Fault::at(k).times(u32::MAX).delay(FOR_EVER));
        let running = cleanup(&create).begin();
        until("the fault", || {
            registry.requests().iter().any(|request| request.faulty)
        });
        running.kill();
        registry.clear_faults();
        let killed = registry.snapshot();
        let tags = world.tags();
        replaced += usize::from(tags.values().any(|held| held == PLACEHOLDER));

        let outcome = cleanup(&create).succeed();
        assert_eq!(world.tags(), before, "{k}: {tags:?}\n{}", outcome.log);
        nothing_remains(&outcome);

        registry.restore(&killed);
        let again = create.elsewhere().input("moving-tags", "");
        assert_eq!(created(&again), digest, "{k}");
        let tags = ["v1", "v2"].map(|tag| world.tag(tag));
        assert_eq!(tags, [Some(digest.clone()), Some(digest.clone())], "{k}");
    }
    assert!(replaced >= 2, "{replaced}");
}

#[test]
fn placeholder_that_cannot_be_deleted_is_reported_and_deleted_by_the_next_cleanup() {
    let world = crowded(Deletes::Digests);
    let before = world.tags();
    let (create, _) = publish(&world);
    let registry = world.registry();
    registry.fault(Fault::on("PUT", "*/manifests/v1").delay(Duration::from_millis(300)));
    registry.clear_requests();
    let running = cleanup(&create).input("max-attempts", "1").begin();
    until("the placeholder", || {
        registry.requests().iter().any(|request| request.faulty)
    });
    let delete = Fault::on("DELETE", &format!("*/manifests/{PLACEHOLDER}"));
    registry.fault(delete.times(u32::MAX).status(503));
    let outcome = running.end();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    assert_eq!(world.tag("v1").as_deref(), Some(PLACEHOLDER));
    let remaining = remaining(&outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["v1", "v2"]);
    let why = remaining["v1"]["why"].as_str().unwrap();
    for text in [
        "it points to an empty index now, which could not be deleted",
        "`cleanup` with the same record deletes it",
        "503",
    ] {
        assert!(why.contains(text), "{text}: {why}");
    }
    registry.clear_faults();
    // A build need not wait for the cleanup: the tag is as good as absent.
    let preflight = world.preflight().input("on-existing-tag", "fail");
    assert_eq!(preflight.succeed().output("proceed"), "true");
    nothing_remains(&cleanup(&create).succeed());
    assert_eq!(world.tags(), before);
}

#[test]
fn registry_without_deletions_gets_no_placeholder() {
    let world = crowded(Deletes::Nothing);
    let (create, digest) = publish(&world);
    let registry = world.registry();
    registry.clear_requests();
    let outcome = cleanup(&create).succeed();
    let remaining = remaining(&outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["v1", "v2"]);
    let why = remaining["v1"]["why"].as_str().unwrap();
    assert!(
        why.contains("does not support the deletion of tags"),
        "{why}"
    );
    assert_eq!(world.tag("v1"), Some(digest));
    let writes = world.writes();
    let is_put = |write: &String| write.starts_with("PUT");
    assert!(!writes.iter().any(is_put), "{writes:?}");
    assert!(registry.manifest(REPOSITORY, PLACEHOLDER).is_none());
}

#[test]
fn tag_that_cannot_be_replaced_stays_with_the_reason() {
    for refused in [PLACEHOLDER, "v1"] {
        let world = crowded(Deletes::Digests);
        let (create, digest) = publish(&world);
        let put = Fault::on("PUT", &format!("*/manifests/{refused}"));
        let message = "tags are immutable here";
        let refusal = put.times(u32::MAX);
        let registry = world.registry();
        registry.fault(refusal.registry_error(403, "DENIED", message));
        let outcome = cleanup(&create).succeed();
        assert_eq!(world.tag("v1").as_ref(), Some(&digest), "{}", outcome.log);
        let why = &remaining(&outcome)["v1"]["why"];
        for text in [
            "the registry deletes no tag but only images, and the tag could not be moved to an empty index",
            message,
        ] {
            assert!(why.as_str().unwrap().contains(text), "{text}: {why}");
        }
        assert!(registry.manifest(REPOSITORY, PLACEHOLDER).is_none());
    }
}

#[test]
fn image_that_existed_before_keeps_its_tag_where_only_digests_are_deleted() {
    let world = crowded(Deletes::Digests);
    let create = world.create();
    let digest = created(&create.elsewhere());
    world.registry().delete_tag(REPOSITORY, "v1");
    create.succeed();
    let outcome = cleanup(&create).succeed();
    assert_eq!(world.tag("v1"), Some(digest), "{}", outcome.log);
    let why = &remaining(&outcome)["v1"]["why"];
    let text = "the record does not state that the run created the image";
    assert!(why.as_str().unwrap().contains(text), "{why}");
}
