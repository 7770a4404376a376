//! A rerun of the failed jobs, which `act` does not support. As in GitHub, successful jobs do not run again and keep
//! their outputs, and artifacts stay. Failed jobs, and all that need them, run once more with the next attempt's number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use yaml_serde::{Mapping, Value};

use super::act::{Dispatch, OWN, Ran};

impl Dispatch {
    /// Makes the next attempt at the run with the result `ran`. In its workflows every successful job only sets its
    /// outputs again.
    pub(crate) fn rerun_failed(mut self, ran: &Ran) -> Self {
        let folder = self.folder().to_owned();
        let rerun = Rerun {
            ours: folder.join("manifest-seal"),
            ran,
        };
        let caller = format!("octo-app/.github/workflows/{}.yml", self.caller());
        let failed = rerun.derive(&folder.join(caller), false);
        assert!(failed, "nothing failed\n{}", ran.log());
        self.next_attempt();
        self
    }
}

/// The prefix of the names of steps that only set outputs again.
const KEPT: &str = "kept-";

struct Rerun<'a> {
    ours: PathBuf,
    ran: &'a Ran,
}

impl Rerun<'_> {
    /// Changes the workflow in `file`. All its jobs run again if `all` is set. Returns whether any job runs again.
    fn derive(&self, file: &Path, all: bool) -> bool {
        let mut workflow: Value = yaml_serde::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let mut again: BTreeSet<String> = BTreeSet::new();
        // The jobs that a job needs are above it.
        for (id, job) in workflow["jobs"].as_mapping_mut().unwrap() {
            let id = id.as_str().unwrap();
            let depends = all || needs(job).iter().any(|need| again.contains(need));
            let failed = match self.called(job) {
                Some(called) => self.derive(&called, depends),
                None => self.ran.failed_legs(id).next().is_some(),
            };
            if depends || failed {
                again.insert(id.to_owned());
            }
            if job.get("uses").is_some() {
                continue;
            }
            if !(depends || failed) {
                self.keep(id, job);
            } else if failed && !depends && job.get("strategy").is_some() {
                let legs: BTreeSet<String> =
                    self.ran.failed_legs(id).map(Json::to_string).collect();
                let legs = legs.iter().map(|leg| yaml_serde::from_str(leg).unwrap());
                let include = Value::Sequence(legs.collect());
                job["strategy"]["matrix"] =
                    Mapping::from_iter([("include".into(), include)]).into();
            }
        }
        fs::write(file, yaml_serde::to_string(&workflow).unwrap()).unwrap();
        !again.is_empty()
    }

    /// Returns the file of the workflow that `job` calls.
    fn called(&self, job: &Value) -> Option<PathBuf> {
        let path = job.get("uses")?.as_str()?.strip_prefix(OWN)?;
        Some(
            self.ours
                .join(path.split('@').next()?.trim_start_matches('/')),
        )
    }

    /// Replaces the steps of `job` by steps that set its outputs again. The new steps have other names, so that a
    /// repeated output does not look like a repeated step.
    fn keep(&self, id: &str, job: &mut Value) {
        job["steps"] = self.said(id, job);
        let outputs = job.get_mut("outputs").and_then(Value::as_mapping_mut);
        for (_, output) in outputs.into_iter().flatten() {
            let renamed = output
                .as_str()
                .unwrap()
                .replace("steps.", &format!("steps.{KEPT}"));
            *output = renamed.into();
        }
    }

    /// Returns steps that set the outputs of the steps of `job`.
    fn said(&self, id: &str, job: &Value) -> Value {
        let steps = job["steps"].as_sequence().unwrap();
        let mut said: Vec<Value> = Vec::new();
        for step in steps.iter().filter_map(|step| step.get("id")?.as_str()) {
            let outputs: BTreeMap<String, String> = self.ran.outputs_of(id, step).collect();
            let mut run = vec!["true\n".to_owned()];
            let mut env = Mapping::new();
            for (number, (name, value)) in outputs.into_iter().enumerate() {
                run.push(format!(
                    "printf '{name}<<END-OF-OUTPUT\\n%s\\nEND-OF-OUTPUT\\n' \"$SAID_{number}\" >>\"$GITHUB_OUTPUT\"\n"
                ));
                env.insert(format!("SAID_{number}").into(), value.into());
            }
            let keys = [
                ("id".into(), format!("{KEPT}{step}").into()),
                ("shell".into(), "bash".into()),
                ("env".into(), env.into()),
                ("run".into(), run.concat().into()),
            ];
            said.push(Mapping::from_iter(keys).into());
        }
        if said.is_empty() {
            said.push(Mapping::from_iter([("run".into(), "true".into())]).into());
        }
        said.into()
    }
}

/// Returns the jobs that `job` needs.
fn needs(job: &Value) -> Vec<String> {
    let needs = job.get("needs");
    let list = needs.and_then(Value::as_sequence).into_iter().flatten();
    let one = needs.filter(|needs| needs.is_string());
    let names = list
        .chain(one)
        .map(|name| name.as_str().unwrap().to_owned());
    names.collect()
}
