//! The job of the tour: the real binary, run as steps on one machine of the runner.

use anyhow::{Context as _, bail};
use sandbox::{Runner, Sigstore, values};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variables of every step of the job in the sandbox's tokens.
const VARIABLES: &[(&str, &str)] = &[
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_ACTOR", "octocat"),
    ("GITHUB_EVENT_NAME", "push"),
    ("GITHUB_REF", "refs/heads/main"),
    ("GITHUB_REPOSITORY", "octo-org/octo-app"),
    ("GITHUB_RUN_ATTEMPT", "1"),
    ("GITHUB_RUN_ID", "1122334455"),
    ("GITHUB_SERVER_URL", "https://github.com"),
    ("GITHUB_SHA", "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3"),
    ("GITHUB_WORKFLOW", "release"),
];

/// A job whose steps run the binary.
pub(crate) struct Job {
    binary: PathBuf,
    runner: Runner,
    environment: Vec<(String, String)>,
}

/// The results of a step.
pub(crate) struct Step {
    pub(crate) code: Option<i32>,
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) summary: String,
    pub(crate) log: String,
}

impl Step {
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map_or("", String::as_str)
    }
}

impl Job {
    /// Creates a job that has `id-token: write` at this Sigstore.
    pub(crate) fn new(binary: PathBuf, sigstore: &Sigstore) -> Self {
        Self {
            binary,
            runner: Runner::new(),
            environment: sigstore.github_env(),
        }
    }

    /// Runs the action once with these inputs.
    pub(crate) fn run(&self, inputs: &[(&str, &str)]) -> anyhow::Result<Step> {
        let own = self.environment.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let home = self.runner.home();
        let ended = self
            .runner
            .step(
                Command::new(&self.binary),
                VARIABLES.iter().copied().chain(own),
                inputs.iter().copied(),
            )
            .env("RUNNER_TEMP", home)
            .output()
            .with_context(|| format!("could not run `{}`", self.binary.display()))?;
        let said = [&ended.stdout[..], &ended.stderr].concat();
        Ok(Step {
            code: ended.status.code(),
            outputs: values(self.runner.outputs()),
            summary: self.runner.summary(),
            log: String::from_utf8_lossy(&said).into_owned(),
        })
    }
}

/// Builds `manifest-seal` with the cargo that runs this program, into the target folder of this program.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("could not learn where this program lies")?;
    let profile = here.parent().context("this program lies nowhere")?;
    let target = profile
        .parent()
        .context("this program lies in no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--package", "manifest-seal"])
        .args(["--bin", "manifest-seal", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("could not run cargo")?;
    if !status.success() {
        bail!("could not build `manifest-seal`");
    }
    let name = format!("manifest-seal{}", std::env::consts::EXE_SUFFIX);
    Ok(profile.join(name))
}
