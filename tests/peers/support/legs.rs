//! The legs of a matrix that put out values of their own, which `act` does not know: there the leg that ends first decides what
//! every other puts out. GitHub combines what they put out, so that a job for each leg comes to the same.

use std::fs;
use std::path::Path;

use yaml_serde::Value;

/// As many legs as a case has.
const LEGS: usize = 2;

/// Makes a job of each leg of the job `build` in `file`, the file of `build.yml`: `build`, `build-1`.
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
        let name = match leg {
            0 => "build".to_owned(),
            leg => format!("build-{leg}"),
        };
        jobs.insert(name.into(), job);
    }
    fs::write(file, yaml_serde::to_string(&workflow).unwrap()).unwrap();
}
