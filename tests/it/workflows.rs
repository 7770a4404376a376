//! The reusable workflows fit each other, the action and the README. actionlint sees none of it: they name each other in full.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use crate::contract::{read, table};

#[derive(Deserialize)]
struct Workflow {
    on: yaml_serde::Value,
    jobs: BTreeMap<String, Job>,
}

#[derive(Deserialize)]
struct Job {
    #[serde(default)]
    steps: Vec<Call>,
    #[serde(flatten)]
    call: Call,
}

/// A job that is another workflow, or a step that is an action.
#[derive(Deserialize)]
struct Call {
    uses: Option<String>,
    #[serde(default)]
    with: BTreeMap<String, yaml_serde::Value>,
}

/// Where what has `inputs` is, in the order they stand there.
#[derive(Deserialize)]
struct Called {
    #[serde(default)]
    inputs: yaml_serde::Mapping,
}

const OWN: &str = "manifest-seal/manifest-seal";

/// Every workflow, by its path.
fn workflows() -> BTreeMap<String, String> {
    let folders = [".github/workflows", "tests/runner/workflows"];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .map(|path| (path.clone(), read(&path)))
        .collect()
}

/// The inputs of the reusable workflow in `text`.
fn inputs(text: &str) -> yaml_serde::Mapping {
    let workflow: Workflow = yaml_serde::from_str(text).unwrap();
    let called: Called = yaml_serde::from_value(workflow.on["workflow_call"].clone()).unwrap();
    called.inputs
}

/// The names of the inputs of what `uses:` names, if it is ours.
fn inputs_of(uses: &str) -> Option<BTreeSet<String>> {
    let path = match uses.strip_prefix(OWN) {
        Some(rest) => rest.split('@').next().unwrap().trim_start_matches('/'),
        None => uses.strip_prefix("./")?,
    };
    let inputs = if path.is_empty() {
        let action: Called = yaml_serde::from_str(&read("action.yml")).unwrap();
        action.inputs
    } else {
        inputs(&read(path))
    };
    let names = inputs.keys().map(|name| name.as_str().unwrap().to_owned());
    Some(names.collect())
}

#[test]
fn workflows_give_only_inputs_that_are_there() {
    let mut seen = 0;
    for (path, text) in workflows() {
        let workflow: Workflow = yaml_serde::from_str(&text).unwrap();
        let calls = workflow
            .jobs
            .values()
            .flat_map(|job| job.steps.iter().chain([&job.call]));
        for call in calls {
            let Some(known) = call.uses.as_deref().and_then(inputs_of) else {
                continue;
            };
            seen += 1;
            for name in call.with.keys() {
                assert!(
                    known.contains(name),
                    "{path}: {:?} has no `{name}`",
                    call.uses
                );
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn workflows_name_the_action_of_their_major_version() {
    let manifest = read("Cargo.toml");
    let version = manifest.split("\nversion = \"").nth(1).unwrap();
    let major = version.split('.').next().unwrap();
    for (path, text) in workflows() {
        for line in text
            .lines()
            .filter(|line| line.contains(&format!("uses: {OWN}")))
        {
            assert!(line.ends_with(&format!("@v{major}")), "{path}: {line}");
        }
    }
}

#[test]
fn every_permission_has_its_reason() {
    for (path, text) in workflows() {
        assert!(text.contains("\npermissions: {}\n"), "{path}");
        for line in text.lines() {
            let granted = line
                .trim_start()
                .split_once(": ")
                .is_some_and(|(name, value)| {
                    ["contents", "packages", "id-token"].contains(&name)
                        && value.starts_with(['r', 'w'])
                });
            assert!(!granted || line.contains(" # "), "{path}: {line}");
            assert!(!line.contains("secrets: inherit"), "{path}: {line}");
        }
    }
}

#[test]
fn readme_lists_the_inputs_of_build_publish() {
    let text = |value: &yaml_serde::Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = inputs(&read(".github/workflows/build-publish.yml"))
        .iter()
        .map(|(name, input)| {
            let default = match text(&input["default"]) {
                default if default.is_empty() => default,
                default => format!("`{default}`"),
            };
            vec![
                format!("`{}`", text(name)),
                text(&input["description"]),
                default,
            ]
        })
        .collect();
    assert_eq!(
        table(&read("README.md"), "input of `build-publish.yml`"),
        rows
    );
}
