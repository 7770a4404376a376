//! `build-publish.yml` from the preflight to the gate, for a caller.

use serde_json::Value;

use super::{held, signed_once};
use crate::support::{Dispatch, Ran, Registry, Tool, Workflow, free_port};

/// The workflow in the certificates of all its callers.
pub(super) fn build_publish() -> Workflow {
    Workflow::called("manifest-seal/manifest-seal/.github/workflows/build-publish.yml@refs/tags/v0")
}

/// Makes a build with only moving tags, so that no preflight runs.
fn moving(repository: &str) -> Dispatch {
    Dispatch::new("build-publish", &build_publish())
        .variable("IMAGES", repository)
        .variable("TAGS", "type=raw,enable=false,value=none")
        .variable("MOVING_TAGS", "type=raw,value=edge")
}

#[test]
fn build_is_published_in_every_registry_sealed_and_verified() {
    let repository = Registry::Distribution.fresh();
    let other = Registry::Cue.fresh();
    let ran = moving(&repository)
        .variable("IMAGES", &format!("{repository}\n{other}"))
        .succeed();
    assert_eq!(ran.times("build", "digest"), 2, "{}", ran.log());
    let published = ran.published();
    let digest = published["digest"].as_str().unwrap();
    assert_eq!(published["result"], "created");
    assert_eq!(published["signed"], "true");
    assert_eq!(published["reference"], format!("{repository}@{digest}"));
    for repository in [&repository, &other] {
        assert_eq!(held(repository, "edge").as_deref(), Some(digest));
        signed_once(repository, digest, &build_publish());
        // The gate verifies in each of them.
        let reference = format!("{repository}@{digest}");
        assert!(ran.summary("verify").contains(&reference), "{}", ran.log());
    }
    let platforms: Value = serde_json::from_str(ran.output("seal", "platforms")).unwrap();
    let platforms: Vec<&String> = platforms.as_object().unwrap().keys().collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64/v8"]);
}

#[test]
fn build_that_is_run_again_leaves_nothing_of_the_first() {
    let repository = Registry::Distribution.fresh();
    let dispatch = moving(&repository);
    let first = dispatch.succeed();
    // Other images, because a rebuild is rarely identical. An artifact left from the first would give a platform twice.
    let again = dispatch.succeed();
    let digest = again.output("seal", "digest");
    assert_ne!(first.output("seal", "digest"), digest);
    assert_eq!(held(&repository, "edge").as_deref(), Some(digest));
    signed_once(&repository, digest, &build_publish());
}

/// Makes a build of the version `v1`.
pub(super) fn version(images: &[&str]) -> Dispatch {
    Dispatch::new("build-publish", &build_publish())
        .variable("IMAGES", &images.join("\n"))
        .variable("TAGS", "type=raw,value=v1")
}

/// Makes a build of the version `v1`, also tagged `edge`, with a deployment. Nothing of it fails, and nothing is reverted.
pub(super) fn deployed(images: &[&str]) -> Dispatch {
    Dispatch::new("deploy", &build_publish())
        .variable("IMAGES", &images.join("\n"))
        .variable("TAGS", "type=raw,value=v1")
        .variable("MOVING_TAGS", "type=raw,value=edge")
        .variable("DEPLOY", "success")
}

#[test]
fn dispatch_on_the_same_ref_builds_nothing_and_signs_nothing() {
    let repository = Registry::Distribution.fresh();
    let dispatch = Dispatch::new("build-publish", &build_publish())
        .variable("IMAGES", &repository)
        .variable("TAG_SUFFIX", "-plugins");
    let first = dispatch.succeed();
    let again = dispatch.succeed();
    let digest = first.digest();
    assert_eq!(again.digest(), digest);
    assert_eq!(again.times("build", "digest"), 0, "{}", again.log());
    let published = again.published();
    assert_eq!(published["result"], "unchanged");
    assert_eq!(published["sign-skipped"], "true");
    assert!(again.summary("verify").contains(&digest), "{}", again.log());
    signed_once(&repository, &digest, &build_publish());
    let tag = first.output("names", "tags").replace("type=raw,value=", "");
    assert!(
        tag.starts_with("main-") && tag.ends_with("-plugins"),
        "{tag}"
    );
    assert_eq!(held(&repository, &tag), Some(digest));
}

#[test]
fn half_published_version_ends_as_the_policy_says() {
    let full = Registry::Distribution.fresh();
    let empty = Registry::Cue.fresh();
    let with = |policy| version(&[&empty, &full]).variable("ON_EXISTING_TAG", policy);
    // The first registry, where images would be built, is the one without the tag.
    let digest = with("fail").succeed().digest();
    Tool::regctl(&empty)
        .args(["tag", "delete", &format!("{empty}:v1")])
        .succeed();
    let holding = || (held(&full, "v1"), held(&empty, "v1"));
    let before = (Some(digest.clone()), None);

    let ran = with("fail").fail();
    assert_eq!(ran.result("plan"), Some("failure"), "{}", ran.log());
    assert!(
        ran.log().contains("exit with `FAILURE`: 3"),
        "{}",
        ran.log()
    );
    assert_eq!(ran.times("build", "digest"), 0, "{}", ran.log());
    assert_eq!(holding(), before);

    // A rebuild has another digest, and does not replace the existing one.
    let ran = with("warn").fail();
    assert_eq!(ran.output("preflight", "proceed"), "true");
    assert!(ran.log().contains("::warning"), "{}", ran.log());
    assert_eq!(ran.times("build", "digest"), 2, "{}", ran.log());
    assert_eq!(ran.result("seal"), Some("failure"), "{}", ran.log());
    assert_eq!(holding(), before);

    // The default is `skip`.
    let ran = with("").succeed();
    assert_eq!(ran.output("preflight", "proceed"), "false");
    assert_eq!(ran.output("preflight", "digest"), digest);
    assert_eq!(
        ran.output("preflight", "source"),
        format!("{full}@{digest}")
    );
    assert_eq!(ran.times("build", "digest"), 0, "{}", ran.log());
    assert_eq!(ran.digest(), digest);
    assert_eq!(ran.published()["result"], "completed");
    assert_eq!(holding(), (Some(digest.clone()), Some(digest.clone())));
    for repository in [&full, &empty] {
        signed_once(repository, &digest, &build_publish());
    }
}

#[test]
fn registry_that_does_not_answer_fails_before_a_build() {
    let empty = Registry::Distribution.fresh();
    let silent = format!("127.0.0.1:{}/octo-org/app", free_port());
    let ran = version(&[&empty, &silent])
        .variable("ON_EXISTING_TAG", "warn")
        .fail();
    assert_eq!(ran.result("plan"), Some("failure"), "{}", ran.log());
    assert!(
        ran.log().contains("exit with `FAILURE`: 1"),
        "{}",
        ran.log()
    );
    assert_eq!(ran.output("preflight", "proceed"), "false");
    assert_eq!(ran.times("build", "digest"), 0, "{}", ran.log());
    assert_eq!(held(&empty, "v1"), None);
}

impl Ran {
    /// Returns the outputs of the reusable workflow, as the caller's next job read them.
    fn published(&self) -> Value {
        serde_json::from_str(self.output_of("after", "next", "outputs")).unwrap()
    }

    /// Returns the published digest.
    fn digest(&self) -> String {
        self.published()["digest"].as_str().unwrap().to_owned()
    }
}
