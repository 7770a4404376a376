//! The look before a build: what each state of the tags means under each policy, and that nothing but a registry's own
//! word is taken for "not there".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandbox::{Fault, Kind, Options, Registry, Service, Trigger};
use serde_json::{Value, json};

use crate::support::hosted::{Hosted, kept_secret};
use crate::support::{Action, Outcome, REPOSITORY, World, told};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const POLICIES: [&str; 3] = ["fail", "skip", "warn"];

/// A run of `preflight` for the tag `v1`.
fn look(world: &World) -> Action {
    Action::new("preflight")
        .input("image", world.image())
        .input("tags", "v1")
}

/// Another registry, and a run of `preflight` for `v1` in both.
fn look_in_two(world: &World, other: &Registry) -> Action {
    Action::new("preflight").input("tags", both(world, other))
}

fn both(world: &World, other: &Registry) -> String {
    format!("{}\n{}:v1", world.at("v1"), other.repository(REPOSITORY))
}

fn other() -> Registry {
    Registry::start(Options::new())
}

/// The state of each tag, in the order of the inputs.
fn states(outcome: &Outcome) -> Vec<String> {
    let states = outcome.json("states");
    let states = states.as_object().unwrap();
    let word = |state: &Value| state["state"].as_str().unwrap().to_owned();
    states.values().map(word).collect()
}

fn changed(registry: &Registry) -> usize {
    let requests = registry.requests();
    let is_change = |method: &str| !matches!(method, "GET" | "HEAD");
    requests
        .iter()
        .filter(|request| is_change(&request.method))
        .count()
}

/// An index of other builds of both platforms.
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
fn free_tags_let_the_build_go_on_and_nothing_is_changed() {
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
fn tag_that_exists_fails_before_anything_is_built() {
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
fn tag_that_exists_is_a_warning_where_that_was_said() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    let outcome = look(&world).input("on-existing-tag", "warn").succeed();
    assert_eq!(outcome.output("proceed"), "true");
    outcome.says(&["::warning::tag", &digest, "proceed, with 1 of 1 tag taken"]);
    assert_eq!(outcome.json("states")[world.at("v1")]["digest"], digest);
    assert!(!outcome.outputs.contains_key("source"));
}

#[test]
fn half_published_version_is_completed_from_where_it_is() {
    let (world, other) = (World::new(), other());
    let elsewhere = other.repository(REPOSITORY);
    let digest = world.create().succeed().output("digest").to_owned();
    // Which of the two has it, and in which order they are named, does not matter.
    let tags = format!("{elsewhere}:v1\n{}", world.at("v1"));
    look(&world).input("tags", &tags).end_with(3);
    let skip = look(&world)
        .input("tags", &tags)
        .input("on-existing-tag", "skip");
    let outcome = skip.succeed();
    assert_eq!(outcome.output("proceed"), "false");
    assert_eq!(outcome.output("digest"), digest);
    assert_eq!(outcome.output("source"), world.at(&digest));
    assert_eq!(outcome.output("result"), "skipped");
    insta::assert_snapshot!(told(&world, &outcome));
    // What the workflow does then.
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
        .succeed();
    // The first in the order of `tags` is the one that the others are completed from.
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
    one_less.says(&["wanted: linux/amd64"]);
    // What cannot be compared is told as far as it is known.
    let lost = given(&format!("sha256:{}", "0".repeat(64)), "warn")
        .input("max-attempts", "1")
        .end_with(1);
    assert_eq!(states(&lost), ["present"]);
    assert_eq!(lost.output("proceed"), "false");
}

/// How a server is told to misbehave.
type Misdeed = fn(Trigger) -> Fault;

/// Answers that leave open what is there.
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
fn what_is_not_known_is_an_error_with_every_policy_and_hides_nothing() {
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
            outcome.says(&["what tags hold cannot be known", &digest]);
            assert!(outcome.summary.contains(&digest[..19]), "{name}");
        }
        assert_eq!(changed(&other), 0, "{name}");
    }
}

#[test]
fn report_of_what_is_not_known_names_each_cause() {
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
fn fault_that_passes_is_waited_out() {
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
    outcome.says(&["the time given by `timeout` was up"]);
    assert_eq!(states(&outcome), ["present", "unknown"]);
    assert_eq!(outcome.output("proceed"), "false");
}

/// A repository that was never pushed to, at a registry that denies such ones.
fn new_at(hosted: &Hosted) -> Action {
    let new = format!("{}/octo-org/new", hosted.service.hosts()[0]);
    let action = Action::new("preflight").input("tags", "v1\nv1.0");
    hosted.logged_in(action).input("image", new)
}

fn hiding(service: Service) -> Hosted {
    Hosted::with(service, Options::new().hides_new(true))
}

#[test]
fn repository_that_was_never_pushed_to_is_said_to_be_new_and_the_build_goes_on() {
    for service in Service::ALL {
        let hosted = hiding(service);
        if service == Service::Ecr {
            // It shows its password with each request: there is no token that says what we may.
            new_at(&hosted).end_with(1);
            continue;
        }
        for policy in POLICIES {
            let outcome = new_at(&hosted).input("on-existing-tag", policy).succeed();
            assert_eq!(states(&outcome), ["unknown-new"; 2], "{service:?}");
            assert_eq!(outcome.output("proceed"), "true");
            outcome.says(&["::warning::tag", "unknown-new"]);
            kept_secret(&outcome);
        }
        if service == Service::Quay {
            insta::assert_snapshot!(told(&hosted.world, &new_at(&hosted).succeed()));
        }
        // The token to push is what makes the difference, and a dry run asks for none.
        hosted.registry().clear_requests();
        let dry = new_at(&hosted).input("dry-run", "true").end_with(1);
        assert_eq!(states(&dry), ["unknown"; 2], "{service:?}");
        assert_eq!(push_tokens(&hosted), 0, "{service:?}");
        hosted.kept_to_itself();
    }
}

/// How many tokens were asked for that may push.
fn push_tokens(hosted: &Hosted) -> usize {
    let requests = hosted.registry().requests();
    let asked = requests
        .iter()
        .filter(|request| request.path.contains("push"));
    asked.count()
}

#[test]
fn token_to_push_is_asked_for_only_after_a_denial() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let outcome = new_at(&hosted).succeed();
        assert_eq!(states(&outcome), ["absent"; 2], "{service:?}");
        assert_eq!(push_tokens(&hosted), 0, "{service:?}");
    }
}

#[test]
fn token_server_that_refuses_readers_is_asked_for_a_token_to_push() {
    for (hides, state) in [(true, "unknown-new"), (false, "absent")] {
        let hosted = Hosted::with(Service::Ghcr, Options::new().hides_new(hides));
        let to_read = Fault::on("GET", "/token?*%3Apull").times(u32::MAX);
        hosted
            .registry()
            .fault(to_read.registry_error(403, "DENIED", "denied"));
        let outcome = new_at(&hosted).succeed();
        assert_eq!(states(&outcome), [state; 2]);
        let refused = hosted.registry().requests();
        assert!(refused.iter().any(|request| request.faulty));
    }
}

#[test]
fn new_repository_in_one_registry_does_not_hide_what_the_other_holds() {
    let (hosted, elsewhere) = (hiding(Service::Ghcr), World::new());
    let digest = elsewhere.create().succeed().output("digest").to_owned();
    let tags = format!("ghcr.io/octo-org/new:v1\n{}", elsewhere.at("v1"));
    let outcome = new_at(&hosted)
        .input("tags", tags)
        .input("on-existing-tag", "skip")
        .env("NO_PROXY", "127.0.0.1")
        .succeed();
    assert_eq!(states(&outcome), ["unknown-new", "present"]);
    assert_eq!(outcome.output("source"), elsewhere.at(&digest));
}

#[test]
fn denial_in_a_repository_that_is_there_is_not_newness() {
    let denied = |path: &str, message: &str| {
        let always = Fault::on("*", path).times(u32::MAX);
        always.registry_error(403, "DENIED", message)
    };
    // It shows another of its tags; it lists its tags; it says that there is something.
    let cases = [
        (
            "another tag",
            vec![denied("*/manifests/v1", "denied")],
            Options::new(),
        ),
        (
            "its tags",
            vec![denied("*/manifests/*", "denied")],
            Options::new(),
        ),
        (
            "what it denies",
            vec![denied("*/manifests/*", "permission_denied: read_package")],
            Options::new().hides_new(true),
        ),
        (
            "no right to push",
            vec![
                Fault::on("GET", "/token?*push*")
                    .times(u32::MAX)
                    .status(403),
            ],
            Options::new().hides_new(true),
        ),
    ];
    for (name, faults, options) in cases {
        let hosted = Hosted::with(Service::Ghcr, options);
        for fault in faults {
            hosted.registry().fault(fault);
        }
        let mut action = new_at(&hosted);
        if name == "its tags" || name == "another tag" {
            action = action.input("image", format!("ghcr.io/{REPOSITORY}"));
        }
        let outcome = action.end_with(1);
        let states = states(&outcome);
        assert!(states.contains(&"unknown".to_owned()), "{name}: {states:?}");
        assert!(
            !states.contains(&"unknown-new".to_owned()),
            "{name}: {states:?}"
        );
    }
}

#[test]
fn token_that_was_given_less_than_was_asked_for_proves_nothing() {
    for (actions, code) in [(json!(["pull"]), 1), (json!(["pull", "push"]), 0)] {
        let hosted = hiding(Service::DockerHub);
        let claims =
            json!({"access": [{"type": "repository", "name": "octo-org/new", "actions": actions}]});
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let answer = json!({"token": token, "expires_in": 300}).to_string();
        let tokens = Fault::on("GET", "/token*").times(u32::MAX);
        hosted.registry().fault(tokens.answer(
            200,
            &[("content-type", "application/json")],
            &answer,
        ));
        // The sandbox does not know that token: what it hides, it hides behind its 403 all the same.
        let all = Fault::on("GET", "/v2/*").times(u32::MAX);
        let challenge =
            "Bearer realm=\"http://auth.docker.io/token\",service=\"registry.docker.io\"";
        hosted.registry().fault(Fault::on("GET", "/v2/*").answer(
            401,
            &[("www-authenticate", challenge)],
            "",
        ));
        hosted
            .registry()
            .fault(all.registry_error(403, "DENIED", "denied"));
        let outcome = new_at(&hosted).input("tags", "v1").end_with(code);
        let state = if code == 0 { "unknown-new" } else { "unknown" };
        assert_eq!(states(&outcome), [state]);
    }
}

#[test]
fn nobody_is_told_to_log_in_and_nothing_is_new_to_him() {
    for service in Service::ALL {
        let hosted = hiding(service);
        let new = format!("{}/octo-org/new", service.hosts()[0]);
        let action = Action::new("preflight").input("tags", "v1");
        let outcome = hosted.anonymous(action).input("image", new).end_with(1);
        outcome.says(&["hint: no credentials were given"]);
        assert_eq!(states(&outcome), ["unknown"], "{service:?}");
    }
}

#[test]
fn wrong_inputs_are_all_told() {
    let outcome = Action::new("preflight")
        .input("image", "ghcr.io/o/r")
        .input("on-existing-tag", "ignore")
        .input("digests", "# none yet")
        .end_with(2);
    outcome.says(&[
        "input `tags`: `preflight` must be told which tags to look for",
        "input `on-existing-tag`: `ignore` is none of `fail`, `skip`, `warn`",
        "input `digests`: it holds no digest",
    ]);
    let several = "ghcr.io/o/r:v1\nquay.io/o/r:v1\nv2";
    let outcome = Action::new("preflight").input("tags", several).end_with(2);
    outcome.says(&["which repository's tag is `v2`?"]);
}
