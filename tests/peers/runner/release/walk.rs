//! Runs the jobs of `release.yml`, step by step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use yaml_serde::Value;

use super::site::{REPOSITORY, Site, fresh};
use crate::support::{Action, Flavour, Tool, Workflow, push_child, stack, text};

/// The commit in the tokens of the stack's issuer.
const COMMIT: &str = "f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3";

impl Site {
    /// Starts a release, with a given version or without.
    pub(super) fn dispatch(&self, version: &str) -> Walk<'_> {
        let text = fs::read_to_string(".github/workflows/release.yml").unwrap();
        let known = [
            ("github.token", "ghs_secret"),
            ("github.actor", "octocat"),
            ("github.sha", COMMIT),
            ("inputs.version", version),
            ("inputs.adopt", ""),
            ("env.IMAGE", self.image.as_str()),
            ("runner.temp", "/tmp"),
        ];
        let known = known.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Walk {
            site: self,
            workflow: yaml_serde::from_str(&text).unwrap(),
            known: RefCell::new(known.into()),
        }
    }
}

/// A run of the workflow.
pub(super) struct Walk<'a> {
    site: &'a Site,
    workflow: Value,
    /// The values of expressions.
    known: RefCell<BTreeMap<String, String>>,
}

impl Walk<'_> {
    /// Adds a digest to adopt.
    pub(super) fn adopting(self, digest: &str) -> Self {
        self.set("inputs.adopt", digest);
        self
    }

    /// Runs all jobs.
    pub(super) fn whole(&self) {
        assert_eq!(self.walk(None), Ok(()));
    }

    /// Runs the jobs up to `job`, which is the last.
    pub(super) fn until(&self, job: &str) {
        assert_eq!(self.walk(Some(job)), Ok(()));
    }

    /// Runs until `job` fails. Returns its output.
    pub(super) fn fail_in(&self, job: &str) -> String {
        let (failed, said) = self.walk(None).unwrap_err();
        assert_eq!(failed, job, "{said}");
        said
    }

    fn walk(&self, last: Option<&str>) -> Result<(), (String, String)> {
        for (name, job) in self.workflow["jobs"].as_mapping().unwrap() {
            let name = name.as_str().unwrap();
            if name != "build" || self.value("needs.preflight.outputs.proceed") == "true" {
                self.job(name, job)
                    .map_err(|said| (name.to_owned(), said))?;
            }
            if last == Some(name) {
                break;
            }
        }
        Ok(())
    }

    fn job(&self, name: &str, job: &Value) -> Result<(), String> {
        let one = [Value::Null];
        let legs = job["strategy"]["matrix"]["include"].as_sequence();
        for leg in legs.map_or(&one[..], Vec::as_slice) {
            for (key, value) in leg.as_mapping().into_iter().flatten() {
                let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap());
                self.set(&format!("matrix.{key}"), value);
            }
            let workspace = fresh();
            for step in job["steps"].as_sequence().unwrap() {
                self.step(&workspace, step)?;
            }
        }
        for (output, value) in job["outputs"].as_mapping().into_iter().flatten() {
            let output = format!("needs.{name}.outputs.{}", output.as_str().unwrap());
            self.set(&output, &self.fill(value.as_str().unwrap()));
        }
        Ok(())
    }

    fn step(&self, workspace: &Path, step: &Value) -> Result<(), String> {
        if step["if"]
            .as_str()
            .is_some_and(|text| self.fill(text) == "false")
        {
            return Ok(());
        }
        let set = |name: &str, value: &str| {
            if let Some(id) = step["id"].as_str() {
                self.set(&format!("steps.{id}.outputs.{name}"), value);
            }
        };
        let with: BTreeMap<String, String> = self.texts(&step["with"]).into_iter().collect();
        let Some(uses) = step["uses"].as_str() else {
            return self
                .run(workspace, step)
                .map(|outputs| outputs.iter().for_each(|(name, value)| set(name, value)));
        };
        match uses.split('@').next().unwrap() {
            "./" => {
                let outcome = action(&with).run();
                outcome
                    .outputs
                    .iter()
                    .for_each(|(name, value)| set(name, value));
                (outcome.code == 0).then_some(()).ok_or(outcome.log)?;
            }
            "actions/checkout" => self.checkout(workspace, &with),
            "docker/build-push-action" => {
                let (_, architecture) = with["platforms"].split_once('/').unwrap();
                let child = push_child(&self.site.image, architecture, Flavour::Oci);
                // Another image for each build, as in most builds.
                let label = format!("built={}", workspace.display());
                let mutated = Tool::crane()
                    .args(["mutate", &format!("{}@{}", self.site.image, child.digest)])
                    .args(["--label", &label])
                    .succeed();
                let (_, digest) = mutated.trim().rsplit_once('@').unwrap();
                set("digest", digest);
            }
            "docker/setup-buildx-action" | "docker/login-action" => {}
            other => panic!("{other} has no stand-in"),
        }
        Ok(())
    }

    /// Checks out one commit and nothing else, unless the whole history is requested.
    fn checkout(&self, workspace: &Path, with: &BTreeMap<String, String>) {
        let script = r#"git init --quiet --initial-branch none && git remote add origin "file://$SITE/remote" &&
            if [ "$DEPTH" = 0 ]; then git fetch --quiet --tags origin "$REF"; else git fetch --quiet --no-tags --depth 1 origin "$REF"; fi &&
            git checkout --quiet --detach FETCH_HEAD"#;
        let depth = with.get("fetch-depth").cloned().unwrap_or("1".to_owned());
        let variables = [("DEPTH", depth), ("REF", with["ref"].clone())];
        self.site.script(workspace, script, &variables).succeed();
    }

    fn run(&self, workspace: &Path, step: &Value) -> Result<BTreeMap<String, String>, String> {
        let script = step["run"].as_str().unwrap();
        if script.starts_with("cargo install --locked knope@") {
            assert!(stack("KNOPE").contains(script.split('@').nth(1).unwrap()));
            return Ok(BTreeMap::new());
        }
        let mut variables = self.texts(&step["env"]);
        variables.push(("IMAGE".to_owned(), self.site.image.clone()));
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        let output = self.site.script(workspace, script, &variables).output();
        if !output.status.success() {
            return Err(text(&output));
        }
        let written = fs::read_to_string(workspace.join("output")).unwrap_or_default();
        let pairs = written.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    fn set(&self, name: &str, value: &str) {
        self.known
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
    }

    /// Returns the value of an expression: alternatives, each of them a chain of conditions with a value at its end.
    /// Values that no job or step has set are empty.
    fn value(&self, expression: &str) -> String {
        let alternatives = expression.split(" || ").map(|chain| self.chain(chain));
        let last = alternatives.clone().last().unwrap();
        alternatives
            .into_iter()
            .find(|value| !["", "false"].contains(&&**value))
            .unwrap_or(last)
    }

    fn chain(&self, chain: &str) -> String {
        let mut value = String::new();
        for operand in chain.split(" && ") {
            value = self.operand(operand);
            if ["", "false"].contains(&&*value) {
                break;
            }
        }
        value
    }

    fn operand(&self, operand: &str) -> String {
        if let Some((name, wanted)) = operand.split_once(" == ") {
            return (self.operand(name) == self.operand(wanted)).to_string();
        }
        if let Some(literal) = operand.strip_prefix('\'') {
            return literal.trim_end_matches('\'').to_owned();
        }
        let known = self.known.borrow().get(operand).cloned();
        let is_output = operand.contains(".outputs.") && !operand.contains(' ');
        known.unwrap_or_else(|| {
            assert!(is_output, "what is `{operand}`?");
            String::new()
        })
    }

    fn fill(&self, text: &str) -> String {
        let mut parts = text.split("${{ ");
        let mut filled = parts.next().unwrap().to_owned();
        for part in parts {
            let (expression, rest) = part.split_once(" }}").unwrap();
            filled += &self.value(expression);
            filled += rest;
        }
        filled
    }

    fn texts(&self, map: &Value) -> Vec<(String, String)> {
        let pairs = map.as_mapping().into_iter().flatten();
        let text = |value: &Value| match value.as_str() {
            Some(text) => self.fill(text),
            None => yaml_serde::to_string(value).unwrap().trim().to_owned(),
        };
        pairs
            .map(|(name, value)| (name.as_str().unwrap().to_owned(), text(value)))
            .collect()
    }
}

/// Makes the action, in a workspace of its own.
fn action(with: &BTreeMap<String, String>) -> Action {
    let workflow = Workflow::called(&format!(
        "{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
    ));
    let command = with.get("command").map_or("seal", String::as_str);
    let action = Action::new(command, &with["image"])
        .input("certificate-identity", "")
        .token_from(workflow.by(REPOSITORY).environment());
    with.iter()
        .fold(action, |action, (name, value)| action.input(name, value))
}
