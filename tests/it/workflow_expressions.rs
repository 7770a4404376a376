//! Expressions that GitHub evaluates before a job runs, unchecked by any linter: an empty input must not break them. A caller
//! without a value passes the empty string, which overrides the default.

use std::collections::{BTreeMap, BTreeSet};

use yaml_serde::Value;

use crate::support::project::read;
use crate::support::workflow::{inputs, workflows};

/// Keys below which an empty value is an error (`Unexpected value ''`), or means something other than no value.
const NEVER_EMPTY: [&str; 9] = [
    "runs-on",
    "timeout-minutes",
    "continue-on-error",
    "strategy",
    "concurrency",
    "container",
    "services",
    "shell",
    "working-directory",
];

/// Collects each text in `value`, with the path of its keys.
fn texts<'a>(value: &'a Value, path: &mut Vec<&'a str>, found: &mut Vec<(Vec<&'a str>, &'a str)>) {
    if let Some(text) = value.as_str() {
        found.push((path.clone(), text));
    }
    for item in value.as_sequence().into_iter().flatten() {
        texts(item, path, found);
    }
    for (key, child) in value.as_mapping().into_iter().flatten() {
        path.push(key.as_str().unwrap_or_default());
        texts(child, path, found);
        path.pop();
    }
}

/// Returns each input that `expression` uses, with the text after its name.
fn uses(expression: &str) -> impl Iterator<Item = (&str, &str)> {
    expression.split("inputs.").skip(1).map(|rest| {
        let is_name = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
        rest.split_at(rest.find(|char| !is_name(char)).unwrap_or(rest.len()))
    })
}

/// Returns the literal that replaces an empty input, if one follows its name.
fn fallback(rest: &str) -> Option<&str> {
    let literal = rest.strip_prefix(" || '")?.split('\'').next()?;
    (!literal.is_empty()).then_some(literal)
}

/// Returns the problem of `text`, the value at `path`, in a job with the condition `guard`.
fn complaint(path: &[&str], text: &str, guard: &str) -> Option<String> {
    let all = path.join(".");
    let is_condition = path.last() == Some(&"if");
    // An empty artifact name means another artifact, or all of them.
    let is_artifact = path.ends_with(&["with", "name"]) || path.ends_with(&["with", "pattern"]);
    let never_empty = is_artifact || path.iter().any(|key| NEVER_EMPTY.contains(key));
    for (name, rest) in uses(text) {
        let compared = rest.starts_with(" == '") || rest.starts_with(" != '");
        if is_condition && !compared {
            return Some(format!(
                "{all}: `{name}`, a text, is true even if it is `false`"
            ));
        }
        let guarded = guard.contains(&format!("inputs.{name} != ''"));
        if never_empty && !compared && !guarded && fallback(rest).is_none() {
            return Some(format!("{all}: `{name}` may be empty"));
        }
    }
    let parsed = text.split("fromJSON(inputs.").skip(1);
    let mut bare =
        parsed.filter(|rest| fallback(&rest[rest.find([' ', ')']).unwrap()..]).is_none());
    bare.next().map(|_| format!("{all}: nothing is no JSON"))
}

#[test]
fn empty_inputs_break_no_expression() {
    let mut seen = 0;
    for (path, text) in workflows() {
        let workflow: Value = yaml_serde::from_str(&text).unwrap();
        let mut found = Vec::new();
        texts(&workflow["jobs"], &mut Vec::new(), &mut found);
        for (keys, text) in found {
            seen += uses(text).count();
            let guard = workflow["jobs"][keys[0]]["if"].as_str();
            let complaint = complaint(&keys, text, guard.unwrap_or_default());
            assert_eq!(complaint, None, "{path}");
        }
        // Only a text may be empty.
        for (name, input) in inputs(&text).unwrap_or_default() {
            let name = name.as_str().unwrap();
            assert_eq!(input["type"], "string", "{path}: `{name}`");
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn expressions_that_an_empty_input_breaks_are_found() {
    for (path, text) in [
        ("jobs.a.timeout-minutes", "${{ fromJSON(inputs.minutes) }}"),
        ("jobs.a.timeout-minutes", "${{ inputs.minutes }}"),
        ("jobs.a.runs-on", "${{ inputs.runner || '' }}"),
        (
            "jobs.a.strategy.matrix",
            "${{ fromJSON(inputs.matrix)[0] }}",
        ),
        ("jobs.a.steps.with.images", "${{ fromJSON(inputs.images) }}"),
        ("jobs.a.steps.with.pattern", "${{ inputs.record }}"),
        ("jobs.a.steps.continue-on-error", "${{ inputs.lenient }}"),
        ("jobs.a.if", "${{ !inputs.tagless }}"),
        ("jobs.a.if", "${{ inputs.a == 'true' && inputs.b }}"),
    ] {
        let keys: Vec<&str> = path.split('.').collect();
        assert!(complaint(&keys[1..], text, "").is_some(), "{path}: {text}");
    }
}

/// An input has one name in all workflows, and one meaning if it is omitted: by its default, and if it is empty.
#[test]
fn empty_input_is_the_default() {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in workflows() {
        if !path.starts_with(".github") {
            continue;
        }
        for (name, input) in inputs(&text).unwrap_or_default() {
            if let Some(default) = input["default"].as_str() {
                let name = name.as_str().unwrap().to_owned();
                values.entry(name).or_default().insert(default.to_owned());
            }
        }
        for (name, rest) in uses(&text) {
            if let Some(literal) = fallback(rest) {
                let known = values.entry(name.to_owned()).or_default();
                known.insert(literal.to_owned());
            }
        }
    }
    for name in [
        "platforms",
        "runners",
        "build-minutes",
        "max-attempts",
        "context",
    ] {
        assert!(values.contains_key(name), "{name}");
    }
    for (name, values) in values {
        assert_eq!(values.len(), 1, "`{name}`: {values:?}");
    }
}

/// The caller in the runner's tests that passes only empty strings passes one to every input.
#[test]
fn every_input_is_tried_empty() {
    let caller: Value = yaml_serde::from_str(&read("tests/runner/workflows/empty.yml")).unwrap();
    let mut tried = BTreeSet::new();
    for (_, job) in caller["jobs"].as_mapping().unwrap() {
        let uses = job["uses"].as_str().unwrap();
        let file = uses.rsplit('/').next().unwrap().split('@').next().unwrap();
        let path = format!(".github/workflows/{file}");
        let names = |map: &yaml_serde::Mapping| -> Vec<String> {
            map.keys()
                .map(|key| key.as_str().unwrap().to_owned())
                .collect()
        };
        let given = names(job["with"].as_mapping().unwrap());
        assert_eq!(given, names(&inputs(&read(&path)).unwrap()), "{file}");
        tried.insert(path);
    }
    // The exception is `build.yml`, which only the other workflows call.
    for (path, text) in workflows() {
        if inputs(&text).is_some() && path != ".github/workflows/build.yml" {
            assert!(tried.contains(&path), "{path}");
        }
    }
}

/// A rerun of a job uploads its artifacts again, under the same names.
#[test]
fn artifacts_are_replaced_by_the_next_attempt() {
    let mut seen = 0;
    for (path, text) in workflows() {
        let workflow: Value = yaml_serde::from_str(&text).unwrap();
        for (name, job) in workflow["jobs"].as_mapping().unwrap() {
            for step in job["steps"].as_sequence().into_iter().flatten() {
                let uses = step["uses"].as_str().unwrap_or_default();
                if uses.starts_with("actions/upload-artifact@") {
                    seen += 1;
                    assert_eq!(step["with"]["overwrite"], true, "{path}: {name:?}");
                }
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}
