//! Any rerun ends in the same digest, one signature and the same tags. A run that cannot reports the reason and changes
//! nothing.

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Flavour, Registry, Server, Tool, Workflow, free_port, on_each_registry, push_child,
    push_index,
};

on_each_registry!(
    rerun_changes_nothing,
    absent_tags_are_completed,
    conflict_is_refused_and_nothing_moves,
    dangling_child_is_named,
    only_this_runs_own_signature_makes_it_skip,
);

fn rerun_changes_nothing(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let mut wanted = digests(&children);
    let first = Action::seal(&repository, &wanted, &["v1", "v1.0"]).succeed();
    assert_eq!(first.output("result"), "created", "{}", first.log);
    assert_eq!(first.output("sign-skipped"), "false", "{}", first.log);
    // The order of the inputs and a duplicate make no difference.
    wanted.reverse();
    wanted.push(wanted[0]);
    let second = Action::seal(&repository, &wanted, &["v1.0", "v1"]).succeed();
    assert_eq!(second.output("result"), "unchanged", "{}", second.log);
    assert_eq!(
        second.output("manifest-create-skipped"),
        "true",
        "{}",
        second.log
    );
    assert_eq!(second.output("sign-skipped"), "true", "{}", second.log);
    assert_eq!(second.output("signed"), "true", "{}", second.log);
    let digest = first.output("digest");
    assert_eq!(digest, second.output("digest"));
    assert_eq!(Tool::bundles(&repository, digest).len(), 1);
}

/// Without a given identity it is the run's own, as Fulcio derives it from the token.
fn only_this_runs_own_signature_makes_it_skip(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = |workflow: &Workflow| {
        Action::seal(&repository, &digests(&children), &["v1"])
            .by(workflow)
            .input("certificate-identity", "")
            .input("certificate-oidc-issuer", "")
            .succeed()
    };
    let (ours, theirs) = (Workflow::default(), Workflow::named("another"));
    let mut skipped = Vec::new();
    for workflow in [&ours, &ours, &theirs, &theirs, &ours] {
        skipped.push(seal(workflow).output("sign-skipped").to_owned());
    }
    assert_eq!(skipped, ["false", "true", "false", "true", "true"]);
}

fn absent_tags_are_completed(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let first = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
    let second = Action::seal(&repository, &digests(&children), &["v1", "v1.0", "v2"]).succeed();
    assert_eq!(second.output("result"), "completed", "{}", second.log);
    assert_eq!(second.output("sign-skipped"), "true", "{}", second.log);
    for tag in ["v1", "v1.0", "v2"] {
        assert_eq!(digest_of(&repository, tag), first.output("digest"));
    }
}

fn conflict_is_refused_and_nothing_moves(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let other = push_child(&repository, "s390x", Flavour::Oci);
    let theirs = push_index(&repository, &[&children[0], &other], "v1");
    let refused = Action::seal(&repository, &digests(&children), &["v0", "v1"]).end_with(3);
    for told in ["v1", &other.digest, &children[1].digest] {
        assert!(refused.log.contains(told), "{told}\n{}", refused.log);
    }
    assert_eq!(digest_of(&repository, "v1"), theirs);
    let tags = Tool::crane().args(["ls", &repository]).succeed();
    assert!(!tags.lines().any(|tag| tag == "v0"), "{tags}");
}

fn dangling_child_is_named(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    Action::seal(&repository, &digests(&children), &["v1"]).succeed();
    let lost = format!("{repository}@{}", children[1].digest);
    Tool::regctl(&repository)
        .args(["manifest", "delete", &lost])
        .succeed();
    let failed = Action::seal(&repository, &digests(&children), &["v1"]).end_with(1);
    assert!(failed.log.contains(&children[1].digest), "{}", failed.log);
}

#[test]
fn registry_that_stopped_is_unknown_and_not_empty() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let server = Server::start("refreg", &["-impl", "cue", "-addr", &address], port);
    let repository = format!("{address}/octo-org/app");
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]);
    seal.succeed();
    drop(server);
    let failed = seal.end_with(1);
    assert!(failed.log.contains(&address), "{}", failed.log);
    Action::new("verify", &format!("{repository}:v1")).end_with(1);
}

pub(super) fn digest_of(repository: &str, tag: &str) -> String {
    Tool::crane()
        .args(["digest", &format!("{repository}:{tag}")])
        .succeed()
}
