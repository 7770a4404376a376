//! Repositories without a first push, to which some registries deny access.

use sandbox::{Fault, Forged, Options, Referrers, Registry, Subject};
use serde_json::Value;

use crate::support::{MIRROR, Two, World, listed, writes};

fn denied(tag: &str) -> sandbox::Trigger {
    Fault::on("GET", &format!("*/manifests/{tag}")).times(u32::MAX)
}

#[test]
fn new_repository_may_be_denied_until_it_exists() {
    let two = Two::new();
    let denied = || Fault::on("GET", "*/manifests/v1").registry_error(403, "DENIED", "denied");
    two.other.fault(denied());
    let outcome = two.seal().succeed();
    let warning = format!("::warning::access to `{}", two.other.repository(MIRROR));
    outcome.says(&[&warning]);
    assert_eq!(two.other.tags(MIRROR)["v1"], outcome.output("digest"));
    let copied = format!("`sha256:{}`", &two.world.amd64.digest[7..19]);
    assert!(outcome.summary.contains(&copied), "{}", outcome.summary);
    // A dry run cannot determine that a repository is new. A repository from which children were read is not new.
    two.other.fault(denied());
    two.seal().input("dry-run", "true").end_with(1);
    two.world.registry().fault(denied());
    two.seal().end_with(1);
}

#[test]
fn denied_repository_fails_and_leaves_no_tag() {
    let two = Two::new();
    let tag = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
    two.other.fault(tag.registry_error(403, "DENIED", "denied"));
    let outcome = two.seal().end_with(1);
    outcome.says(&["could not read", "403"]);
    assert_eq!(
        (two.world.writes(), two.other.tags(MIRROR).len()),
        (vec![], 0)
    );
    assert_eq!(two.world.sigstore().entries(), 0);
    assert!(two.is_whole_in_both(&two.world.amd64));
}

#[test]
fn repository_that_answers_for_one_tag_is_not_new() {
    let two = Two::new();
    two.other
        .fault(denied("v1").registry_error(403, "DENIED", "denied"));
    let tags = [&two.there("v1"), &two.there("v2"), "v1"];
    let outcome = two.seal().input("tags", tags.join("\n")).end_with(1);
    outcome.says(&[&two.there("v1"), "403"]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn nothing_is_copied_while_another_repository_is_unknown() {
    let two = Two::new();
    two.other
        .fault(Fault::on("GET", "*/manifests/v1").registry_error(403, "DENIED", "denied"));
    let here = denied("v1").registry_error(403, "DENIED", "denied");
    two.world.registry().fault(here);
    let tags = format!("{}\nv1", two.there("v1"));
    let outcome = two.seal().input("tags", tags).end_with(1);
    outcome.says(&[&two.world.at("v1"), "403"]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn images_are_copied_to_several_new_repositories() {
    let world = World::new();
    let hides = Options::new()
        .hides_new(true)
        .referrers(Referrers::TagSchema);
    let other = Registry::start(hides.bearer("u", "p"));
    let auths = format!(
        "- registry: {}\n  username: u\n  password: p",
        other.address()
    );
    let full = |name: &str, tag: &str| format!("{}:{tag}", other.repository(name));
    let tags = [full("a/a", "v1"), full("a/a", "v2"), full("b/b", "v1")];
    let action = world
        .seal()
        .input("tags", format!("v1\n{}", tags.join("\n")));
    let outcome = action.input("registry-auths", auths).succeed();
    let digest = outcome.output("digest");
    for name in ["a/a", "b/b"] {
        assert_eq!(other.tags(name)["v1"], digest);
        assert_eq!(listed(&other, name, digest).len(), 1);
    }
}

#[test]
fn policy_that_cannot_be_met_is_refused_before_children_are_copied() {
    let other = Registry::start(Options::new().bearer("u", "p").hides_new(true));
    let world = World::new();
    let auths = format!(
        "- registry: {}\n  username: u\n  password: p\n",
        other.address()
    );
    let tags = format!("v1\n{}:v1", other.repository(MIRROR));
    let seal = world.seal().input("tags", tags);
    let seal = seal.input("registry-auths", auths);
    let unmet = |input: &str, value: &str| {
        let unmet = seal.elsewhere().input(input, value).end_with(2);
        unmet.says(&["the signature of this run would not meet the inputs"]);
        unmet.does_not_say(&["The images are copied to"]);
        assert_eq!((writes(&other), world.writes()), (vec![], vec![]));
    };
    unmet("certificate-identity", "https://github.com/somebody/else");
    unmet("certificate-github-workflow-sha", "0");
    // A token need not state the subject. The certificate does.
    world.sigstore().set_claim("job_workflow_ref", Value::Null);
    let (subject, issuer) = ("dev@example.com".to_owned(), world.sigstore().issuer());
    let subject = Subject::Email(subject);
    world.sigstore().forge(Some(Forged { subject, issuer }));
    unmet("certificate-identity", "https://github.com/somebody/else");
    // An outage of Fulcio leaves this unknown. If the inputs excuse it, the run goes on unsigned.
    let down = Fault::on("POST", "*/signingCert")
        .times(u32::MAX)
        .status(503);
    world.sigstore().fault(down);
    let lenient = seal.elsewhere().input("on-signing-failure", "warn");
    let lenient = lenient.input("certificate-identity", "https://github.com/somebody/else");
    let lenient = lenient
        .input("retry-max-delay", "20ms")
        .input("timeout", "25s")
        .run();
    lenient.says(&["The images are copied to"]);
}
