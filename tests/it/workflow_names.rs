//! The names that `build.yml` makes of an event: tags, platforms and artifacts, by its script as the runner runs it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::contract::read;

/// Runs the script of `build.yml` that makes names, as the runner does. Returns what it wrote, or what it complained of.
fn names(variables: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
    let workflow = read(".github/workflows/build.yml");
    let workflow: yaml_serde::Value = yaml_serde::from_str(&workflow).unwrap();
    let steps = workflow["jobs"]["plan"]["steps"].as_sequence().unwrap();
    let step = steps.iter().find(|step| step["id"] == "names").unwrap();
    let script = step["run"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("output");
    let usual = [
        ("IMAGES", "ghcr.io/octo-org/app"),
        ("PLATFORMS", "linux/amd64, linux/arm64"),
        ("TAGS", ""),
        ("MOVING", ""),
        ("PREFIX", ""),
        ("SUFFIX", ""),
        ("PULL_REQUEST", ""),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF", "refs/heads/main"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_SHA", "d34db33fd34db33fd34db33fd34db33fd34db33f"),
    ];
    let output = Command::new("bash")
        .args(["-e", "-c", script])
        .env_clear()
        .envs(usual)
        .envs(variables.iter().copied())
        .env("PATH", "/usr/bin:/bin")
        .env("GITHUB_OUTPUT", &written)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stdout).unwrap());
    }
    let written = fs::read_to_string(written).unwrap();
    let pairs = written.lines().map(|line| line.split_once('=').unwrap());
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[test]
fn every_event_has_its_tag() {
    let tag = |variables: &[(&str, &str)]| {
        let tags = &names(variables).unwrap()["tags"];
        tags.strip_prefix("type=raw,value=").unwrap().to_owned()
    };
    assert_eq!(tag(&[]), "main-d34db33");
    assert_eq!(tag(&[("SUFFIX", "-plugins")]), "main-d34db33-plugins");
    // A person who dispatches on the same ref ends in the same tag.
    assert_eq!(
        tag(&[("GITHUB_EVENT_NAME", "workflow_dispatch")]),
        "main-d34db33"
    );
    let branch = [
        ("GITHUB_REF", "refs/heads/Feature/$(id) *"),
        ("GITHUB_REF_NAME", "Feature/$(id) *"),
    ];
    assert_eq!(tag(&branch), "feature---id----d34db33");
    let released = [
        ("GITHUB_REF", "refs/tags/v1.4.2"),
        ("GITHUB_REF_NAME", "v1.4.2"),
        ("SUFFIX", "-plugins"),
    ];
    assert_eq!(tag(&released), "v1.4.2-plugins");
    assert_eq!(tag(&[released[0], released[1], ("PREFIX", "v")]), "1.4.2");
    let request = [
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("PULL_REQUEST", "17"),
        ("GITHUB_REF_NAME", "17/merge"),
    ];
    assert_eq!(tag(&request), "pr-17-d34db33");
    let nightly = tag(&[("GITHUB_EVENT_NAME", "schedule")]);
    let date = nightly.strip_prefix("nightly-").unwrap();
    assert!(date.len() == 8 && date.starts_with("20"), "{nightly}");
}

#[test]
fn names_of_a_build_are_checked_and_told_apart() {
    let named = names(&[
        ("IMAGES", "\nghcr.io/octo-org/app, docker.io/octo-org/app\n"),
        ("PLATFORMS", "linux/amd64\nlinux/arm/v7"),
    ])
    .unwrap();
    assert_eq!(named["image"], "ghcr.io/octo-org/app");
    assert_eq!(named["registry"], "ghcr.io");
    assert_eq!(
        named["images"],
        r#"["ghcr.io/octo-org/app","docker.io/octo-org/app"]"#
    );
    assert_eq!(
        named["matrix"],
        r#"[{"platform":"linux/amd64","name":"linux-amd64"},{"platform":"linux/arm/v7","name":"linux-arm-v7"}]"#
    );
    // Two builds of one run keep their digests apart; the same one finds its own again.
    let artifacts = |variables: &[(&str, &str)]| names(variables).unwrap()["artifacts"].clone();
    assert_eq!(artifacts(&[]), artifacts(&[]));
    assert_ne!(artifacts(&[]), artifacts(&[("SUFFIX", "-plugins")]));
    for (name, value, complaint) in [
        ("IMAGES", " , ", "'images' is empty"),
        ("IMAGES", "ghcr.io/o/\"a\"", "not a repository in 'images'"),
        (
            "PLATFORMS",
            "linux/amd64\"}",
            "not a platform in 'platforms'",
        ),
    ] {
        let said = names(&[(name, value)]).unwrap_err();
        assert!(
            said.starts_with("::error::") && said.contains(complaint),
            "{said}"
        );
    }
}
