//! Matrix legs with outputs of their own, which `act` does not support: there the first leg to end decides the outputs of
//! all others. GitHub merges the outputs, so one job for each leg is equivalent.
//!
//! `act` takes the outputs of a called workflow from the job that ends last, with the others' outputs as that job read
//! them. Of two jobs that end at once, one may lack the other's. So one more job runs last and ends with their result.

use std::fs;
use std::path::Path;

use yaml_serde::{Mapping, Value};

/// The number of legs in a case.
const LEGS: usize = 2;

/// Splits the job `build` in `file`, the file of `build.yml`, into a job for each leg: `build`, `build-1`; and `legs`
/// after them.
pub(super) fn split(file: &Path) {
    let mut text = fs::read_to_string(file).unwrap();
    for leg in 1..LEGS {
        let named = format!("jobs.build.outputs.digest-{leg},");
        assert!(text.contains(&named));
        text = text.replace(&named, &format!("jobs.build-{leg}.outputs.digest-{leg},"));
    }
    let mut workflow: Value = yaml_serde::from_str(&text).unwrap();
    let jobs = workflow["jobs"].as_mapping_mut().unwrap();
    let build = jobs["build"].clone();
    let mut ids: Vec<Value> = Vec::new();
    for leg in 0..LEGS {
        let mut job = build.clone();
        let all = "fromJSON(needs.plan.outputs.matrix)";
        let one = format!("{all}[{leg}] || fromJSON('{{}}')");
        job["strategy"]["matrix"]["include"] =
            format!("${{{{ fromJSON(format('[{{0}}]', toJSON({one}))) }}}}").into();
        let condition = job["if"].as_str().unwrap().trim_end_matches(" }}");
        job["if"] = format!("{condition} && needs.plan.outputs.legs > {leg} }}}}").into();
        let outputs = job["outputs"].as_mapping_mut().unwrap();
        outputs.retain(|name, _| *name == *format!("digest-{leg}"));
        let id = match leg {
            0 => "build".to_owned(),
            leg => format!("build-{leg}"),
        };
        ids.push(id.as_str().into());
        jobs.insert(id.into(), job);
    }
    jobs.insert("legs".into(), after(ids, &build["if"]));
    fs::write(file, yaml_serde::to_string(&workflow).unwrap()).unwrap();
}

/// Returns a job that runs after the jobs `ids`, all of which run under `condition`. It fails if one of them has failed.
fn after(ids: Vec<Value>, condition: &Value) -> Value {
    let condition = condition.as_str().unwrap().trim_start_matches("${{ ");
    let failed = "contains(needs.*.result, 'failure')";
    let step = [(
        "run".into(),
        format!("${{{{ {failed} && 'false' || 'true' }}}}").into(),
    )];
    let needs = [Value::from("plan")].into_iter().chain(ids);
    let job = [
        ("needs".into(), Value::Sequence(needs.collect())),
        (
            "if".into(),
            format!("${{{{ !cancelled() && {condition}").into(),
        ),
        ("runs-on".into(), "ubuntu-24.04".into()),
        (
            "steps".into(),
            Value::Sequence(vec![Mapping::from_iter(step).into()]),
        ),
    ];
    Mapping::from_iter(job).into()
}
