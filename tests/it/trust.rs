//! Content by somebody without our signing rights does not influence the signed, tagged or moved images.

use sandbox::{Forged, Subject};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MANIFEST, MIRROR, Outcome, REPOSITORY, Two, World, child, index_of, labelled,
    push,
};

const USUAL_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
const OTHER_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/other.yml@refs/heads/main";

/// Pushes an index of the right images, with an annotation that was not requested, under `tag`.
fn push_foreign(world: &World, tag: &str) -> String {
    let mut index = index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
    ]);
    index["annotations"] = json!({"org.opencontainers.image.source": "https://elsewhere.test"});
    push(world, Some(tag), &index.to_string())
}

/// Asserts that nothing was signed, and that the tags are exactly `kept`.
fn nothing_was_done(world: &World, kept: &[(&str, &str)]) {
    assert_eq!(world.sigstore().entries(), 0);
    let tags: Vec<(String, String)> = world.tags().into_iter().collect();
    let kept: Vec<(String, String)> = kept
        .iter()
        .map(|(tag, digest)| ((*tag).to_owned(), (*digest).to_owned()))
        .collect();
    assert_eq!(tags, kept);
}

#[test]
fn index_that_anybody_could_have_pushed_is_a_conflict_where_something_is_signed() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    for action in [
        world.seal(),
        world.seal().input("moving-tags", "latest"),
        world.seal().input("tags", "v1\nv1.0"),
        world.seal().input("recursive", "true"),
        world.seal().input("dry-run", "true"),
    ] {
        let outcome = action.end_with(3);
        outcome.says(&[
            &theirs,
            "it is not verified: its annotation `org.opencontainers.image.source` is \"https://elsewhere.test\", expected absent",
            "digests: ",
        ]);
        nothing_was_done(&world, &[("v1", &theirs)]);
    }
    // If nothing is signed, the index stays, and no other tag is set to it.
    let outcome = world.create().input("tags", "v1\nv1.0").succeed();
    outcome.says(&["::warning::a tag points to", "it is not verified"]);
    let ours = outcome.output("digest");
    assert_ne!(ours, theirs);
    nothing_was_done(&world, &[("v1", &theirs), ("v1.0", ours)]);
}

#[test]
fn adopting_is_the_cure_where_one_index_with_the_right_images_is_in_the_way() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    world.registry().tag(REPOSITORY, "v2", &theirs);
    let adopt = format!("adopt it: give `digests: {}`", world.at(&theirs));
    let both = world.seal().input("tags", "v1\nv2");
    both.end_with(3).says(&[&adopt]);
    // Two different indexes cannot both be adopted.
    let mut other = world.manifest("v1");
    other["annotations"] = json!({"by": "them"});
    push(&world, Some("v2"), &other.to_string());
    both.end_with(3).does_not_say(&["adopt it"]);
    // An index with other images cannot be adopted.
    let index = index_of(&[child(&world, &world.amd64.digest, "amd64")]);
    push(&world, Some("v1"), &index.to_string());
    world.seal().end_with(3).does_not_say(&["adopt it"]);
}

#[test]
fn index_of_others_that_all_tags_hold_is_unchanged_where_nothing_is_signed() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    let create = world.create();
    let outcome = create.succeed();
    assert_eq!(
        (outcome.output("digest"), outcome.output("result")),
        (theirs.as_str(), "unchanged")
    );
    assert_eq!(world.writes(), [""; 0]);
    let warning = format!(
        "::warning::a tag points to `{}`, which has",
        world.at(&theirs)
    );
    outcome.says(&[
        &warning,
        "but other bytes; it is kept, although it is not verified",
    ]);
    let seal = world.seal().input("sign", "false").succeed();
    seal.says(&[&warning]);
    // An index that this run would make, or that an input names, needs no warning.
    let named = create.input("digests", &theirs).succeed();
    named.does_not_say(&["::warning"]);
}

#[test]
fn foreign_index_in_one_registry_reaches_no_other() {
    let two = Two::new();
    let mut index: Value = serde_json::from_slice(&two.push_theirs("scratch").1).unwrap();
    index["annotations"] = json!({"by": "them"});
    let theirs = two
        .other
        .push_raw(MIRROR, Some("v1"), INDEX, index.to_string().as_bytes());
    two.seal()
        .end_with(3)
        .says(&["it is not verified", "annotation `by`"]);
    assert_eq!(two.world.tag("v1"), None);
    assert_eq!(two.world.sigstore().entries(), 0);
    assert!(two.world.registry().manifest(REPOSITORY, &theirs).is_none());
}

#[test]
fn signature_of_ours_or_an_input_vouches_for_an_index() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    // Naming an index by its digest adopts it.
    let adopt = world
        .seal()
        .input("digests", &theirs)
        .input("tags", "v1\nv1.0");
    let outcome = adopt.succeed();
    assert_eq!(
        (outcome.output("digest"), outcome.output("result")),
        (theirs.as_str(), "completed")
    );
    assert_eq!(world.tag("v1.0").as_ref(), Some(&theirs));
    assert_eq!(world.listed(&theirs).len(), 1);
    // The index now has our signature, so a run from the images accepts it too.
    let outcome = world.seal().input("tags", "v1\nv2").succeed();
    assert_eq!(
        (outcome.output("digest"), outcome.output("sign-skipped")),
        (theirs.as_str(), "true")
    );
    assert_eq!(world.tag("v2"), Some(theirs));
}

#[test]
fn signature_by_others_vouches_for_nothing() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
        world.sign(&theirs).succeed()
    });
    let entries = world.sigstore().entries();
    world.seal().end_with(3).says(&["it is not verified"]);
    assert_eq!(world.sigstore().entries(), entries);
}

#[test]
fn registry_that_does_not_show_signatures_is_no_proof_that_there_is_none() {
    let world = World::new();
    let theirs = push_foreign(&world, "v1");
    world.sign(&theirs).succeed();
    let fault = sandbox::Fault::on("GET", "*/referrers/*").times(u32::MAX);
    world.registry().fault(fault.status(503));
    world.seal().end_with(1).says(&["503"]);
    world.registry().clear_faults();
    assert_eq!(world.seal().succeed().output("digest"), theirs);
}

#[test]
fn policy_that_this_run_cannot_meet_is_refused_before_anything_is_written() {
    let world = World::new();
    let digest = world.amd64.digest.clone();
    let own = format!("https://github.com/{USUAL_WORKFLOW}");
    for (name, value) in [
        (
            "certificate-identity",
            format!("https://github.com/{OTHER_WORKFLOW}"),
        ),
        (
            "certificate-identity-regexp",
            "https://github.com/someone-else/.*".to_owned(),
        ),
        ("certificate-oidc-issuer", "https://issuer.test".to_owned()),
        (
            "certificate-github-workflow-repository",
            "octo-org/other".to_owned(),
        ),
        ("certificate-github-workflow-ref", "refs/tags/v1".to_owned()),
        ("certificate-github-workflow-sha", "0".repeat(40)),
        ("certificate-github-workflow-name", "another".to_owned()),
        ("certificate-github-workflow-trigger", "schedule".to_owned()),
    ] {
        for action in [world.seal(), world.sign(&digest)] {
            let outcome = action.input(name, &value).end_with(2);
            outcome.says(&[
                "the signature of this run would not meet the inputs",
                &format!("hint: omit `{name}`"),
            ]);
            if name.starts_with("certificate-identity") {
                outcome.says(&[&own, &value]);
            } else {
                outcome.says(&[&value]);
            }
            assert_eq!(world.writes(), [""; 0], "{name}");
            nothing_was_done(&world, &[]);
        }
    }
    assert_eq!(world.certificates(), 0);
}

#[test]
fn identity_that_only_the_certificate_tells_is_held_before_anything_is_written() {
    let world = World::new();
    world.sigstore().set_claim("job_workflow_ref", Value::Null);
    let subject = Subject::Email("dev@example.com".to_owned());
    let issuer = world.sigstore().issuer();
    world.sigstore().forge(Some(Forged { subject, issuer }));
    let seal = |identity: &str| world.seal().input("certificate-identity", identity);
    let mine = seal("dev@example.com");
    // The token states its issuer.
    mine.clone()
        .input("certificate-oidc-issuer", "https://issuer.test")
        .end_with(2)
        .says(&["https://issuer.test"]);
    assert_eq!(world.certificates(), 0);
    let outcome = seal("them@example.com").end_with(2);
    outcome.says(&[
        "the signature of this run would not meet the inputs",
        "dev@example.com",
        "them@example.com",
    ]);
    assert_eq!(world.writes(), [""; 0]);
    nothing_was_done(&world, &[]);
    assert_eq!(mine.succeed().output("verified"), "true");
    // Nothing is to be signed, so no certificate is requested.
    let certificates = world.certificates();
    assert_eq!(mine.succeed().output("sign-skipped"), "true");
    assert_eq!(world.certificates(), certificates);
}

#[test]
fn policy_that_this_run_meets_is_held() {
    let world = World::new();
    let outcome = world
        .seal()
        .input(
            "certificate-identity",
            format!("https://github.com/{USUAL_WORKFLOW}"),
        )
        .input("certificate-github-workflow-ref", "refs/heads/main")
        .succeed();
    assert_eq!(outcome.output("verified"), "true");
    assert_eq!(
        outcome.output("identity"),
        format!("https://github.com/{USUAL_WORKFLOW}")
    );
    let command = outcome.output("verify-command");
    assert!(command.contains("--certificate-github-workflow-ref 'refs/heads/main'"));
}

#[test]
fn signature_from_another_ref_is_not_this_runs_own() {
    let world = World::new();
    let digest = world.seal().succeed().output("digest").to_owned();
    // The identity of a reusable workflow is the same for every ref of its caller.
    world.sigstore().set_claim("ref", "refs/heads/feature");
    let outcome = world.seal().succeed();
    assert_eq!(outcome.output("sign-skipped"), "false");
    assert_eq!(world.listed(&digest).len(), 2);
    world.sigstore().set_claim("ref", "refs/heads/main");
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
    // A pattern states whose signatures count: it leaves the ref open, and not the repository.
    let pattern = format!(
        "https://github.com/{}@.*",
        USUAL_WORKFLOW.split('@').next().unwrap()
    );
    world.sigstore().set_claim("ref", "refs/heads/third");
    let outcome = world
        .seal()
        .input("certificate-identity-regexp", &pattern)
        .succeed();
    assert_eq!(outcome.output("sign-skipped"), "true");
    world.sigstore().set_claim("repository", "octo-org/caller");
    let outcome = world
        .seal()
        .input("certificate-identity-regexp", &pattern)
        .succeed();
    assert_eq!(outcome.output("sign-skipped"), "false");
    world
        .sigstore()
        .set_claim("repository", "octo-org/octo-app");
    world.sigstore().set_claim("ref", "refs/heads/main");
}

/// Returns a run of `command` for `tag` and `latest`, of an image with this label.
fn release(world: &World, command: &str, tag: &str, label: Option<&str>) -> Action {
    let image = labelled(world, tag, label);
    world
        .seal()
        .input("command", command)
        .input("digests", image)
        .input("tags", tag)
        .input("moving-tags", "latest")
}

fn latest_is(world: &World, outcome: &Outcome) -> bool {
    world.tag("latest").as_deref() == Some(outcome.output("digest"))
}

#[test]
fn version_that_nobody_signed_freezes_no_tag() {
    let world = World::new();
    let image = labelled(&world, "theirs", Some("999999.0.0"));
    let index = index_of(&[child(&world, &image, "amd64")]).to_string();
    let theirs = push(&world, Some("latest"), &index);
    let outcome = release(&world, "seal", "1.0.0", None).succeed();
    // The warning appears once, although the tag is checked twice.
    let warned = |outcome: &Outcome, text: &str| {
        let lines = outcome.log.lines().filter(|line| line.contains(text));
        assert!(lines.clone().all(|line| line.starts_with("::warning::")));
        lines.count()
    };
    // The labels of its images are ignored.
    let unsigned = format!("`{theirs}`, which has no signature by this workflow");
    assert_eq!(warned(&outcome, &unsigned), 1, "{}", outcome.log);
    assert!(latest_is(&world, &outcome));
    // If nothing is signed, no statement is better than theirs: the version is honoured, with a warning.
    world.registry().tag(REPOSITORY, "latest", &theirs);
    let outcome = release(&world, "create", "1.0.1", None).succeed();
    outcome.says(&["::warning::", "999999.0.0", "is not verified"]);
    assert_eq!(world.tag("latest"), Some(theirs));
}

#[test]
fn holder_of_a_moving_tag_that_lies_about_itself_freezes_no_tag() {
    // A config longer than its descriptor states, and a list of signatures that is not a list.
    let world = World::new();
    let registry = world.registry();
    let config = vec![b' '; 5 << 20];
    let digest = registry.push_blob(REPOSITORY, &config);
    let image = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 100},
        "layers": [],
    });
    let image = registry.push_raw(REPOSITORY, None, MANIFEST, image.to_string().as_bytes());
    let index = index_of(&[child(&world, &image, "amd64")]).to_string();
    for command in ["seal", "create"] {
        push(&world, Some("latest"), &index);
        let outcome = release(&world, command, "1.0.0", None).succeed();
        assert!(latest_is(&world, &outcome), "{command}");
    }
    let world = World::new();
    let mut index = index_of(&[child(&world, &world.amd64.digest, "amd64")]);
    index["annotations"] = json!({"org.opencontainers.image.version": "999.0.0"});
    let theirs = push(&world, Some("latest"), &index.to_string());
    let list = format!("{}.sig", theirs.replace(':', "-"));
    push(&world, Some(&list), &index_of(&[]).to_string());
    let outcome = release(&world, "seal", "1.0.0", None).succeed();
    outcome.says(&["has no signature by this workflow"]);
    assert!(latest_is(&world, &outcome));
}

#[test]
fn signed_newer_version_stays_whichever_ref_signed_it() {
    let world = World::new();
    world.sigstore().set_claim("ref", "refs/tags/v1.1.0");
    world.sigstore().set_claim(
        "job_workflow_ref",
        "octo-org/octo-app/.github/workflows/release.yml@refs/tags/v1.1.0",
    );
    let newest = release(&world, "seal", "1.1.0", Some("1.1.0")).succeed();
    world.sigstore().set_claim("ref", "refs/tags/v1.0.0");
    world.sigstore().set_claim(
        "job_workflow_ref",
        "octo-org/octo-app/.github/workflows/release.yml@refs/tags/v1.0.0",
    );
    // The version of the older image is in its label, or else in its tag.
    for label in [Some("1.0.0"), None] {
        let older = release(&world, "seal", "v1.0.0", label);
        let older = if label.is_none() {
            older.input("tags", "v1.0.1")
        } else {
            older
        };
        older
            .succeed()
            .says(&["left unchanged: it points to version 1.1.0, which is newer than"]);
        assert!(latest_is(&world, &newest));
    }
    // Another workflow of the same repository is not this workflow.
    world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
        let theirs = release(&world, "seal", "2.0.0", Some("2.0.0")).succeed();
        assert!(latest_is(&world, &theirs));
    });
    let outcome = release(&world, "seal", "1.2.0", Some("1.2.0")).succeed();
    outcome.says(&["which has no signature by this workflow"]);
    assert!(latest_is(&world, &outcome));
}
