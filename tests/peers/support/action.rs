//! The binary, run as the runner runs it: inputs as `INPUT_*`, files for outputs and summary, nothing else inherited.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Log, Tool, Workflow, stack, tools};

/// A run of the action that is about to begin.
#[derive(Clone)]
pub(crate) struct Action {
    inputs: BTreeMap<String, String>,
    workflow: Workflow,
}

/// What a run left behind.
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) code: i32,
    /// Everything that was printed.
    pub(crate) log: String,
    /// What was written to `GITHUB_OUTPUT`.
    pub(crate) outputs: BTreeMap<String, String>,
}

impl Action {
    /// A run of `command` on `image`, by the usual workflow, for which only that workflow's signatures count.
    pub(crate) fn new(command: &str, image: &str) -> Self {
        let action = Self {
            inputs: BTreeMap::new(),
            workflow: Workflow::default(),
        };
        action
            .input("command", command)
            .input("image", image)
            .input("trusted-root", &stack("TRUSTED_ROOT"))
            .input("certificate-oidc-issuer", &stack("ISSUER"))
            .input("max-attempts", "3")
            .input("retry-delay", "200ms")
            .input("timeout", "100s")
            .log(Log::Rekor2)
            .by(Workflow::default())
    }

    /// A run of `seal` that gives `tags` to the index of `digests`.
    pub(crate) fn seal(image: &str, digests: &[&str], tags: &[&str]) -> Self {
        Self::new("seal", image)
            .input("digests", &digests.join("\n"))
            .input("tags", &tags.join("\n"))
    }

    /// Sets an input.
    pub(crate) fn input(mut self, name: &str, value: &str) -> Self {
        self.inputs.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Signs with `log`.
    pub(crate) fn log(self, log: Log) -> Self {
        self.input("signing-config", &log.signing_config())
    }

    /// Runs as a job of `workflow`, whose signatures count.
    pub(crate) fn by(mut self, workflow: Workflow) -> Self {
        self = self.input("certificate-identity", &workflow.identity());
        self.workflow = workflow;
        self
    }

    /// Runs it.
    pub(crate) fn run(&self) -> Outcome {
        let workspace = fresh_workspace();
        let binary = env!("CARGO_BIN_EXE_manifest-seal");
        let mut tool = Tool::bounded(binary)
            .folder(&workspace)
            .env("HOME", &workspace)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_WORKSPACE", &workspace)
            .env("GITHUB_OUTPUT", workspace.join("output"))
            .env("GITHUB_STEP_SUMMARY", workspace.join("summary.md"));
        fs::write(workspace.join("output"), "").unwrap();
        fs::write(workspace.join("summary.md"), "").unwrap();
        for (name, value) in self.workflow.environment() {
            tool = tool.env(name, value);
        }
        for (name, value) in &self.inputs {
            // What the runner does to names: spaces and case, never hyphens.
            let name = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
            tool = tool.env(name, value);
        }
        let output = tool.output();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            log: tools::text(&output),
            outputs: read_outputs(&fs::read_to_string(workspace.join("output")).unwrap()),
        }
    }

    /// Runs it and asks for success.
    pub(crate) fn succeed(&self) -> Outcome {
        self.end_with(0)
    }

    /// Runs it and asks for an exit code.
    pub(crate) fn end_with(&self, code: i32) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, code, "{:?}\n{}", self.inputs, outcome.log);
        outcome
    }
}

impl Outcome {
    /// The output `name`.
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs
            .get(name)
            .unwrap_or_else(|| panic!("no output `{name}`\n{}", self.log))
    }
}

fn fresh_workspace() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let folder = PathBuf::from(stack("FOLDER")).join("workspace").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Reads an outputs file: `name=value`, or `name<<END`, lines, `END`.
fn read_outputs(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            outputs.insert(name.to_owned(), value.join("\n"));
        } else if let Some((name, value)) = line.split_once('=') {
            outputs.insert(name.to_owned(), value.to_owned());
        }
    }
    outputs
}
