//! Workflows in a runner: a caller's, and this repository's reusable ones, with the image as the action.
//! `tests/runner/run` builds the image and starts these. Builds and artifacts are stand-ins (`tests/runner/actions`); all
//! else is real.

mod apart;
mod attempts;
mod cleanup;
mod empty;
mod publish;
mod release;

use serde_json::Value;

use super::container::without_fulcio;
use super::interoperability::{digests, two_children};
use super::support::{Action, Child, Dispatch, Flavour, Ran, Registry, Tool, Workflow, push_child};

fn seal(repository: &str, children: &[Child]) -> Dispatch {
    Dispatch::new("seal", &Workflow::default())
        .variable("IMAGE", repository)
        .variable("DIGESTS", &digests(children).join(","))
}

/// Returns the digest of `tag` according to crane; `None` if the registry answers 404.
fn held(repository: &str, tag: &str) -> Option<String> {
    let output = Tool::crane()
        .args(["digest", &format!("{repository}:{tag}")])
        .output();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("404"), "{said}");
    let digest = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| digest.trim().to_owned())
}

fn signed_once(repository: &str, digest: &str, workflow: &Workflow) {
    assert_eq!(Tool::bundles(repository, digest).len(), 1, "{digest}");
    Tool::cosign_verify(workflow)
        .arg(format!("{repository}@{digest}"))
        .succeed();
}

#[test]
fn outputs_reach_the_next_step_and_the_next_job() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let ran = seal(&repository, &children).succeed();
    assert_eq!(ran.output("seal", "result"), "created");
    let digest = ran.output("seal", "digest");
    let reference = format!("{repository}@{digest}");
    assert_eq!(ran.output("seal", "reference"), reference);
    assert_eq!(ran.references(), [&reference, &reference]);
    // The next step can read the record as a file.
    let record: Value = serde_json::from_str(ran.output("next", "record")).unwrap();
    assert!(record.to_string().contains(digest), "{record}");
    let summary = ran.summary("seal");
    for word in [&reference, "v1", "created", "cosign verify", "linux/arm64"] {
        assert!(summary.contains(word), "{word}\n{summary}");
    }
    assert_eq!(held(&repository, "v1").as_deref(), Some(digest));
    signed_once(&repository, digest, &Workflow::default());
}

#[test]
fn rerun_changes_nothing() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let dispatch = seal(&repository, &children);
    let first = dispatch.succeed();
    let again = dispatch.succeed();
    assert_eq!(again.output("seal", "result"), "unchanged");
    assert_eq!(again.output("seal", "sign-skipped"), "true");
    let digest = first.output("seal", "digest");
    assert_eq!(again.output("seal", "digest"), digest);
    assert!(
        again.summary("seal").contains("unchanged"),
        "{}",
        again.log()
    );
    signed_once(&repository, digest, &Workflow::default());
}

#[test]
fn conflict_fails_the_job_and_all_that_need_it() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    seal(&repository, &children).succeed();
    let before = held(&repository, "v1");
    let other = push_child(&repository, "s390x", Flavour::Oci);
    let ran = seal(&repository, &[other]).fail();
    assert_eq!(ran.result("seal"), Some("failure"), "{}", ran.log());
    assert_ne!(ran.result("after"), Some("success"), "{}", ran.log());
    assert!(
        ran.log().contains("exit with `FAILURE`: 3"),
        "{}",
        ran.log()
    );
    let summary = ran.summary("seal");
    assert!(summary.contains(before.as_deref().unwrap()), "{summary}");
    assert_eq!(held(&repository, "v1"), before);
}

#[test]
fn outage_of_sigstore_is_a_warning_if_allowed() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let dispatch = seal(&repository, &children)
        .variable("MAX_ATTEMPTS", "2")
        .variable("RETRY_DELAY", "2ms");
    let config = without_fulcio(dispatch.signing_config());
    let dispatch = dispatch.variable("SIGNING_CONFIG", &config);
    let refused = dispatch.fail();
    assert!(
        refused.log().contains("exit with `FAILURE`: 1"),
        "{}",
        refused.log()
    );
    assert_eq!(held(&repository, "v1"), None);
    let lenient = dispatch.variable("ON_SIGNING_FAILURE", "warn").succeed();
    assert_eq!(lenient.output("seal", "signed"), "false");
    let summary = lenient.summary("seal");
    assert!(summary.contains("Unsigned"), "{summary}");
    let digest = lenient.output("seal", "digest");
    assert_eq!(held(&repository, "v1").as_deref(), Some(digest));
    assert_eq!(Tool::bundles(&repository, digest).len(), 0);
    // After the outage, the rerun signs the existing index.
    let over = seal(&repository, &children).succeed();
    assert_eq!(over.output("seal", "result"), "unchanged");
    signed_once(&repository, digest, &Workflow::default());
}

#[test]
fn gate_lets_nobody_else_pass() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let sealed = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
    let workflow = Workflow::default();
    let gate = |identity: &str, source: &str| {
        Dispatch::new("verify", &workflow)
            .variable("IMAGE", sealed.output("reference"))
            .variable("IDENTITY", identity)
            .variable("SOURCE_REPOSITORY", source)
    };
    // Without a source repository, the calling repository is used.
    for source in ["", "octo-org/octo-app"] {
        let ran = gate(&workflow.identity(), source).succeed();
        assert_eq!(ran.output("next", "digest"), sealed.output("digest"));
    }
    let stranger = Workflow::named("stranger").identity();
    for (identity, source) in [
        (stranger.as_str(), ""),
        (&workflow.identity(), "octo-org/stranger"),
    ] {
        let ran = gate(identity, source).fail();
        assert!(
            ran.log().contains("exit with `FAILURE`: 3"),
            "{}",
            ran.log()
        );
        assert_ne!(ran.result("after"), Some("success"), "{}", ran.log());
        assert_eq!(ran.times("next", "digest"), 0, "{}", ran.log());
    }
    // The same workflow, called by another repository.
    let theirs = two_children(&repository, Flavour::Docker);
    let sealed = Action::seal(&repository, &digests(&theirs), &["v2"])
        .by(&workflow.clone().by("octo-org/stranger"))
        .succeed();
    let ran = gate(&workflow.identity(), "")
        .variable("IMAGE", sealed.output("reference"))
        .fail();
    assert!(
        ran.log().contains("exit with `FAILURE`: 3"),
        "{}",
        ran.log()
    );
    // A call without an identity is an error in the workflow.
    let ran = gate("", "").fail();
    assert!(
        ran.log().contains("exit with `FAILURE`: 2"),
        "{}",
        ran.log()
    );
}

#[test]
fn stages_hand_a_signed_index_to_the_callers_test() {
    let repository = Registry::Distribution.fresh();
    let workflow =
        Workflow::called("manifest-seal/manifest-seal/.github/workflows/staged.yml@refs/tags/v0");
    let ran = Dispatch::new("staged", &workflow)
        .variable("IMAGES", &repository)
        .succeed();
    let digest = ran.output("create", "digest");
    let reference = format!("{repository}@{digest}");
    assert_eq!(ran.output("next", "reference"), reference);
    let record: Value = serde_json::from_str(ran.output("next", "record")).unwrap();
    let platforms: Value = serde_json::from_str(ran.output("create", "platforms")).unwrap();
    let platforms = platforms.as_object().unwrap();
    assert_eq!(platforms.len(), 2, "{}", ran.log());
    for signed in platforms.values().chain([&Value::from(digest)]) {
        let signed = signed.as_str().unwrap();
        signed_once(&repository, signed, &workflow);
        assert!(record.to_string().contains(signed), "{record}");
    }
    let tags = Tool::crane().args(["ls", &repository]).succeed();
    // The only tags are referrers tags.
    assert!(tags.lines().all(|tag| tag.starts_with("sha256-")), "{tags}");
}

#[test]
fn staged_image_is_published_elsewhere_under_the_digest_that_was_signed() {
    let (staged, published) = (Registry::Distribution.fresh(), Registry::Cue.fresh());
    let workflow =
        Workflow::called("manifest-seal/manifest-seal/.github/workflows/staged.yml@refs/tags/v0");
    let dispatch = Dispatch::new("staged", &workflow)
        .variable("IMAGES", &staged)
        .variable("TAGS", &format!("{published}:v1"));
    let ran = dispatch.succeed();
    let digest = ran.output("create", "digest");
    assert_eq!(ran.output("publish", "digest"), digest);
    assert_eq!(ran.output("publish", "verified"), "true");
    assert_eq!(held(&published, "v1").as_deref(), Some(digest));
    let platforms: Value = serde_json::from_str(ran.output("create", "platforms")).unwrap();
    let platforms = platforms.as_object().unwrap().values();
    for signed in platforms.chain([&Value::from(digest)]) {
        signed_once(&published, signed.as_str().unwrap(), &workflow);
    }
    // An image signed with another repository's token is not published.
    let elsewhere = Registry::Cue.fresh();
    let refused = dispatch
        .variable("TAGS", &format!("{elsewhere}:v1"))
        .by(&workflow.by("octo-org/stranger"))
        .fail();
    assert_eq!(refused.result("sign"), Some("failure"), "{}", refused.log());
    assert_ne!(refused.result("publish"), Some("success"));
    assert_eq!(held(&elsewhere, "v1"), None);
}

impl Ran {
    /// Returns the reference in the next step, and in the next job.
    fn references(&self) -> Vec<&str> {
        ["seal", "after"]
            .into_iter()
            .map(|job| self.output_of(job, "next", "reference"))
            .collect()
    }
}
