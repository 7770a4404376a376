//! What is wrong with one of several registries is told by its name, and is nobody else's trouble.

use sandbox::{Fault, Kind, Referrers};
use serde_json::{Value, json};

use crate::several::{MIRROR, Two, writes};
use crate::support::{Action, REPOSITORY, World, listed};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn denied(tag: &str) -> sandbox::Trigger {
    Fault::on("GET", &format!("*/manifests/{tag}")).times(u32::MAX)
}

#[test]
fn repository_that_answers_for_one_tag_is_none_that_was_never_seen() {
    let two = Two::new();
    two.other
        .fault(denied("v1").registry_error(403, "DENIED", "denied"));
    let tags = [&two.there("v1"), &two.there("v2"), "v1"];
    let outcome = two.seal().input("tags", tags.join("\n")).end_with(1);
    outcome.says(&[&two.there("v1"), "403"]);
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn nothing_is_brought_anywhere_while_another_repository_will_not_say() {
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
fn tag_that_is_no_list_of_signatures_is_told_by_its_full_name() {
    let two = Two::new();
    let digest = two.seal().input("command", "create").succeed();
    let digest = digest.output("digest");
    for tag in [
        digest.replace(':', "-"),
        format!("{}.sig", digest.replace(':', "-")),
    ] {
        two.other.push_image(MIRROR, "linux/amd64", Kind::Oci);
        two.other.tag(MIRROR, &tag, &two.world.amd64.digest);
        let outcome = two.seal().input("signature-format", "both").end_with(1);
        outcome.says(&[&format!("::error"), &two.there(&tag)]);
        two.other.delete_tag(MIRROR, &tag);
    }
}

#[test]
fn image_that_has_lost_its_config_is_told_by_its_full_name() {
    let two = Two::new();
    let s390x = two.other.push_image(MIRROR, "linux/s390x", Kind::Oci);
    two.other.delete_blob(MIRROR, &s390x.config);
    let there = format!("{}@{}", two.other.repository(MIRROR), s390x.digest);
    let digests = format!("{}\n{there}", two.world.amd64.digest);
    let outcome = two.seal().input("digests", digests).end_with(1);
    outcome.says(&[&format!("`{there}` has lost its config")]);
}

#[test]
fn several_repositories_that_were_never_seen_are_brought_the_images() {
    let world = World::new();
    let hides = sandbox::Options::new()
        .hides_new(true)
        .referrers(Referrers::TagSchema);
    let other = sandbox::Registry::start(hides.bearer("u", "p"));
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
