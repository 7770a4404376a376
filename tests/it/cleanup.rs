//! The command `cleanup` after a failed run: every tag is as it was before, and nothing else changes.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox::{Deletes, Fault, Options, Referrers, Registry};
use serde_json::json;

use crate::support::cleanup::{earlier, nothing_remains, remaining, sealing};
use crate::support::{MIRROR, REPOSITORY, World, cleanup, told, until};

#[test]
fn cleanup_reverts_the_whole_run_and_nothing_else() {
    for options in [
        Options::new(),
        Options::new().referrers(Referrers::TagSchema),
        Options::new().lag(2),
    ] {
        let world = World::with(options);
        earlier(&world, "latest,other");
        let before = world.tags();
        let seal = sealing(&world);
        let digest = seal.succeed().output("digest").to_owned();
        assert_eq!(world.tags().len(), 5);
        let signatures = world.listed(&digest);

        let outcome = cleanup(&seal).succeed();
        assert_eq!(world.tags(), before, "{}", outcome.log);
        nothing_remains(&outcome);
        // The index and its signature stay.
        assert!(world.registry().manifest(REPOSITORY, &digest).is_some());
        assert_eq!((world.listed(&digest), signatures.len()), (signatures, 1));

        // A second cleanup changes nothing.
        world.registry().clear_requests();
        let again = cleanup(&seal).succeed();
        assert_eq!((world.tags(), world.writes()), (before, Vec::new()));
        nothing_remains(&again);
        again.says(&["nothing to revert"]);
    }
}

#[test]
fn summary_and_log_report_the_result_of_each_tag() {
    let world = World::new();
    earlier(&world, "latest");
    world
        .registry()
        .tag(REPOSITORY, "v1", &earlier(&world, "other"));
    world.registry().delete_tag(REPOSITORY, "v1");
    let seal = sealing(&world);
    seal.succeed();
    world
        .registry()
        .tag(REPOSITORY, "edge", &world.amd64.digest);
    world.registry().fault(
        Fault::on("DELETE", "*/manifests/v1.0")
            .times(u32::MAX)
            .registry_error(403, "DENIED", "requested access to the resource is denied"),
    );
    let outcome = cleanup(&seal).succeed();
    insta::assert_snapshot!(told(&world, &outcome));
}

#[test]
fn cleanup_leaves_tags_of_others() {
    let world = World::new();
    let elsewhere = earlier(&world, "latest");
    world.create().input("tags", "v0").elsewhere().succeed();
    // `v0` existed before, `v2` is only in the record, `v3` only in the inputs, `v1` was moved by somebody else.
    let seal = world
        .seal()
        .input("tags", "v0\nv1\nv2")
        .input("moving-tags", "latest");
    seal.succeed();
    let registry = world.registry();
    registry.tag(REPOSITORY, "v1", &world.amd64.digest);
    registry.tag(REPOSITORY, "v3", &world.tag("v2").unwrap());
    let mut wanted = world.tags();
    wanted.insert("latest".to_owned(), elsewhere);
    let outcome = cleanup(&seal).input("tags", "v0\nv1\nv3").succeed();
    assert_eq!(world.tags(), wanted);
    nothing_remains(&outcome);
    outcome.says(&[
        "v0`: left unchanged: the run did not write it",
        "v1`: left unchanged: somebody else moved it",
        "v2`: left unchanged, because only the record names it",
        "v3`: left unchanged: the record does not say that it was written",
    ]);
}

#[test]
fn cleanup_leaves_a_tag_that_moves_meanwhile() {
    let world = World::new();
    let seal = world.seal().input("tags", "v1\nv2");
    seal.succeed();
    // The tag moves between the first check and the one right before the change.
    let registry = world.registry();
    registry.fault(Fault::on("HEAD", "*/manifests/v1").delay(Duration::from_millis(300)));
    let running = cleanup(&seal).begin();
    until("the first look", || {
        registry.requests().iter().any(|request| request.faulty)
    });
    registry.tag(REPOSITORY, "v1", &world.amd64.digest);
    let outcome = running.end();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    assert_eq!(
        world.tags(),
        BTreeMap::from([("v1".to_owned(), world.amd64.digest.clone())])
    );
    outcome.says(&["v1`: left unchanged: somebody else moved it"]);
}

#[test]
fn deletion_by_digest_loses_no_tag_of_others() {
    for (others, taken) in [(None, true), (Some("stable"), false)] {
        let world = World::with(Options::new().deletes(Deletes::Digests));
        earlier(&world, "latest");
        let before = world.tags();
        let seal = sealing(&world);
        let digest = seal.succeed().output("digest").to_owned();
        if let Some(tag) = others {
            world.registry().tag(REPOSITORY, tag, &digest);
        }
        let outcome = cleanup(&seal).succeed();
        assert_eq!(world.tag("latest"), before.get("latest").cloned());
        if taken {
            assert_eq!(world.tags(), before);
            nothing_remains(&outcome);
            continue;
        }
        for tag in ["v1", "v1.0", "edge", "stable"] {
            assert_eq!(world.tag(tag).as_ref(), Some(&digest), "{tag}");
        }
        let remaining = remaining(&outcome);
        assert_eq!(remaining.keys().collect::<Vec<_>>(), ["edge", "v1", "v1.0"]);
        let why = remaining["v1"]["why"].as_str().unwrap();
        assert!(why.contains("together with `stable`"), "{why}");
        outcome.says(&["::warning", "Manual steps: `regctl tag delete"]);
    }
}

#[test]
fn registry_without_deletion_is_a_warning_with_manual_steps() {
    let world = World::with(Options::new().deletes(Deletes::Nothing));
    let before = earlier(&world, "latest");
    let seal = sealing(&world);
    let digest = seal.succeed().output("digest").to_owned();
    let outcome = cleanup(&seal).succeed();
    // The cleanup does everything that it can.
    assert_eq!(world.tag("latest"), Some(before));
    let remaining = remaining(&outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["edge", "v1", "v1.0"]);
    let wanted = json!({
        "tag": world.at("v1"),
        "registry": world.registry().address(),
        "digest": digest,
        "before": null,
        "why": format!("`{}` does not support the deletion of tags", world.registry().address()),
        "steps": format!("`regctl tag delete '{}'`", world.at("v1")),
    });
    assert_eq!(remaining["v1"], wanted);
    for text in [
        &digest,
        "regctl tag delete",
        "does not support the deletion of tags",
    ] {
        assert!(
            outcome.summary.contains(text),
            "{text}: {}",
            outcome.summary
        );
    }
    let warnings = outcome
        .log
        .lines()
        .filter(|line| line.starts_with("::warning"));
    assert_eq!(warnings.count(), 3, "{}", outcome.log);
}

#[test]
fn refused_deletion_is_reported_and_does_not_fail_the_cleanup() {
    for status in [401, 403, 404, 409, 412, 429, 500, 503] {
        for operation in ["DELETE", "PUT", "HEAD"] {
            let world = World::new();
            earlier(&world, "latest");
            let seal = world.seal().input("moving-tags", "latest");
            let digest = seal.succeed().output("digest").to_owned();
            let on = if operation == "PUT" { "latest" } else { "v1" };
            let path = format!("*/manifests/{on}");
            // A HEAD that fails is retried as a GET.
            let methods = if operation == "HEAD" {
                vec!["HEAD", "GET"]
            } else {
                vec![operation]
            };
            for method in methods {
                let trigger = Fault::on(method, &path).times(u32::MAX);
                world.registry().fault(trigger.status(status));
            }
            let outcome = cleanup(&seal).succeed();
            let remaining = remaining(&outcome);
            assert_eq!(
                remaining.keys().collect::<Vec<_>>(),
                [on],
                "{status} {operation}"
            );
            assert!(
                remaining[on]["why"]
                    .as_str()
                    .unwrap()
                    .contains(&status.to_string()),
                "{remaining:?}"
            );
            assert_eq!(world.tag(on), Some(digest), "{status} {operation}");
            let other = if on == "v1" { "latest" } else { "v1" };
            assert_ne!(world.tag(other), world.tag(on), "{status} {operation}");
        }
    }
}

#[test]
fn deletion_counts_only_if_the_registry_shows_it() {
    // The registry reports success, and deletes nothing.
    let world = World::new();
    let seal = world.seal();
    seal.succeed();
    let forever = || Fault::on("DELETE", "*/manifests/v1").times(u32::MAX);
    world.registry().fault(forever().status(202));
    let outcome = cleanup(&seal).succeed();
    let why = remaining(&outcome)["v1"]["why"].clone();
    assert_eq!(
        why,
        "the registry confirmed the deletion, but still returns the tag"
    );
    // The registry deletes the tag, and its response is lost.
    world.registry().clear_faults();
    world.registry().fault(forever().lost_response());
    let outcome = cleanup(&seal).succeed();
    assert_eq!(world.tag("v1"), None);
    nothing_remains(&outcome);
}

#[test]
fn tag_with_a_lost_earlier_manifest_stays_with_manual_steps() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let seal = world.seal().input("moving-tags", "latest");
    let digest = seal.succeed().output("digest").to_owned();
    world.registry().delete_manifest(REPOSITORY, &before);
    let outcome = cleanup(&seal).succeed();
    assert_eq!(
        world.tags(),
        BTreeMap::from([("latest".to_owned(), digest)])
    );
    let remaining = &remaining(&outcome)["latest"];
    assert_eq!(remaining["before"], json!(before));
    let steps = remaining["steps"].as_str().unwrap();
    assert!(
        steps.starts_with(&format!("push `{before}` again and then `crane tag '")),
        "{steps}"
    );
}

#[test]
fn immutable_tag_is_deleted_but_not_restored() {
    let world = World::new();
    earlier(&world, "latest");
    let seal = world.seal().input("moving-tags", "latest");
    let digest = seal.succeed().output("digest").to_owned();
    let refusal = Fault::on("PUT", "*/manifests/latest").times(u32::MAX);
    let message = "The image tag 'latest' already exists and cannot be overwritten because the tag is immutable.";
    world
        .registry()
        .fault(refusal.registry_error(400, "TAG_INVALID", message));
    let outcome = cleanup(&seal).succeed();
    assert_eq!(
        world.tags(),
        BTreeMap::from([("latest".to_owned(), digest)])
    );
    let why = remaining(&outcome)["latest"]["why"].clone();
    assert!(
        why.as_str().unwrap().contains("the tag is immutable"),
        "{why}"
    );
}

#[test]
fn half_published_version_is_reverted_in_both_registries() {
    let world = World::new();
    let other = Registry::start(Options::new().deletes(Deletes::Digests));
    let there = |tag: &str| format!("{}:{tag}", other.repository(MIRROR));
    let seal = world
        .seal()
        .input("tags", format!("v1\nv2\n{}\n{}", there("v1"), there("v2")));
    other.fault(
        Fault::on("PUT", "*/manifests/v2")
            .times(u32::MAX)
            .status(403),
    );
    seal.end_with(1);
    assert_eq!((world.tags().len(), other.tags(MIRROR).len()), (2, 1));
    let outcome = cleanup(&seal).succeed();
    assert_eq!((world.tags().len(), other.tags(MIRROR).len()), (0, 0));
    nothing_remains(&outcome);
    // One registry fails: the other is cleaned up nevertheless.
    other.clear_faults();
    seal.succeed();
    other.fault(Fault::on("*", "*").times(u32::MAX).status(503));
    let outcome = cleanup(&seal).succeed();
    assert_eq!((world.tags().len(), other.tags(MIRROR).len()), (0, 2));
    let list = outcome.json("remaining");
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["tag"], json!(there("v1")));
    assert!(
        list[0]["steps"]
            .as_str()
            .unwrap()
            .starts_with("if it points to `sha256:"),
        "{list}"
    );
}

#[test]
fn dry_run_of_cleanup_prints_its_plan_and_changes_nothing() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let seal = sealing(&world);
    seal.succeed();
    let tags = world.tags();
    world.registry().clear_requests();
    let outcome = cleanup(&seal).input("dry-run", "true").succeed();
    assert_eq!((world.tags(), world.writes()), (tags, Vec::new()));
    nothing_remains(&outcome);
    outcome.says(&[
        "v1`: to be deleted",
        &format!("latest`: to be restored to `{before}`"),
        "planned: 4 tags",
    ]);
}

#[test]
fn cleanup_without_a_record_changes_nothing() {
    let world = World::new();
    let seal = world.seal();
    seal.succeed();
    let outcome = cleanup(&seal.elsewhere()).succeed();
    assert!(world.tag("v1").is_some());
    outcome.says(&["::warning", "there is no record `manifest-seal.json`"]);
    assert_eq!(remaining(&outcome).keys().collect::<Vec<_>>(), ["v1"]);
}

#[test]
fn cleanup_reverts_only_tags_that_the_inputs_name() {
    let world = World::new();
    let seal = world.seal();
    seal.succeed();
    let outcome = cleanup(&seal).input("tags", "").end_with(2);
    outcome.says(&["input `tags`: `cleanup` requires the tags to revert"]);
    let both = cleanup(&seal).input("moving-tags", "v1").end_with(2);
    both.says(&["`moving-tags`"]);
    assert!(world.tag("v1").is_some());
}
