//! The reusable workflows: their content, and their scripts, run as the runner runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use sandbox::{Runner, values};
use serde::Deserialize;
use yaml_serde::Value;

use super::project::read;

#[derive(Deserialize)]
pub(crate) struct Workflow {
    pub(crate) on: Value,
    pub(crate) jobs: BTreeMap<String, Job>,
}

#[derive(Deserialize)]
pub(crate) struct Job {
    #[serde(default)]
    pub(crate) steps: Vec<Call>,
    #[serde(flatten)]
    pub(crate) call: Call,
}

/// A job that calls another workflow, or a step that uses an action.
#[derive(Deserialize)]
pub(crate) struct Call {
    pub(crate) uses: Option<String>,
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Value>,
}

/// A called workflow or action, with its `inputs` in order.
#[derive(Deserialize)]
pub(crate) struct Called {
    #[serde(default)]
    pub(crate) inputs: yaml_serde::Mapping,
}

/// The name of this repository.
pub(crate) const OWN: &str = "manifest-seal/manifest-seal";

/// Returns every workflow, by its path.
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

/// Returns the inputs of the workflow in `text`, if others can call it.
pub(crate) fn inputs(text: &str) -> Option<yaml_serde::Mapping> {
    let workflow: Workflow = yaml_serde::from_str(text).unwrap();
    let called = workflow.on.get("workflow_call")?.clone();
    let called: Called = yaml_serde::from_value(called).unwrap();
    Some(called.inputs)
}

/// Returns the inputs of the only step of `job` that uses the action.
pub(crate) fn given(workflow: &Workflow, job: &str) -> BTreeMap<String, String> {
    let steps = workflow.jobs[job].steps.iter();
    let mut own = steps.filter(|step| step.uses.as_deref().is_some_and(|uses| uses.contains(OWN)));
    let with = &own.next().unwrap().with;
    assert!(own.next().is_none());
    with.iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// Returns the inputs of the step of `job` in `file` that uses the action.
pub(crate) fn step(file: &str, job: &str) -> BTreeMap<String, String> {
    given(&parsed(file).1, job)
}

/// Returns a workflow's text, and its parsed content.
pub(crate) fn parsed(file: &str) -> (String, Workflow) {
    let text = read(&format!(".github/workflows/{file}"));
    let workflow = yaml_serde::from_str(&text).unwrap();
    (text, workflow)
}

/// Runs the script of `step` in `job` of the workflow `file` with only `variables` in its environment. Returns its outputs, or
/// its error messages.
pub(crate) fn run(
    file: &str,
    names: [&str; 2],
    variables: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, String> {
    run_in(Path::new("."), file, names, variables)
}

/// Runs the script in `folder`.
pub(crate) fn run_in(
    folder: &Path,
    file: &str,
    [job, step]: [&str; 2],
    variables: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, String> {
    let workflow: Value =
        yaml_serde::from_str(&read(&format!(".github/workflows/{file}"))).unwrap();
    let steps = workflow["jobs"][job]["steps"].as_sequence().unwrap();
    let found = steps.iter().find(|known| known["id"] == *step).unwrap();
    let runner = Runner::new();
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c"])
        .arg(found["run"].as_str().unwrap());
    let path = [("PATH", "/usr/bin:/bin")];
    let variables = path.into_iter().chain(variables.iter().copied());
    let output = runner
        .step(bash, variables, [])
        .current_dir(folder)
        .output()
        .unwrap();
    if !output.status.success() {
        let said = String::from_utf8(output.stdout).unwrap();
        return Err(said + &String::from_utf8(output.stderr).unwrap());
    }
    Ok(values(runner.outputs()))
}

/// Asserts that a script failed with an annotation that contains `complaint`.
pub(crate) fn assert_refused<T: std::fmt::Debug>(ran: Result<T, String>, complaint: &str) {
    let said = ran.unwrap_err();
    let is_annotation = said.lines().any(|line| line.starts_with("::error::"));
    assert!(is_annotation && said.contains(complaint), "{said}");
}
