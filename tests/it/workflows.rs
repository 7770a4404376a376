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
pub(crate) fn workflows() -> BTreeMap<String, String> {
    let folders = [".github/workflows", "tests/runner/workflows"];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    files
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .map(|path| (path.clone(), read(&path)))
        .collect()
}

/// The inputs of the workflow in `text`, if others can call it.
pub(crate) fn inputs(text: &str) -> Option<yaml_serde::Mapping> {
    let workflow: Workflow = yaml_serde::from_str(text).unwrap();
    let called = workflow.on.get("workflow_call")?.clone();
    let called: Called = yaml_serde::from_value(called).unwrap();
    Some(called.inputs)
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
        inputs(&read(path)).unwrap()
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

/// Checks what `value` gives to our action and workflows, at any depth; returns how many of them it uses.
fn check_calls(value: &yaml_serde::Value, place: &str) -> usize {
    use yaml_serde::Value;
    let fields = value
        .as_mapping()
        .into_iter()
        .flat_map(|mapping| mapping.values());
    let items = value.as_sequence().into_iter().flatten();
    let below: usize = fields
        .chain(items)
        .map(|child| check_calls(child, place))
        .sum();
    let Some(known) = value
        .get("uses")
        .and_then(Value::as_str)
        .and_then(inputs_of)
    else {
        return below;
    };
    let with = value.get("with").and_then(Value::as_mapping);
    for name in with.into_iter().flat_map(|with| with.keys()) {
        let name = name.as_str().unwrap();
        assert!(known.contains(name), "{place}: no input `{name}`");
    }
    below + 1
}

#[test]
fn examples_give_only_inputs_that_are_there() {
    for (path, least) in [("README.md", 5), (".github/MIGRATING.md", 3)] {
        let text = read(path);
        let examples = text.split("```yaml\n").skip(1);
        let calls = examples.map(|rest| {
            let example = rest.split("```").next().unwrap();
            check_calls(&yaml_serde::from_str(example).unwrap(), path)
        });
        assert!(calls.sum::<usize>() >= least, "{path}");
    }
}

/// What stands between backticks in the second column is a name of ours, unless it holds more than a name.
fn check_names(head: &str, known: &BTreeSet<String>) {
    for row in table(&read(".github/MIGRATING.md"), head) {
        for word in row[1].split('`').skip(1).step_by(2) {
            let name = word.split(':').next().unwrap();
            let is_name = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(!is_name || known.contains(name), "{head}: `{word}`");
        }
    }
}

#[test]
fn whoever_moves_over_is_told_names_that_are_there() {
    let publish = read(".github/workflows/build-publish.yml");
    let workflow: Workflow = yaml_serde::from_str(&publish).unwrap();
    let names = |known: &yaml_serde::Value| -> BTreeSet<String> {
        let keys = known.as_mapping().unwrap().keys();
        keys.map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    let action: yaml_serde::Value = yaml_serde::from_str(&read("action.yml")).unwrap();
    let mut inputs = names(&action["inputs"]);
    // The two commands that a row names.
    inputs.extend(["seal".to_owned(), "verify".to_owned()]);
    check_names("input of build-push-docker-manifest", &inputs);
    check_names(
        "output of build-push-docker-manifest",
        &names(&action["outputs"]),
    );
    let called = &workflow.on["workflow_call"];
    let mut inputs = names(&called["inputs"]);
    inputs.insert("digest".to_owned());
    check_names("input of reusable-docker-build-publish", &inputs);
    let mut outputs = names(&called["outputs"]);
    outputs.insert("platforms".to_owned());
    check_names("output of reusable-docker-build-publish", &outputs);
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

/// What the one step of `job` that is the action is given.
fn given(workflow: &Workflow, job: &str) -> BTreeMap<String, String> {
    let steps = workflow.jobs[job].steps.iter();
    let mut own = steps.filter(|step| step.uses.as_deref().is_some_and(|uses| uses.contains(OWN)));
    let with = &own.next().unwrap().with;
    assert!(own.next().is_none());
    with.iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// The gate asks five times, ten seconds apart, for the digest that was sealed, and for who may have signed it for whom.
#[test]
fn the_gate_is_on_the_digest_and_knows_whose_it_is() {
    let text = read(".github/workflows/build-publish.yml");
    let gate = given(&yaml_serde::from_str(&text).unwrap(), "verify");
    for (name, wanted) in [
        ("command", "verify"),
        (
            "image",
            "${{ matrix.image }}@${{ needs.seal.outputs.digest }}",
        ),
        (
            "certificate-identity-regexp",
            r"https://github\.com/manifest-seal/manifest-seal/\.github/workflows/build-publish\.yml@.+",
        ),
        (
            "certificate-github-workflow-repository",
            "${{ github.repository }}",
        ),
        ("max-attempts", "5"),
        ("retry-delay", "10s"),
    ] {
        assert_eq!(gate[name], wanted, "{name}");
    }
    let text = read(".github/workflows/verify.yml");
    let inputs = inputs(&text).unwrap();
    let default = |name: &str| inputs[name]["default"].as_str().unwrap().to_owned();
    assert_eq!(
        [default("max-attempts"), default("retry-delay")],
        ["5", "10s"]
    );
    let gate = given(&yaml_serde::from_str(&text).unwrap(), "verify");
    for name in ["max-attempts", "retry-delay"] {
        assert_eq!(gate[name], format!("${{{{ inputs.{name} }}}}"));
    }
}

/// A job that publishes what another job signed trusts nothing that it was handed: it checks who signed, where it was signed
/// for, and everything in it.
#[test]
fn staged_images_are_published_only_as_they_were_signed() {
    let text = read(".github/workflows/staged.yml");
    let workflow: Workflow = yaml_serde::from_str(&text).unwrap();
    let given = |job: &str| given(&workflow, job);
    let (sign, publish) = (given("sign"), given("publish"));
    assert_eq!(
        (&*publish["command"], &*publish["source"]),
        ("publish", "manifest-seal.json")
    );
    assert_eq!(
        (&*sign["recursive"], &*publish["recursive"]),
        ("true", "true")
    );
    assert_eq!(
        publish["certificate-identity-regexp"],
        r"https://github\.com/manifest-seal/manifest-seal/\.github/workflows/staged\.yml@.+"
    );
    assert_eq!(
        publish["certificate-github-workflow-repository"],
        "${{ github.repository }}"
    );
    // What is copied was signed before: nobody signs here.
    assert!(!publish.contains_key("signing-config") && !publish.contains_key("identity-token"));
    let file: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
    assert_eq!(file["jobs"]["publish"]["needs"], "sign");
}

#[test]
fn readme_lists_the_inputs_of_build_publish() {
    let text = |value: &yaml_serde::Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = inputs(&read(".github/workflows/build-publish.yml"))
        .unwrap()
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
