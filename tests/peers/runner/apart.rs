//! One job of a run passes data only to its own next job: two calls share nothing, and data that another job writes into
//! an artifact decides nothing.

use std::collections::BTreeSet;

use super::publish::{build_publish, version};
use super::{held, signed_once};
use crate::interoperability::{digests, two_children};
use crate::support::{Action, Dispatch, Flavour, Ran, Registry, Tool, Workflow};

fn staged() -> Workflow {
    Workflow::called("manifest-seal/manifest-seal/.github/workflows/staged.yml@refs/tags/v0")
}

/// Pushes an index of two images without the right to sign.
fn strangers_index(repository: &str) -> String {
    let children = two_children(repository, Flavour::Docker);
    let created = Action::new("create", repository)
        .input("digests", &digests(&children).join(","))
        .succeed();
    created.output("digest").to_owned()
}

#[test]
fn two_calls_with_one_staging_repository_do_not_mix() {
    let staging = Registry::Distribution.fresh();
    let (one, other) = (Registry::Cue.fresh(), Registry::Cue.fresh());
    let ran = Dispatch::new("two", &staged())
        .variable("IMAGES", &staging)
        .variable("ONE", &format!("{one}:v1"))
        .variable("OTHER", &format!("{other}:v1"))
        .succeed();
    let said = |name: &str| ran.output_of("after", "next", name);
    assert_ne!(said("one"), said("other"));
    for (repository, name, others) in [(&one, "one", "other"), (&other, "other", "one")] {
        let digest = said(name);
        assert_eq!(held(repository, "v1").as_deref(), Some(digest));
        signed_once(repository, digest, &staged());
        let record = said(&format!("record-of-{name}"));
        assert!(record.contains(digest), "{record}");
        assert!(!record.contains(said(others)), "{record}");
        // The index has only its own platform.
        let platform = if name == "one" { "amd64" } else { "arm64" };
        let config = Tool::crane().args(["config", &format!("{repository}@{digest}")]);
        let platformed = config.args(["--platform", &format!("linux/{platform}")]);
        assert!(platformed.succeed().contains(platform));
    }
}

#[test]
fn record_that_another_job_wrote_signs_and_publishes_nothing() {
    let (staging, published) = (Registry::Distribution.fresh(), Registry::Cue.fresh());
    let stranger = strangers_index(&staging);
    // In every artifact that a job fetches, as if another job of the run had written it meanwhile.
    let ran = Dispatch::new("staged", &staged())
        .variable("IMAGES", &staging)
        .variable("TAGS", &format!("{published}:v1"))
        .swapping(&format!(
            "sed --in-place 's/sha256:[0-9a-f]*/{stranger}/g' \"$1\"/*"
        ))
        .run();
    assert_eq!(Tool::bundles(&staging, &stranger).len(), 0, "{}", ran.log());
    let held = held(&published, "v1");
    assert_ne!(held.as_deref(), Some(&*stranger), "{}", ran.log());
    let created = ran.output_of("create", "create", "digest");
    assert!(held.is_none_or(|held| held == created), "{}", ran.log());
}

#[test]
fn record_that_another_job_wrote_takes_nothing_back() {
    let repository = Registry::Distribution.fresh();
    let ran = Dispatch::new("deploy", &build_publish())
        .variable("IMAGES", &repository)
        .variable("TAGS", "type=raw,value=v1")
        .variable("DEPLOY", "failure")
        .variable("TAKE_BACK", "true")
        .swapping("sed --in-place 's/\"schema\"/\"schema\" /' \"$1\"/*")
        .fail();
    // The tag stays, and the manual steps are printed.
    assert_eq!(ran.result("cleanup"), Some("success"), "{}", ran.log());
    let digest = ran.output("seal", "digest");
    assert_eq!(held(&repository, "v1").as_deref(), Some(digest));
    assert!(
        ran.output("cleanup", "remaining").contains(digest),
        "{}",
        ran.log()
    );
}

/// Asserts that `ran` ended before a build with exit code 3, and changed nothing.
fn assert_refused(ran: &Ran, repository: &str, digest: &str, bundles: usize) {
    assert_eq!(ran.result("plan"), Some("failure"), "{}", ran.log());
    assert!(
        ran.log().contains("exit with `FAILURE`: 3"),
        "{}",
        ran.log()
    );
    assert_eq!(ran.times("build", "digest"), 0, "{}", ran.log());
    assert_eq!(held(repository, "v1").as_deref(), Some(digest));
    assert_eq!(
        Tool::bundles(repository, digest).len(),
        bundles,
        "{}",
        ran.log()
    );
}

#[test]
fn unsigned_tag_is_sealed_only_by_its_digest() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let created = Action::new("create", &repository)
        .input("digests", &digests(&children).join(","))
        .input("tags", "v1")
        .succeed();
    let digest = created.output("digest");
    assert_refused(&version(&[&repository]).fail(), &repository, digest, 0);

    // Another digest is not the one under the tag.
    let other = strangers_index(&repository);
    let ran = version(&[&repository]).variable("ADOPT", &other).fail();
    assert_eq!(ran.result("seal"), Some("failure"), "{}", ran.log());
    assert_eq!(held(&repository, "v1").as_deref(), Some(digest));
    for unsigned in [digest, &other] {
        assert_eq!(Tool::bundles(&repository, unsigned).len(), 0);
    }

    for skipped in ["false", "true"] {
        let ran = version(&[&repository]).variable("ADOPT", digest).succeed();
        assert_eq!(ran.times("build", "digest"), 0, "{}", ran.log());
        assert_eq!(ran.output("seal", "digest"), digest);
        assert_eq!(ran.output("seal", "sign-skipped"), skipped);
        assert!(ran.summary("verify").contains(digest), "{}", ran.log());
        signed_once(&repository, digest, &build_publish());
    }
    // The index is signed unchanged and states no name: only the caller's input assigns it to this tag.
    let ran = version(&[&repository]).fail();
    assert_refused(&ran, &repository, digest, 1);
    let reason = "its name (`io.github.manifest-seal.name`) is none";
    assert!(ran.log().contains(reason), "{}", ran.log());
}

#[test]
fn tag_that_others_signed_is_not_taken_for_this_workflows() {
    let ours = "manifest-seal/manifest-seal/.github/workflows/build-publish.yml";
    let fork = Workflow::called(&format!("{ours}@{}", "badc0ffe".repeat(5)));
    let strangers = [
        Workflow::default(),
        build_publish().by("octo-org/stranger"),
        fork,
        Workflow::called(&format!("{ours}@refs/heads/main")),
    ];
    let identities: BTreeSet<String> = strangers.iter().map(Workflow::identity).collect();
    assert_eq!(identities.len(), 4);
    for stranger in strangers {
        let repository = Registry::Distribution.fresh();
        let children = two_children(&repository, Flavour::Oci);
        let sealed = Action::seal(&repository, &digests(&children), &["v1"])
            .by(&stranger)
            .succeed();
        let ran = version(&[&repository]).fail();
        assert_refused(&ran, &repository, sealed.output("digest"), 1);
    }
}

/// A token of another repository signs nothing: the policy of the gate cannot be met.
#[test]
fn run_that_its_own_gate_would_refuse_pushes_nothing() {
    let repository = Registry::Distribution.fresh();
    let stranger = build_publish().by("octo-org/stranger");
    let ran = version(&[&repository]).by(&stranger).fail();
    assert_eq!(ran.result("seal"), Some("failure"), "{}", ran.log());
    assert!(
        ran.log().contains("exit with `FAILURE`: 2"),
        "{}",
        ran.log()
    );
    assert_eq!(held(&repository, "v1"), None);
}
