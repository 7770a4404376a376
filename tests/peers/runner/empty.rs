//! A caller without a value passes the empty string: it counts as not given, for every input of every workflow.

use super::{held, signed_once};
use crate::support::{Dispatch, Registry, Workflow};

#[test]
fn empty_inputs_are_no_inputs() {
    let workflow =
        Workflow::called("manifest-seal/manifest-seal/.github/workflows/build-publish.yml@v0");
    let (published, staged) = (Registry::Distribution.fresh(), Registry::Cue.fresh());
    let ran = Dispatch::new("empty", &workflow)
        .variable("IMAGES", &published)
        .variable("STAGED", &staged)
        .variable("IDENTITY", &workflow.identity().replace('.', r"\."))
        .succeed();
    let jobs = [
        "plan", "build", "seal", "verify", "create", "sign", "cleanup",
    ];
    for job in jobs {
        assert_eq!(ran.result(job), Some("success"), "{job}: {}", ran.log());
    }
    for (job, step) in [("seal", "seal"), ("create", "create")] {
        let platforms = ran.output_of(job, step, "platforms");
        assert_eq!(platforms.matches("sha256:").count(), 2, "{platforms}");
    }
    let digest = ran.output_of("seal", "seal", "digest");
    signed_once(&published, digest, &workflow);
    signed_once(
        &staged,
        ran.output_of("create", "create", "digest"),
        &workflow,
    );
    // One empty list of tags to revert, and one that names this run's tag.
    assert_eq!(ran.times("cleanup", "remaining"), 1, "{}", ran.log());
    let tag = ran.output("names", "tags").replace("type=raw,value=", "");
    assert_eq!(held(&published, &tag), None, "{tag}");
}
