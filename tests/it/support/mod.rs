//! The binary, run on a machine of the runner ([`Runner`]), and fixtures for more than one module of tests.

mod attach;
pub(crate) mod cleanup;
pub(crate) mod credentials;
pub(crate) mod hosted;
pub(crate) mod hostile_runs;
pub(crate) mod legacy;
mod manifests;
mod passage;
mod pipeline;
pub(crate) mod project;
mod published;
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

use sandbox::{Assignment, Form, Runner, values};

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

/// A run of the action before it starts. Clones share their machine, as steps of one job do.
#[derive(Clone)]
pub(crate) struct Action {
    inputs: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    runner: Arc<Runner>,
}

/// A run that has started.
pub(crate) struct Running {
    child: Child,
    runner: Arc<Runner>,
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
            runner: Arc::default(),
        };
        action
            .input("command", command)
            .input("retry-delay", "10ms")
            .input("propagation", "0ms")
            // A machine under load takes long; a run that hangs ends by it.
            .input("timeout", "6m")
            .input("ca-bundle", sandbox::certificate_authority())
            // The image has no system certificates either. To read those of a machine takes a third of a short run.
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/dev/null")
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
            runner: Arc::default(),
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
        blocks(self.runner.exported())
    }

    /// Returns the folder that is the workspace of the run.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.runner.workspace()
    }

    /// Returns the folder that is the home of the run.
    pub(crate) fn home(&self) -> PathBuf {
        self.runner.home()
    }

    /// Returns the record in the workspace.
    pub(crate) fn record(&self) -> serde_json::Value {
        let text = fs::read(self.workspace().join("manifest-seal.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Returns how often the last run wrote its record: each time it exported a digest.
    pub(crate) fn record_writes(&self) -> usize {
        let outputs = self.runner.outputs().into_iter();
        outputs
            .filter(|output| output.name == "record-digest")
            .count()
    }

    /// Starts the run.
    pub(crate) fn begin(&self) -> Running {
        let child = self
            .step()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            child,
            runner: Arc::clone(&self.runner),
        }
    }

    /// Returns the run as a command.
    pub(crate) fn step(&self) -> Command {
        let (variables, inputs) = (pairs(&self.environment), pairs(&self.inputs));
        let mut step = self.runner.step(program(), variables, inputs);
        step.stdin(Stdio::null());
        step
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
        let printed = [output.stdout, output.stderr].concat();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            log: String::from_utf8(printed).unwrap(),
            outputs: blocks(self.runner.outputs()),
            summary: self.runner.summary(),
        }
    }

    /// Kills the run without a warning, as a lost machine does.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill().unwrap();
        self.end()
    }

    /// Sends SIGTERM, as a cancelled job does.
    pub(crate) fn terminate(self) -> Outcome {
        self.signal("TERM")
    }

    /// Sends a signal, and waits for the end of the run.
    pub(crate) fn signal(self, name: &str) -> Outcome {
        let id = self.child.id().to_string();
        let name = format!("-{name}");
        let sent = Command::new("kill").args([&name, &id]).status().unwrap();
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
pub(crate) fn program() -> Command {
    let named = std::env::var("MANIFEST_SEAL_PROGRAM");
    let named = named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_manifest-seal").to_owned());
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// Returns the assignments by name. The program writes every value as a block, so that no value can add another.
fn blocks(assignments: Vec<Assignment>) -> BTreeMap<String, String> {
    let are_blocks = assignments.iter().all(|each| each.form == Form::Block);
    assert!(are_blocks, "{assignments:?}");
    values(assignments)
}

fn pairs(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}
