//! The cleanup job reverts the tags of a run if a later job fails: the gate, or one of the caller's.

use sandbox::{Fault, Options};

use super::publish::{build_publish, deployed};
use super::{held, signed_once};
use crate::interoperability::{digests, two_children};
use crate::support::{Action, Dispatch, Flavour, Ran, Registry};

/// The tags of two repositories before a run that publishes `v1` and `edge` in both.
struct Before {
    repositories: [String; 2],
    tags: Vec<[Option<String>; 3]>,
}

impl Before {
    /// Creates them with `edge` and `stable`.
    fn new() -> Self {
        let repositories = [Registry::Distribution.fresh(), Registry::Cue.fresh()];
        for repository in &repositories {
            let children = two_children(repository, Flavour::Oci);
            let sealed = Action::seal(repository, &digests(&children), &["stable"]);
            sealed.input("moving-tags", "edge").succeed();
        }
        let mut before = Self {
            repositories,
            tags: Vec::new(),
        };
        before.tags = before.now();
        before
    }

    /// Returns the digests of `v1`, `edge` and `stable`, according to another tool.
    fn now(&self) -> Vec<[Option<String>; 3]> {
        let tags = |repository: &String| ["v1", "edge", "stable"].map(|tag| held(repository, tag));
        self.repositories.iter().map(tags).collect()
    }

    /// Returns the expected digests after `digest` is published.
    fn with(&self, digest: &str) -> Vec<[Option<String>; 3]> {
        let published = Some(digest.to_owned());
        let tags = |[_, _, stable]: &[Option<String>; 3]| {
            [published.clone(), published.clone(), stable.clone()]
        };
        self.tags.iter().map(tags).collect()
    }

    /// Makes a run that publishes in both.
    fn dispatch(&self) -> Dispatch {
        deployed(&self.repositories.each_ref().map(String::as_str))
    }
}

/// Returns the sealed digest, and the output `remaining` of the `cleanup` steps.
fn sealed_and_remaining(ran: &Ran) -> (&str, &str) {
    (
        ran.output("seal", "digest"),
        ran.output("cleanup", "remaining"),
    )
}

#[test]
fn later_job_of_the_caller_fails_and_all_is_as_before() {
    let before = Before::new();
    let dispatch = before
        .dispatch()
        .variable("DEPLOY", "failure")
        .variable("TAKE_BACK", "true");
    let ran = dispatch.fail();
    let (digest, remaining) = sealed_and_remaining(&ran);
    assert_eq!(ran.result("deploy"), Some("failure"), "{}", ran.log());
    assert_eq!(ran.result("cleanup"), Some("success"), "{}", ran.log());
    assert_eq!(remaining, "[]", "{}", ran.log());
    assert_eq!(before.now(), before.tags, "{}", ran.log());
    for word in ["v1", "edge"] {
        assert!(ran.summary("cleanup").contains(word), "{}", ran.log());
    }
    // The signatures stay.
    for repository in &before.repositories {
        signed_once(repository, digest, &build_publish());
    }
    // Without a failure, nothing is reverted.
    let ran = dispatch.variable("DEPLOY", "success").succeed();
    assert_eq!(ran.times("cleanup", "remaining"), 0, "{}", ran.log());
    assert_eq!(before.now(), before.with(ran.output("seal", "digest")));
}

#[test]
fn gate_fails_and_all_is_as_before_if_the_caller_asks_for_that() {
    for (asked, taken_back) in [("", false), ("true", true)] {
        let before = Before::new();
        let dispatch = before
            .dispatch()
            .variable("CLEANUP_ON_FAILURE", asked)
            .variable("GATE_ISSUER", "https://elsewhere.example");
        let ran = dispatch.fail();
        assert_eq!(ran.result("seal"), Some("success"), "{}", ran.log());
        assert_eq!(ran.result("verify"), Some("failure"), "{}", ran.log());
        assert_eq!(
            ran.times("cleanup", "remaining"),
            usize::from(taken_back),
            "{}",
            ran.log()
        );
        let digest = ran.output("seal", "digest");
        let wanted = if taken_back {
            before.tags.clone()
        } else {
            before.with(digest)
        };
        assert_eq!(before.now(), wanted, "{asked}: {}", ran.log());
    }
}

#[test]
fn sealing_fails_half_way_and_what_it_wrote_is_taken_back() {
    let broken = sandbox::Registry::start(Options::new());
    broken.fault(
        Fault::on("PUT", "*/manifests/v1")
            .times(u32::MAX)
            .registry_error(403, "DENIED", "requested access to the resource is denied"),
    );
    for (asked, stays) in [("", true), ("true", false)] {
        let full = Registry::Distribution.fresh();
        let images = format!("{full}\n{}", broken.repository("octo-org/app"));
        let ran = Dispatch::new("deploy", &build_publish())
            .variable("IMAGES", &images)
            .variable("TAGS", "type=raw,value=v1")
            .variable("DEPLOY", "success")
            .variable("CLEANUP_ON_FAILURE", asked)
            .fail();
        assert_eq!(ran.result("seal"), Some("failure"), "{}", ran.log());
        assert_eq!(held(&full, "v1").is_some(), stays, "{}", ran.log());
        if !stays {
            assert_eq!(ran.output("cleanup", "remaining"), "[]", "{}", ran.log());
        }
    }
}
