//! The binary, run as the runner runs it: inputs as `INPUT_*`, files for outputs and summary, and no other inherited
//! environment.

mod attach;
pub(crate) mod cleanup;
pub(crate) mod credentials;
pub(crate) mod hosted;
pub(crate) mod legacy;
mod manifests;
mod passage;
mod pipeline;
pub(crate) mod project;
mod published;
pub(crate) mod siege;
mod signed;
mod text;
mod two;
mod unread;
pub(crate) mod workflow;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use attach::{
    ENTRY, MATERIAL, SIGN, attach, attach_with, bundle_manifest, bundle_of, replace,
    statement_bundle, store,
};
pub(crate) use manifests::{
    INDEX, MANIFEST, child, descriptor, index_of, labelled, push, push_image,
};
pub(crate) use passage::Passage;
pub(crate) use pipeline::{Pipeline, TARGET, is_there, said, sbom, target};
pub(crate) use published::{Published, asked};
pub(crate) use signed::{refused_at_once, sealed, unsigned};
pub(crate) use text::told;
pub(crate) use two::{MIRROR, Two, writes};
pub(crate) use unread::UNREAD;
pub(crate) use world::{POLICIES, REPOSITORY, World, created, listed, manifest, states, until};

/// A run of the action before it starts. Clones share their workspace and exported variables, as steps of one job do.
#[derive(Clone)]
pub(crate) struct Action {
    inputs: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    place: Arc<TempDir>,
}

/// A run that has started.
pub(crate) struct Running {
    child: Child,
    place: Arc<TempDir>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; -1 if a signal ended the run.
    pub(crate) code: i32,
    /// The complete printed output.
    pub(crate) log: String,
    /// The values written to `GITHUB_OUTPUT`.
    pub(crate) outputs: BTreeMap<String, String>,
    /// The text written to `GITHUB_STEP_SUMMARY`.
    pub(crate) summary: String,
}

impl Action {
    /// Creates a run of `command` in a fresh workspace, with nearly no delay between attempts, that trusts the sandbox.
    pub(crate) fn new(command: &str) -> Self {
        let action = Self {
            inputs: BTreeMap::new(),
            environment: BTreeMap::new(),
            place: place(),
        };
        action
            .input("command", command)
            .input("retry-delay", "10ms")
            // A machine under load takes long; a run that hangs ends by it.
            .input("timeout", "6m")
            .input("ca-bundle", sandbox::certificate_authority())
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_RUN_ID", "100")
            .env("GITHUB_RUN_ATTEMPT", "1")
            .env("GITHUB_REPOSITORY", "octo-org/octo-app")
    }

    /// Sets an input. The runner sends an empty text for an input that is not given.
    pub(crate) fn input(mut self, name: &str, value: impl Into<String>) -> Self {
        self.inputs.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the run without the job's permission `id-token: write`.
    pub(crate) fn without_token(mut self) -> Self {
        self.environment
            .retain(|name, _| !name.starts_with("ACTIONS_ID_TOKEN_REQUEST"));
        self
    }

    /// Returns the run on another machine: its workspace contains nothing of earlier runs.
    pub(crate) fn elsewhere(&self) -> Self {
        Self {
            place: place(),
            ..self.clone()
        }
    }

    /// Writes a file into the workspace.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.workspace().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Writes a record into the workspace that an earlier job has handed over, with the output `record-digest`.
    pub(crate) fn handed(self, name: &str, record: impl AsRef<[u8]>) -> Self {
        let digest = manifest_seal::domain::Digest::of(record.as_ref());
        let action = self.input("record-digest", digest.to_string());
        action.file(name, record)
    }

    /// Returns the variables that earlier steps of the job have exported.
    pub(crate) fn exported(&self) -> BTreeMap<String, String> {
        read_blocks(&fs::read_to_string(self.place.path().join("env")).unwrap())
    }

    /// Returns the folder that is the workspace of the run.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.place.path().join("workspace")
    }

    /// Returns the folder that is the home of the run.
    pub(crate) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// Returns the record in the workspace.
    pub(crate) fn record(&self) -> serde_json::Value {
        let text = fs::read(self.workspace().join("manifest-seal.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Starts the run.
    pub(crate) fn begin(&self) -> Running {
        let place = self.place.path();
        for name in ["output", "summary.md"] {
            fs::write(place.join(name), "").unwrap();
        }
        // The runner changes spaces and case in names, never hyphens.
        let inputs = self.inputs.iter().map(|(name, value)| {
            let name = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
            (name, value)
        });
        let exported = self.exported();
        let child = program()
            .env_clear()
            .envs(exported)
            .env("GITHUB_ENV", place.join("env"))
            .env("HOME", self.home())
            .env("GITHUB_WORKSPACE", self.workspace())
            .env("GITHUB_OUTPUT", place.join("output"))
            .env("GITHUB_STEP_SUMMARY", place.join("summary.md"))
            .envs(&self.environment)
            .envs(inputs)
            .current_dir(self.workspace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            child,
            place: Arc::clone(&self.place),
        }
    }

    /// Runs the action.
    pub(crate) fn run(&self) -> Outcome {
        self.begin().end()
    }

    /// Runs the action, and asserts its exit code.
    pub(crate) fn end_with(&self, code: i32) -> Outcome {
        let outcome = self.run();
        let mut inputs = self.inputs.clone();
        inputs.remove("ca-bundle");
        assert_eq!(outcome.code, code, "{inputs:?}\n{}", outcome.log);
        outcome
    }

    /// Runs the action, and asserts success.
    pub(crate) fn succeed(&self) -> Outcome {
        self.end_with(0)
    }
}

/// The memory and time of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// The peak of its memory.
    pub(crate) peak_mib: f64,
    pub(crate) time: Duration,
}

impl Running {
    /// Waits for the end of the run, and measures its memory and time.
    pub(crate) fn end_watched(self) -> (Outcome, Spent) {
        let began = Instant::now();
        let status = format!("/proc/{}/status", self.child.id());
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let watcher = std::thread::spawn(move || {
            let mut peak: u32 = 0;
            // The kernel keeps the peak, so only growth in the last moment can be missed.
            while !ends.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
                peak = peak.max(kib.unwrap_or_default());
                std::thread::sleep(Duration::from_millis(1));
            }
            peak
        });
        let outcome = self.end();
        let time = began.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let peak = watcher.join().unwrap();
        let peak_mib = f64::from(peak) / 1024.0;
        (outcome, Spent { peak_mib, time })
    }

    /// Reports whether the run has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end of the run.
    pub(crate) fn end(self) -> Outcome {
        let output = self.child.wait_with_output().unwrap();
        let read = |name: &str| fs::read_to_string(self.place.path().join(name)).unwrap();
        let printed = [output.stdout, output.stderr].concat();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            log: String::from_utf8(printed).unwrap(),
            outputs: read_blocks(&read("output")),
            summary: read("summary.md"),
        }
    }

    /// Kills the run without a warning, as a lost machine does.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill().unwrap();
        self.end()
    }

    /// Sends SIGTERM, as a cancelled job does.
    pub(crate) fn terminate(self) -> Outcome {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        self.end()
    }
}

/// Returns a run of `cleanup` in the workspace of `action`, for the same tags.
pub(crate) fn cleanup(action: &Action) -> Action {
    let action = action.clone().input("command", "cleanup");
    action.input("digests", "")
}

impl Outcome {
    /// Returns the output `name`.
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs
            .get(name)
            .unwrap_or_else(|| panic!("no output `{name}`\n{}", self.log))
    }

    /// Returns the output `name`, parsed as JSON.
    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(self.output(name)).unwrap()
    }

    /// Asserts that the log contains each of `texts`.
    pub(crate) fn says(&self, texts: &[&str]) {
        for text in texts {
            assert!(
                self.log.contains(text),
                "the log does not say {text:?}:\n{}",
                self.log
            );
        }
    }

    /// Asserts that the log contains none of `texts`.
    pub(crate) fn does_not_say(&self, texts: &[&str]) {
        for text in texts {
            assert!(
                !self.log.contains(text),
                "the log says {text:?}:\n{}",
                self.log
            );
        }
    }

    /// Returns all text that the run wrote.
    pub(crate) fn everything(&self) -> String {
        let outputs: Vec<&str> = self.outputs.values().map(String::as_str).collect();
        [&self.log, &self.summary, &outputs.join("\n")]
            .map(String::as_str)
            .join("\n")
    }
}

/// Returns the program that cargo built, or another build with the emulator that it may need. A shell in its place would drop
/// every input with a hyphen.
fn program() -> Command {
    let named = std::env::var("MANIFEST_SEAL_PROGRAM");
    let named = named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_manifest-seal").to_owned());
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn place() -> Arc<TempDir> {
    let place = tempfile::tempdir().unwrap();
    for folder in ["workspace", "home"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    fs::write(place.path().join("env"), "").unwrap();
    Arc::new(place)
}

/// Parses a file of outputs or variables as the runner does: `name<<END`, lines, `END`. The last value of a name counts.
fn read_blocks(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (name, end) = line.split_once("<<").expect("everything is a block");
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        outputs.insert(name.to_owned(), value.join("\n"));
    }
    outputs
}
