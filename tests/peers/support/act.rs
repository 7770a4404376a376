//! A runner: `act` runs a caller's workflow, which uses this repository's workflows, in containers on the stack's network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Log, Tool, Workflow, action, legs, stack, tools};

/// The action's name in the workflows, before the `@`.
pub(super) const OWN: &str = "manifest-seal/manifest-seal";

/// A run of a workflow of `tests/runner/workflows`, not yet started, as a job of the repository `octo-org/octo-app`.
pub(crate) struct Dispatch {
    caller: &'static str,
    folder: PathBuf,
    variables: BTreeMap<String, String>,
    workflow: Workflow,
    attempt: u32,
}

/// The results of a workflow run.
pub(crate) struct Ran {
    /// Every line of the runner, unchanged.
    events: Vec<Value>,
    succeeded: bool,
}

impl Dispatch {
    /// Makes a run of `caller`, whose jobs sign as `workflow`.
    pub(crate) fn new(caller: &'static str, workflow: &Workflow) -> Self {
        let folder = action::fresh_workspace();
        lay_out(&folder, caller);
        let dispatch = Self {
            caller,
            folder,
            variables: BTreeMap::new(),
            workflow: workflow.clone(),
            attempt: 1,
        };
        let config = fs::read_to_string(Log::Rekor2.signing_config()).unwrap();
        let root = fs::read_to_string(stack("TRUSTED_ROOT")).unwrap();
        dispatch
            .variable("SIGNING_CONFIG", &config)
            .variable("TRUSTED_ROOT", &root)
            .variable("ISSUER", &stack("ISSUER"))
            .variable("GATE_ISSUER", &stack("ISSUER"))
    }

    /// Sets the value of `vars.NAME` in the workflow.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Changes the artifacts that a job fetches, in the folder `$1`, by a script.
    pub(crate) fn swapping(self, script: &str) -> Self {
        fs::write(self.folder.join("artifacts/.swap"), script).unwrap();
        self
    }

    /// Returns the signing config of this run.
    pub(crate) fn signing_config(&self) -> &str {
        &self.variables["SIGNING_CONFIG"]
    }

    /// Returns the issuer of this run's tokens.
    pub(crate) fn issuer() -> String {
        stack("ISSUER")
    }

    /// Returns the name of the caller's workflow.
    pub(super) fn caller(&self) -> &str {
        self.caller
    }

    /// Returns the folder with the repositories of this run.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the commit of the caller's workflow, which `act` uses for `github.sha`.
    fn commit(&self) -> String {
        let git = Tool::bounded("/usr/bin/git").folder(&self.folder.join("octo-app"));
        git.args(["rev-parse", "HEAD"]).succeed().trim().to_owned()
    }

    /// Counts the next attempt.
    pub(super) fn next_attempt(&mut self) {
        self.attempt += 1;
    }

    /// Signs as another workflow from now on.
    pub(crate) fn by(mut self, workflow: &Workflow) -> Self {
        self.workflow = workflow.clone();
        self
    }

    /// Runs it to its end. A second run finds the artifacts of the first one, like a rerun of a job.
    pub(crate) fn run(&self) -> Ran {
        // Containers are named after the jobs, equally in each case.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let output = self.act().output();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert!(!events.is_empty(), "{}", tools::text(&output));
        Ran {
            events,
            succeeded: output.status.success(),
        }
    }

    /// Runs it and asserts success.
    pub(crate) fn succeed(&self) -> Ran {
        let ran = self.run();
        assert!(ran.succeeded, "{}", ran.log());
        ran
    }

    /// Runs it and asserts failure.
    pub(crate) fn fail(&self) -> Ran {
        let ran = self.run();
        assert!(!ran.succeeded, "{}", ran.log());
        ran
    }

    fn act(&self) -> Tool {
        let volumes = format!(
            "--volume {}:/artifacts --volume {}:/stack:ro",
            self.folder.join("artifacts").display(),
            stack("BIN"),
        );
        let image = stack("RUNNER_IMAGE");
        let mut tool = Tool::act()
            .env("HOME", self.folder.join("home"))
            .folder(&self.folder.join("octo-app"))
            .args([
                "workflow_dispatch",
                "--json",
                "--pull=false",
                "--no-cache-server",
            ])
            .args([
                "--rm",
                "--network",
                "host",
                "--container-daemon-socket",
                "-",
            ])
            .args(["--container-options", &volumes])
            .args([
                "--workflows",
                &format!(".github/workflows/{}.yml", self.caller),
            ])
            .args(["--platform", &format!("ubuntu-24.04={image}")])
            .args(["--platform", &format!("ubuntu-24.04-arm={image}")]);
        for (reference, folder) in local_repositories(&self.folder) {
            tool = tool.args([
                "--local-repository",
                &format!("{reference}={}", folder.display()),
            ]);
        }
        let attempt = format!("GITHUB_RUN_ATTEMPT={}", self.attempt);
        tool = tool.args(["--env", &attempt]);
        for (name, value) in self.workflow.at(&self.commit()).environment() {
            tool = tool.args(["--env", &format!("{name}={value}")]);
        }
        for (name, value) in &self.variables {
            tool = tool.args(["--var", &format!("{name}={value}")]);
        }
        tool
    }
}

impl Ran {
    /// Returns the output `name` of the steps `step`, in any job of the run.
    pub(crate) fn output(&self, step: &str, name: &str) -> &str {
        self.setting(step, name)
            .find_map(|event| event["arg"].as_str())
            .unwrap_or_else(|| panic!("no output `{name}` of `{step}`\n{}", self.log()))
    }

    /// Returns the output `name` of the steps `step` in `job`.
    pub(crate) fn output_of(&self, job: &str, step: &str, name: &str) -> &str {
        self.setting(step, name)
            .filter(|event| event["jobID"] == *job)
            .find_map(|event| event["arg"].as_str())
            .unwrap_or_else(|| panic!("no output `{name}` of `{step}` in `{job}`\n{}", self.log()))
    }

    /// Returns the number of jobs that set that output.
    pub(crate) fn times(&self, step: &str, name: &str) -> usize {
        let jobs: BTreeSet<&str> = self
            .setting(step, name)
            .filter_map(|event| event["job"].as_str())
            .collect();
        jobs.len()
    }

    /// Returns all values of this output, without the empty value of a failed step.
    pub(crate) fn values(&self, step: &str, name: &str) -> BTreeSet<&str> {
        let values = self.setting(step, name);
        let values = values.filter_map(|event| event["arg"].as_str());
        values.filter(|value| !value.is_empty()).collect()
    }

    fn setting(&self, step: &str, name: &str) -> impl Iterator<Item = &Value> {
        self.commands("set-output")
            .filter(move |event| event["stepID"][0] == *step && event["name"] == *name)
    }

    /// Returns the outputs of the steps `step` in `job`, in order.
    pub(super) fn outputs_of(
        &self,
        job: &str,
        step: &str,
    ) -> impl Iterator<Item = (String, String)> {
        let events = self.commands("set-output");
        let of_step =
            events.filter(move |event| event["jobID"] == *job && event["stepID"][0] == *step);
        of_step.filter_map(|event| {
            let text = |key: &str| Some(event[key].as_str()?.to_owned());
            Some((text("name")?, text("arg")?))
        })
    }

    /// Returns the matrix legs of `job` with a failed step; one null without a matrix.
    pub(super) fn failed_legs(&self, job: &str) -> impl Iterator<Item = &Value> {
        let failed =
            move |event: &&Value| event["jobID"] == *job && event["stepResult"] == *"failure";
        self.events
            .iter()
            .filter(failed)
            .map(|event| &event["matrix"])
    }

    /// Returns the job summary: the texts of all steps of `job`.
    pub(crate) fn summary(&self, job: &str) -> String {
        self.commands("summary")
            .filter(|event| event["jobID"] == *job)
            .filter_map(|event| event["content"].as_str())
            .collect()
    }

    /// Returns the result of `job`: `success`, `failure`, or `None` if it never started.
    pub(crate) fn result(&self, job: &str) -> Option<&str> {
        self.events
            .iter()
            .filter(|event| event["jobID"] == *job)
            .find_map(|event| event["jobResult"].as_str())
    }

    /// Returns the whole output.
    pub(crate) fn log(&self) -> String {
        let line = |event: &Value| {
            let part = |name: &str| {
                event[name]
                    .as_str()
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned()
            };
            format!("{} | {}\n", part("job"), part("msg"))
        };
        self.events.iter().map(line).collect()
    }

    fn commands(&self, command: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["command"] == *command)
    }
}

/// Makes the folders of a run: the caller's repository, this repository with the built image as the action, and the
/// artifacts.
fn lay_out(folder: &Path, caller: &str) {
    let ours = folder.join("manifest-seal");
    let theirs = folder.join("octo-app");
    for path in [&ours, &theirs] {
        fs::create_dir_all(path.join(".github/workflows")).unwrap();
    }
    fs::create_dir_all(folder.join("artifacts")).unwrap();
    fs::create_dir_all(folder.join("home")).unwrap();
    for entry in fs::read_dir(".github/workflows").unwrap() {
        let entry = entry.unwrap();
        let copy = ours.join(".github/workflows").join(entry.file_name());
        fs::copy(entry.path(), copy).unwrap();
    }
    legs::split(&ours.join(".github/workflows/build.yml"));
    let publish = ours.join(".github/workflows/build-publish.yml");
    let text = without_republish(&fs::read_to_string(&publish).unwrap());
    fs::write(&publish, gate_of_its_own(&text)).unwrap();
    let action = fs::read_to_string("action.yml").unwrap();
    let built = format!("image: docker://{}", stack("IMAGE"));
    assert!(action.contains("image: Dockerfile"));
    fs::write(
        ours.join("action.yml"),
        action.replace("image: Dockerfile", &built),
    )
    .unwrap();
    let file = theirs.join(format!(".github/workflows/{caller}.yml"));
    fs::copy(format!("tests/runner/workflows/{caller}.yml"), file).unwrap();
    for line in [
        "init --quiet --initial-branch main",
        "remote add origin https://github.com/octo-org/octo-app",
        "add --all",
        "-c user.name=octocat -c user.email=octocat@example.com commit --quiet --message All",
    ] {
        Tool::bounded("/usr/bin/git")
            .folder(&theirs)
            .args(line.split(' '))
            .succeed();
    }
}

/// Gives the gate in build-publish.yml an issuer of its own. It can then refuse a signature that the other jobs accept.
fn gate_of_its_own(text: &str) -> String {
    let issuer = "certificate-oidc-issuer: ${{ inputs.certificate-oidc-issuer }}";
    let (before, gate) = text.split_once("          command: verify\n").unwrap();
    let gate = gate.replacen(
        issuer,
        "certificate-oidc-issuer: ${{ vars.GATE_ISSUER }}",
        1,
    );
    assert!(gate.contains("vars.GATE_ISSUER"));
    format!("{before}          command: verify\n{gate}")
}

/// Removes the outputs of a job that runs only in a second attempt. If that job is skipped, `act` passes the output's
/// expression as its value, which is not empty.
fn without_republish(text: &str) -> String {
    let [job, workflow] =
        ["needs", "jobs"].map(|from| format!("{from}.republish.outputs.record-digest || "));
    assert!(text.contains(&job) && text.contains(&workflow));
    text.replace(&job, "").replace(&workflow, "")
}

/// Returns the repositories in `uses:` of the workflows, with the folder for each: nothing is fetched.
fn local_repositories(folder: &Path) -> BTreeMap<String, PathBuf> {
    let stand_ins = fs::canonicalize("tests/runner/actions").unwrap();
    let mut repositories = BTreeMap::new();
    let workflows = ["manifest-seal", "octo-app"]
        .into_iter()
        .flat_map(|name| fs::read_dir(folder.join(name).join(".github/workflows")).unwrap());
    for entry in workflows {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for used in text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let Some((name, reference)) = used.split_once('@') else {
                continue;
            };
            let repository: Vec<&str> = name.split('/').take(2).collect();
            let repository = repository.join("/");
            let reference = reference.split(' ').next().unwrap();
            let stand_in = stand_ins.join(&repository);
            let stand_for = if repository == OWN {
                folder.join("manifest-seal")
            } else if stand_in.exists() {
                stand_in
            } else {
                stand_ins.join("unexpected")
            };
            repositories.insert(format!("{repository}@{reference}"), stand_for);
        }
    }
    repositories
}
