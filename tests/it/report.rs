//! The report of a run: the summary of each kind of result, and the command to paste.

use sandbox::{Fault, Kind};

use crate::support::{REPOSITORY, World, told};

#[test]
fn completed_run_is_reported() {
    let world = World::new();
    world.seal().succeed();
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
    let digests = format!("{},{}", other.digest, world.arm64.digest);
    world
        .create()
        .input("digests", digests)
        .input("tags", "")
        .input("moving-tags", "latest")
        .succeed();
    let outcome = world
        .seal()
        .input("tags", "v1\nv1.0")
        .input("moving-tags", "latest")
        .succeed();
    insta::assert_snapshot!(told(&world, &outcome));
}

#[test]
fn unchanged_run_is_reported() {
    let world = World::new();
    world.seal().succeed();
    insta::assert_snapshot!(told(&world, &world.seal().succeed()));
}

#[test]
fn failed_run_reports_its_changes() {
    let world = World::new();
    let fault = Fault::on("PUT", "*/manifests/v2").times(u32::MAX);
    world
        .registry()
        .fault(fault.registry_error(403, "DENIED", "quota exceeded"));
    let outcome = world.seal().input("tags", "v1\nv2").end_with(1);
    insta::assert_snapshot!(told(&world, &outcome));
}

#[test]
fn dry_run_reports_its_plan() {
    let world = World::new();
    let outcome = world.seal().input("dry-run", "true").succeed();
    assert_eq!(
        (outcome.output("result"), outcome.output("signed")),
        ("planned", "false")
    );
    // The index is not in the registry yet, so the world has no name for it.
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(world.tags().len(), 0);
    let made = world.seal().succeed();
    assert_eq!(made.output("digest"), outcome.output("digest"));
}

#[test]
fn signing_run_is_reported() {
    let world = World::new();
    world.create().succeed();
    insta::assert_snapshot!(told(&world, &world.sign("v1").succeed()));
}

#[test]
fn command_to_paste_is_quoted_and_names_the_repository() {
    let world = World::new();
    // A branch may have this name, and a shell would interpret it.
    let workflow = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/$(id)';x";
    let outcome = world.as_workflow(workflow, "octo-org/octo-app", || world.seal().succeed());
    let identity = r"--certificate-identity 'https://github.com/octo-org/octo-app/.github/workflows/release.yml@refs/heads/";
    let command = outcome.output("verify-command");
    assert!(command.contains(identity), "{command}");
    let words = shell_words(command);
    let expected = format!("https://github.com/{workflow}");
    assert!(
        words[3] == expected || words[3] == expected.replace("$(id)';x", "$%28id%29%27;x"),
        "{words:?}"
    );
    assert_eq!(
        (words[0].as_str(), words[6].as_str()),
        ("cosign", "--certificate-github-workflow-repository")
    );
    assert_eq!(words.last(), Some(&world.at(outcome.output("digest"))));
    assert!(
        outcome
            .summary
            .contains(&format!("```shell\n{command}\n```")),
        "{}",
        outcome.summary
    );
}

/// Returns the words that a real shell splits a command into.
fn shell_words(command: &str) -> Vec<String> {
    let script = format!("printf '%s\\n' {command}");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    words.lines().map(str::to_owned).collect()
}

#[test]
fn outside_of_actions_the_words_are_plain() {
    let world = World::new();
    let outcome = world.seal().env("GITHUB_ACTIONS", "").succeed();
    assert!(!outcome.log.contains("::"), "{}", outcome.log);
    let outcome = world
        .seal()
        .env("GITHUB_ACTIONS", "")
        .input("tags", "")
        .end_with(2);
    outcome.says(&["error: input `tags`"]);
}
