//! A machine of GitHub's runner: the folders of a job, the environment of its steps, and the files that they write.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A machine with one workspace and one home for all steps of a job. Dropping it deletes its files.
#[derive(Debug)]
pub struct Runner {
    folder: TempDir,
}

/// A value in a file of outputs or variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub name: String,
    /// Its text.
    pub value: String,
    /// The form in which it was written.
    pub form: Form,
}

/// The form of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `NAME=VALUE`.
    Line,
    /// `NAME<<MARK`, lines, `MARK`.
    Block,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl Runner {
    /// Creates a machine with an empty workspace.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        for name in ["workspace", "home"] {
            fs::create_dir(folder.path().join(name)).expect("a new folder is writable");
        }
        let runner = Self { folder };
        runner.empty("env");
        runner
    }

    /// Returns the folder of the job's files.
    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// Returns the home of the job's user.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Turns `program` into a step in the workspace. Its environment consists of the variables that earlier steps exported,
    /// of the runner's files, and of `variables` and `inputs`.
    pub fn step<'a>(
        &self,
        mut program: Command,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        inputs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Command {
        // The runner changes spaces and case in names of inputs, never hyphens.
        let inputs = inputs.into_iter().map(|(name, value)| {
            let name = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
            (name, value)
        });
        program
            .env_clear()
            .envs(values(self.exported()))
            .env("GITHUB_ENV", self.folder.path().join("env"))
            .env("HOME", self.home())
            .env("GITHUB_WORKSPACE", self.workspace())
            .env("GITHUB_OUTPUT", self.empty("output"))
            .env("GITHUB_STEP_SUMMARY", self.empty("summary.md"))
            .envs(variables)
            .envs(inputs)
            .current_dir(self.workspace());
        program
    }

    /// Returns the variables that steps have exported.
    pub fn exported(&self) -> Vec<Assignment> {
        assignments(&self.text("env"))
    }

    /// Returns the outputs of the last step.
    pub fn outputs(&self) -> Vec<Assignment> {
        assignments(&self.text("output"))
    }

    /// Returns the summary of the last step.
    pub fn summary(&self) -> String {
        self.text("summary.md")
    }

    fn empty(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, "").expect("a new folder is writable");
        path
    }

    fn text(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        fs::read_to_string(path).expect("a step leaves text")
    }
}

/// Returns the assignments by name. The last value of a name counts.
pub fn values(assignments: Vec<Assignment>) -> BTreeMap<String, String> {
    let pairs = assignments.into_iter();
    pairs.map(|each| (each.name, each.value)).collect()
}

/// Parses a file of outputs or variables. Like the runner, it accepts both forms and no other line.
fn assignments(text: &str) -> Vec<Assignment> {
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        let assigned = line.split_once('=');
        let marked = line.split_once("<<");
        let is_line = match (assigned, marked) {
            (Some((name, _)), Some((before, _))) => name.len() < before.len(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        let (name, value, form) = if is_line {
            let (name, value) = assigned.expect("it has a `=`");
            (name, value.to_owned(), Form::Line)
        } else {
            let (name, mark) = marked.expect("each line is an assignment");
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != mark).collect();
            (name, value.join("\n"), Form::Block)
        };
        all.push(Assignment {
            name: name.to_owned(),
            value,
            form,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{assignments, values};

    #[test]
    fn outputs_are_read_in_both_forms() {
        let text = "a=1\nb<<END\nx=y\n\nz\nEND\nc=p<<q\nd<<E\nE\n";
        let outputs = values(assignments(text));
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
