//! Runs the real binary like a GitHub runner: a bare environment, inputs as variables, files for outputs.

use anyhow::{Context as _, bail};
use sandbox::Sigstore;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The variables of every step of the job in the sandbox's tokens.
const JOB: &[(&str, &str)] = &[
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

/// A runner with one workspace for all steps.
pub(crate) struct Runner {
    binary: PathBuf,
    home: TempDir,
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

impl Runner {
    /// Creates a runner whose job has `id-token: write` at this Sigstore.
    pub(crate) fn new(binary: PathBuf, sigstore: &Sigstore) -> anyhow::Result<Self> {
        let home = tempfile::tempdir().context("could not make a folder for the runner")?;
        std::fs::create_dir(home.path().join("workspace"))?;
        Ok(Self {
            binary,
            home,
            environment: sigstore.github_env(),
        })
    }

    /// Runs the action once with these inputs.
    pub(crate) fn run(&self, inputs: &[(&str, &str)]) -> anyhow::Result<Step> {
        let workspace = self.home.path().join("workspace");
        let output = self.fresh_file("output")?;
        let summary = self.fresh_file("summary")?;
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(JOB.iter().copied())
            .envs(self.environment.iter().cloned())
            .env("HOME", self.home.path())
            .env("RUNNER_TEMP", self.home.path())
            .env("GITHUB_WORKSPACE", &workspace)
            .env("GITHUB_OUTPUT", &output)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .current_dir(&workspace);
        for (name, value) in inputs {
            // The runner keeps hyphens and turns spaces into underscores.
            let name = name.to_uppercase().replace(' ', "_");
            command.env(format!("INPUT_{name}"), value);
        }
        let ended = command
            .output()
            .with_context(|| format!("could not run `{}`", self.binary.display()))?;
        let said = [&ended.stdout[..], &ended.stderr].concat();
        Ok(Step {
            code: ended.status.code(),
            outputs: parse_outputs(&std::fs::read_to_string(output)?),
            summary: std::fs::read_to_string(summary)?,
            log: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    fn fresh_file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.home.path().join(name);
        std::fs::write(&path, "").with_context(|| format!("could not write `{name}`"))?;
        Ok(path)
    }
}

/// Parses `name=value`, or `name<<MARK`, lines, `MARK`: the format of `GITHUB_OUTPUT`.
fn parse_outputs(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let assigned = line.split_once('=');
        let marked = line.split_once("<<");
        match (assigned, marked) {
            (Some((name, value)), None) => {
                outputs.insert(name.to_owned(), value.to_owned());
            }
            (Some((name, value)), Some((before, _))) if name.len() < before.len() => {
                outputs.insert(name.to_owned(), value.to_owned());
            }
            (_, Some((name, mark))) => {
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != mark).collect();
                outputs.insert(name.to_owned(), value.join("\n"));
            }
            (None, None) => {}
        }
    }
    outputs
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

#[cfg(test)]
mod tests {
    use super::parse_outputs;

    #[test]
    fn outputs_are_read_in_both_forms() {
        let text = "a=1\nb<<END\nx=y\n\nz\nEND\nc=p<<q\nd<<E\nE\n";
        let outputs = parse_outputs(text);
        let pairs: Vec<_> = outputs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("a", "1"), ("b", "x=y\n\nz"), ("c", "p<<q"), ("d", "")]
        );
    }
}
