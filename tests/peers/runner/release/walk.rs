//! Walks through the jobs of `release.yml` and does what their steps say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use yaml_serde::Value;

use super::site::{REPOSITORY, Site, fresh};
use crate::support::{Action, Flavour, Tool, Workflow, push_child, stack, text};

impl Site {
    /// A release, asked for a version of its own, or for none.
    pub(super) fn dispatch(&self, version: &str) -> Walk<'_> {
        let text = fs::read_to_string(".github/workflows/release.yml").unwrap();
        let known = [
            ("github.token", "ghs_secret"),
            ("github.actor", "octocat"),
            ("inputs.version", version),
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
    /// To the end.
    pub(super) fn whole(&self) {
        assert_eq!(self.walk(None), Ok(()));
    }

    /// As far as `job`, which is the last to run.
    pub(super) fn until(&self, job: &str) {
        assert_eq!(self.walk(Some(job)), Ok(()));
    }

    /// To where `job` fails.
    pub(super) fn fail_in(&self, job: &str) {
        let (failed, said) = self.walk(None).unwrap_err();
        assert_eq!(failed, job, "{said}");
    }

    fn walk(&self, last: Option<&str>) -> Result<(), (String, String)> {
        // Another run has no artifacts of this one.
        let artifacts = self.site.folder.join("artifacts");
        fs::remove_dir_all(&artifacts).ok();
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
        let skipped =
            step.get("if").is_some() && self.value("needs.preflight.outputs.proceed") != "true";
        if skipped {
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
        let artifacts = self.site.folder.join("artifacts");
        match uses.split('@').next().unwrap() {
            "./" => {
                let outcome = action(&with, &artifacts).run();
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
                // Another image at each build, as most are.
                let label = format!("built={}", workspace.display());
                let mutated = Tool::crane()
                    .args(["mutate", &format!("{}@{}", self.site.image, child.digest)])
                    .args(["--label", &label])
                    .succeed();
                let (_, digest) = mutated.trim().rsplit_once('@').unwrap();
                set("digest", digest);
            }
            "actions/upload-artifact" => {
                let pattern = "mkdir -p \"$TO\" && cp temp/digests/* \"$TO\"";
                let to = artifacts.display().to_string();
                self.site
                    .script(workspace, pattern, &[("TO", to)])
                    .succeed();
            }
            // Those of the job that needs them are in the action's own workspace.
            "actions/download-artifact" | "docker/setup-buildx-action" | "docker/login-action" => {}
            other => panic!("{other} has no stand-in"),
        }
        Ok(())
    }

    /// One commit and nothing else, unless all of it is asked for.
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
        let variables = self.texts(&step["env"]);
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

    /// The value of an expression. What a job or a step has not set is empty.
    fn value(&self, expression: &str) -> String {
        if let Some((condition, rest)) = expression.split_once(" == 'true' && ") {
            let (yes, no) = rest.split_once(" || ").unwrap();
            let chosen = if self.value(condition) == "true" {
                yes
            } else {
                no
            };
            return chosen.trim_matches('\'').to_owned();
        }
        let known = self.known.borrow().get(expression).cloned();
        let is_output = expression.contains(".outputs.") && !expression.contains(' ');
        known.unwrap_or_else(|| {
            assert!(is_output, "what is `{expression}`?");
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

/// The action in a workspace of its own, with the artifacts in it.
fn action(with: &BTreeMap<String, String>, artifacts: &Path) -> Action {
    let workflow = Workflow::called(&format!(
        "{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
    ));
    let command = with.get("command").map_or("seal", String::as_str);
    let mut action = Action::new(command, &with["image"])
        .input("certificate-identity", "")
        .token_from(workflow.by(REPOSITORY).environment());
    for (name, value) in with {
        action = action.input(name, value);
    }
    let digests = action.workspace().join("digests");
    fs::create_dir_all(&digests).unwrap();
    for entry in fs::read_dir(artifacts).into_iter().flatten() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), digests.join(entry.file_name())).unwrap();
    }
    action
}
