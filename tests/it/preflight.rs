//! The check before a build: the meaning of each tag state under each policy. Only the registry's own answer counts as "not
//! there".

use std::time::Duration;

use sandbox::{Fault, Kind, Options, Registry, Trigger};
use serde_json::json;

use crate::support::{Action, POLICIES, REPOSITORY, World, index_of, push, states, told};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Returns a run of `preflight` for the tag `v1`.
fn look(world: &World) -> Action {
    Action::new("preflight")
        .input("image", world.image())
        .input("tags", "v1")
}

/// Returns a run of `preflight` for `v1` in two registries.
fn look_in_two(world: &World, other: &Registry) -> Action {
    Action::new("preflight").input("tags", both(world, other))
}

fn both(world: &World, other: &Registry) -> String {
    format!("{}\n{}:v1", world.at("v1"), other.repository(REPOSITORY))
}

fn other() -> Registry {
    Registry::start(Options::new())
}

fn changed(registry: &Registry) -> usize {
    let requests = registry.requests();
    let is_change = |method: &str| !matches!(method, "GET" | "HEAD");
    requests
        .iter()
        .filter(|request| is_change(&request.method))
        .count()
}

/// Pushes other builds of both platforms. Returns their digests.
fn other_build(registry: &Registry) -> Vec<String> {
    ["linux/amd64", "linux/arm64"]
        .map(|platform| {
            let image = registry.push_image_seeded(REPOSITORY, platform, Kind::Oci, 7);
            image.digest
        })
        .to_vec()
}

/// Makes an index of other builds in `registry` under `v1`.
fn publish_other_build(registry: &Registry) {
    Action::new("create")
        .input("image", registry.repository(REPOSITORY))
        .input("digests", other_build(registry).join(","))
        .input("tags", "v1")
        .succeed();
}

#[test]
fn preflight_passes_with_free_tags_and_changes_nothing() {
    let (world, other) = (World::new(), other());
    for policy in POLICIES {
        let outcome = look_in_two(&world, &other)
            .input("on-existing-tag", policy)
            .succeed();
        assert_eq!(outcome.output("proceed"), "true");
        assert_eq!(states(&outcome), ["absent", "absent"]);
        for name in ["digest", "source", "result", "record"] {
            assert!(!outcome.outputs.contains_key(name), "{name}");
        }
    }
    let outcome = look(&world).input("tags", "v1,v1.0").succeed();
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(changed(world.registry()) + changed(&other), 0);
}

#[test]
fn preflight_fails_if_a_tag_exists() {
    let world = World::new();
    world.create().succeed();
    let outcome = look(&world).input("tags", "v0\nv1").end_with(3);
    assert_eq!(outcome.output("proceed"), "false");
    assert_eq!(states(&outcome), ["absent", "present"]);
    outcome.says(&["v1` exists already", "hint: nothing was built"]);
    assert!(!outcome.outputs.contains_key("source"));
    insta::assert_snapshot!(told(&world, &outcome));
}

#[test]
fn preflight_warns_of_an_existing_tag_if_asked() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    let outcome = look(&world).input("on-existing-tag", "warn").succeed();
    assert_eq!(outcome.output("proceed"), "true");
    outcome.says(&["::warning::tag", &digest, "proceed, with 1 of 1 tag taken"]);
    assert_eq!(outcome.json("states")[world.at("v1")]["digest"], digest);
    assert!(!outcome.outputs.contains_key("source"));
}

#[test]
fn preflight_completes_a_half_published_version() {
    let (world, other) = (World::new(), other());
    let elsewhere = other.repository(REPOSITORY);
    let digest = world.seal().succeed().output("digest").to_owned();
    // The result depends neither on which registry has the image, nor on the order of the tags.
    let tags = format!("{elsewhere}:v1\n{}", world.at("v1"));
    look(&world).input("tags", &tags).end_with(3);
    let skip = world
        .preflight()
        .input("tags", &tags)
        .input("on-existing-tag", "skip");
    let outcome = skip.succeed();
    assert_eq!(outcome.output("proceed"), "false");
    assert_eq!(outcome.output("digest"), digest);
    assert_eq!(outcome.output("source"), world.at(&digest));
    assert_eq!(outcome.output("result"), "skipped");
    insta::assert_snapshot!(told(&world, &outcome));
    // The workflow then runs this.
    let sealed = world
        .seal()
        .input("tags", &tags)
        .input("digests", outcome.output("source"))
        .succeed();
    assert_eq!(sealed.output("digest"), digest);
    assert_eq!(sealed.output("result"), "completed");
    assert_eq!(other.tags(REPOSITORY)["v1"], digest);
    let again = skip.succeed();
    assert_eq!(states(&again), ["present", "present"]);
    assert_eq!(again.output("source"), format!("{elsewhere}@{digest}"));
}

#[test]
fn registries_that_hold_different_images_cannot_be_completed() {
    let (world, other) = (World::new(), other());
    world.create().succeed();
    publish_other_build(&other);
    let two = look_in_two(&world, &other);
    let outcome = two.clone().input("on-existing-tag", "skip").end_with(3);
    assert_eq!(outcome.output("proceed"), "false");
    assert_eq!(states(&outcome), ["present", "different"]);
    assert!(!outcome.outputs.contains_key("source"));
    insta::assert_snapshot!(told(&world, &outcome));
    two.end_with(3).says(&["exists already"]);
    let warned = two.input("on-existing-tag", "warn").succeed();
    assert_eq!(warned.output("proceed"), "true");
}

#[test]
fn same_images_in_the_bytes_of_another_tool_are_no_difference() {
    let (world, other) = (World::new(), other());
    world.create().succeed();
    let pretty = serde_json::to_vec_pretty(&world.manifest("v1")).unwrap();
    let theirs = other.push_raw(REPOSITORY, Some("v1"), OCI_INDEX, &pretty);
    let tags = format!("{}:v1\n{}", other.repository(REPOSITORY), world.at("v1"));
    let outcome = look(&world)
        .input("tags", tags)
        .input("on-existing-tag", "skip")
        .input("sign", "false")
        .succeed();
    // The first index in the order of `tags` is the source for the others.
    assert_eq!(outcome.output("digest"), theirs);
    assert_eq!(outcome.output("proceed"), "false");
}

#[test]
fn tag_that_seal_would_refuse_is_refused_before_the_build() {
    let world = World::new();
    world.registry().tag(REPOSITORY, "v1", &world.amd64.digest);
    let outcome = look(&world).input("on-existing-tag", "skip").end_with(3);
    outcome.says(&["it is a single image, not an index"]);
    assert_eq!(states(&outcome), ["different"]);
}

#[test]
fn digests_tell_same_from_different() {
    let world = World::new();
    world.create().succeed();
    let digests = format!("{},{}", world.arm64.digest, world.amd64.digest);
    let given = |digests: &str, policy: &str| {
        look(&world)
            .input("digests", digests)
            .input("on-existing-tag", policy)
    };
    let same = given(&digests, "skip").succeed();
    assert_eq!(
        (states(&same), same.output("proceed")),
        (vec!["same".to_owned()], "false")
    );
    given(&digests, "fail").end_with(3);
    let others = other_build(world.registry()).join("\n");
    for (policy, code) in [("skip", 3), ("fail", 3), ("warn", 0)] {
        let outcome = given(&others, policy).end_with(code);
        assert_eq!(states(&outcome), ["different"], "{policy}");
    }
    let one_less = given(&world.amd64.digest, "skip").end_with(3);
    one_less.says(&["expected: linux/amd64"]);
    // If the images cannot be compared, the known states are reported.
    let lost = given(&format!("sha256:{}", "0".repeat(64)), "warn")
        .input("max-attempts", "1")
        .end_with(1);
    assert_eq!(states(&lost), ["present"]);
    assert_eq!(lost.output("proceed"), "false");
}

/// A fault that a server plays.
type Misdeed = fn(Trigger) -> Fault;

/// Answers that leave the state unknown.
const UNKNOWN: [(&str, Misdeed); 9] = [
    ("401", |at| at.status(401)),
    ("403", |at| at.registry_error(403, "DENIED", "denied")),
    ("403 of a proxy", |at| {
        at.answer(403, &[], "<html>no</html>")
    }),
    ("404 of a proxy", |at| {
        at.answer(404, &[("content-type", "text/html")], "<h1>no</h1>")
    }),
    ("429", |at| at.throttle(0)),
    ("500", |at| at.status(500)),
    ("302", |at| at.answer(302, &[("location", "/login")], "")),
    ("cut body", |at| {
        at.answer(200, &[("content-type", OCI_INDEX)], "{")
    }),
    ("reset", |at| at.reset()),
];

#[test]
fn unknown_tag_fails_preflight_with_every_policy() {
    for (name, misdeed) in UNKNOWN {
        let (world, other) = (World::new(), other());
        let digest = world.create().succeed().output("digest").to_owned();
        let always = Fault::on("*", "*/manifests/v1").times(u32::MAX);
        other.fault(misdeed(always));
        for policy in POLICIES {
            let outcome = look_in_two(&world, &other)
                .input("on-existing-tag", policy)
                .input("max-attempts", "2")
                .end_with(1);
            assert_eq!(outcome.output("proceed"), "false", "{name}");
            assert_eq!(states(&outcome), ["present", "unknown"], "{name}");
            outcome.says(&["the content of these tags is unknown", &digest]);
            assert!(outcome.summary.contains(&digest[..19]), "{name}");
        }
        assert_eq!(changed(&other), 0, "{name}");
    }
}

#[test]
fn preflight_names_the_cause_of_each_unknown_tag() {
    let (world, other) = (World::new(), other());
    world.create().succeed();
    let gone = Fault::on("*", "*/manifests/v1").times(u32::MAX);
    other.fault(gone.registry_error(403, "DENIED", "requested access is denied"));
    let down = Fault::on("*", "*/manifests/v2").times(u32::MAX);
    world.registry().fault(down.status(500));
    let tags = format!("{}\n{}", both(&world, &other), world.at("v2"));
    let outcome = look(&world)
        .input("tags", tags)
        .input("max-attempts", "2")
        .end_with(1);
    insta::assert_snapshot!(told(&world, &outcome));
}

#[test]
fn preflight_retries_a_temporary_fault() {
    let world = World::new();
    let twice = Fault::on("GET", "*/manifests/v1").times(2);
    world.registry().fault(twice.status(503));
    let outcome = look(&world).succeed();
    assert_eq!(states(&outcome), ["absent"]);
    outcome.says(&["retry in"]);
}

#[test]
fn registry_that_never_answers_does_not_hide_the_others() {
    let (world, other) = (World::new(), other());
    world.create().succeed();
    let never = Fault::on("*", "*/manifests/v1").times(u32::MAX);
    other.fault(never.delay(Duration::from_secs(20)));
    let outcome = look_in_two(&world, &other)
        .input("timeout", "1s")
        .input("on-existing-tag", "warn")
        .end_with(1);
    outcome.says(&["the run exceeded `timeout`"]);
    assert_eq!(states(&outcome), ["present", "unknown"]);
    assert_eq!(outcome.output("proceed"), "false");
}

#[test]
fn preflight_reports_all_wrong_inputs() {
    let outcome = Action::new("preflight")
        .input("image", "ghcr.io/o/r")
        .input("on-existing-tag", "ignore")
        .input("digests", "# none yet")
        .end_with(2);
    outcome.says(&[
        "input `tags`: `preflight` requires the tags to check",
        "input `on-existing-tag`: `ignore` is not one of `fail`, `skip`, `warn`",
        "input `digests`: it contains no digest",
    ]);
    let several = "ghcr.io/o/r:v1\nquay.io/o/r:v1\nv2";
    let outcome = Action::new("preflight").input("tags", several).end_with(2);
    outcome.says(&["`v2` names no repository"]);
}

#[test]
fn index_of_no_images_is_different_and_not_advised_to_be_adopted() {
    let world = World::new();
    let empty = push(&world, Some("v1"), &index_of(&[]).to_string());
    let blob = world.registry().push_blob(REPOSITORY, b"x");
    let odd = json!({"mediaType": "text/plain", "digest": blob, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}});
    push(&world, Some("v2"), &index_of(&[odd]).to_string());
    for (tag, why) in [
        ("v1", "it is an index without images"),
        ("v2", "is not an image but a `text/plain`"),
    ] {
        let look = world.preflight().input("tags", tag);
        for policy in ["skip", "fail"] {
            let outcome = look.clone().input("on-existing-tag", policy).end_with(3);
            assert_eq!(states(&outcome), ["different"]);
            outcome.says(&[why]);
            outcome.does_not_say(&["adopt"]);
            assert!(outcome.summary.contains(why), "{}", outcome.summary);
        }
    }
    world
        .seal()
        .end_with(3)
        .says(&["it is an index without images", &empty]);
}
