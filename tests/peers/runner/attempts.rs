//! Reruns of only the failed jobs, after the cause of the failure is gone: the digest stays, nothing is signed twice, no
//! artifact conflicts, and the gate passes.

use std::collections::BTreeMap;

use sandbox::{Fault, Options};

use super::publish::{build_publish, deployed};
use super::{held, signed_once};
use crate::support::{Dispatch, Ran, Registry};

/// Returns the platforms of the index that a job has sealed, and their digests.
fn platforms(ran: &Ran) -> BTreeMap<String, String> {
    serde_json::from_str(ran.output("seal", "platforms")).unwrap()
}

#[test]
fn gate_that_failed_passes_for_the_same_digest() {
    for cleanup in ["", "true"] {
        let repository = Registry::Distribution.fresh();
        let dispatch = deployed(&[&repository])
            .variable("CLEANUP_ON_FAILURE", cleanup)
            .variable("GATE_ISSUER", "https://elsewhere.example");
        let first = dispatch.fail();
        let digest = first.output("seal", "digest");
        let held_now = || ["v1", "edge"].map(|tag| held(&repository, tag));
        let published = [Some(digest.to_owned()), Some(digest.to_owned())];
        let between = match cleanup {
            "true" => [None, None],
            _ => published.clone(),
        };
        assert_eq!(held_now(), between, "{}", first.log());

        let again = dispatch
            .rerun_failed(&first)
            .variable("GATE_ISSUER", &Dispatch::issuer())
            .succeed();
        assert_eq!(again.summary("seal"), "", "{}", again.log());
        assert!(again.summary("verify").contains(digest), "{}", again.log());
        assert_eq!(again.result("deploy"), Some("success"), "{}", again.log());
        assert_eq!(held_now(), published, "`{cleanup}`: {}", again.log());
        signed_once(&repository, digest, &build_publish());
    }
}

#[test]
fn sealing_that_failed_after_signing_ends_in_the_same_digest() {
    let full = Registry::Distribution.fresh();
    let broken = sandbox::Registry::start(Options::new());
    let other = broken.repository("octo-org/app");
    broken.fault(
        Fault::on("PUT", "*/manifests/v1")
            .times(u32::MAX)
            .registry_error(403, "DENIED", "requested access to the resource is denied"),
    );
    let dispatch = deployed(&[&full, &other]);
    let first = dispatch.fail();
    assert_eq!(first.result("seal"), Some("failure"), "{}", first.log());
    let digest = held(&full, "v1").unwrap_or_else(|| panic!("{}", first.log()));

    broken.clear_faults();
    let again = dispatch.rerun_failed(&first).succeed();
    assert_eq!(again.summary("plan"), "", "{}", again.log());
    assert_eq!(again.output("seal", "digest"), digest);
    assert_eq!(again.output("seal", "result"), "completed");
    assert_eq!(again.output("seal", "sign-skipped"), "true");
    for repository in [&full, &other] {
        for tag in ["v1", "edge"] {
            assert_eq!(held(repository, tag).as_ref(), Some(&digest), "{tag}");
        }
        signed_once(repository, &digest, &build_publish());
    }
}

#[test]
fn build_that_failed_is_the_only_one_that_is_run_again() {
    let repository = Registry::Distribution.fresh();
    let dispatch = deployed(&[&repository]).variable("BUILD_ARGS", "FAIL=linux/arm64");
    let first = dispatch.fail();
    let built = first.values("build", "digest");
    assert_eq!(built.len(), 1, "{}", first.log());
    assert_eq!(first.result("seal"), None, "{}", first.log());
    assert_eq!(held(&repository, "v1"), None);

    let again = dispatch
        .rerun_failed(&first)
        .variable("BUILD_ARGS", "")
        .succeed();
    let rebuilt = again.values("build", "digest");
    assert_eq!(rebuilt.len(), 1, "{}", again.log());
    let sealed = platforms(&again);
    assert!(built.contains(&*sealed["linux/amd64"]), "{sealed:?}");
    assert!(rebuilt.contains(&*sealed["linux/arm64/v8"]), "{sealed:?}");
    let digest = again.output("seal", "digest");
    assert_eq!(held(&repository, "v1").as_deref(), Some(digest));
    signed_once(&repository, digest, &build_publish());
}
