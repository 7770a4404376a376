//! Consistency checks: action.yml, the code and the README agree; the Dockerfile keeps its promises; the dependency table is
//! complete.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use manifest_seal::inputs::INPUTS;
use manifest_seal::report::OUTPUTS;
use serde::Deserialize;

use crate::support::project::{files_of, read, table};

#[derive(Deserialize)]
struct Action {
    inputs: BTreeMap<String, Field>,
    outputs: BTreeMap<String, Field>,
    runs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Field {
    description: String,
    default: Option<String>,
    required: Option<bool>,
}

fn action() -> Action {
    yaml_serde::from_str(&read("action.yml")).unwrap()
}

#[test]
fn inputs_of_the_action_are_those_of_the_code() {
    let action = action();
    let names: Vec<&str> = INPUTS.iter().map(|input| input.name).collect();
    assert_eq!(
        action
            .inputs
            .keys()
            .filter(|name| !names.contains(&name.as_str()))
            .count(),
        0,
        "action.yml has more"
    );
    for input in INPUTS {
        let field = action
            .inputs
            .get(input.name)
            .unwrap_or_else(|| panic!("action.yml lacks `{}`", input.name));
        assert_eq!(field.description, input.meaning, "{}", input.name);
        assert_eq!(
            field.default.as_deref().unwrap_or_default(),
            input.default,
            "{}",
            input.name
        );
        // The runner does not enforce `required`, and which inputs are required depends on the command. The code checks it.
        assert_eq!(field.required, None, "{}", input.name);
    }
}

#[test]
fn outputs_of_the_action_are_those_of_the_code() {
    let action = action();
    assert_eq!(action.outputs.len(), OUTPUTS.len());
    for output in OUTPUTS {
        let field = action
            .outputs
            .get(output.name)
            .unwrap_or_else(|| panic!("action.yml lacks `{}`", output.name));
        assert_eq!(field.description, output.meaning, "{}", output.name);
    }
}

#[test]
fn readme_lists_every_input_and_output() {
    let readme = read("README.md");
    let inputs: Vec<Vec<String>> = INPUTS
        .iter()
        .map(|input| {
            let commands = if input.commands.is_empty() {
                "all".to_owned()
            } else {
                input.commands.join(" ")
            };
            let default = if input.default.is_empty() {
                String::new()
            } else {
                format!("`{}`", input.default)
            };
            vec![
                format!("`{}`", input.name),
                commands,
                input.meaning.to_owned(),
                default,
            ]
        })
        .collect();
    assert_eq!(table(&readme, "input"), inputs);
    let outputs: Vec<Vec<String>> = OUTPUTS
        .iter()
        .map(|output| vec![format!("`{}`", output.name), output.meaning.to_owned()])
        .collect();
    assert_eq!(table(&readme, "output"), outputs);
}

/// Each `…` in the README stands for the variable part of a message.
#[test]
fn readme_quotes_messages_that_the_code_has_and_cures_that_exist() {
    let mut code = read("action.yml");
    for file in files_of(Path::new("src")) {
        let text = read(file.to_str().unwrap());
        let said = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        code.extend(said);
    }
    let readme = read("README.md");
    let rows = table(&readme, "it says");
    for row in &rows {
        for piece in row[0].split('…').map(str::trim) {
            assert!(piece.is_empty() || code.contains(piece), "{piece}");
        }
        for word in row[2].split('`').skip(1).step_by(2) {
            let name = word.split(':').next().unwrap();
            let is_input = INPUTS.iter().any(|input| input.name == name);
            let known = is_input || code.contains(word);
            assert!(known, "nothing is known of `{word}`");
        }
    }
    assert!(rows.len() > 10);
}

#[test]
fn readme_names_the_commands_that_ci_runs() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in ["cargo run -p sandbox", "cargo test --workspace"] {
        assert!(
            readme.contains(&format!("```shell\n{command}\n```")),
            "{command}"
        );
    }
    assert!(ci.contains("cargo test --workspace"));
}

#[test]
fn image_has_no_shell_in_its_path() {
    let dockerfile = read("Dockerfile");
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    assert!(
        last.starts_with("scratch\n"),
        "the image is built on nothing"
    );
    assert!(
        last.contains("ENTRYPOINT [\"/manifest-seal\"]"),
        "a shell would drop inputs with hyphens"
    );
    for instruction in ["USER", "WORKDIR", "RUN", "CMD", "SHELL"] {
        assert!(
            !last.lines().any(|line| line.starts_with(instruction)),
            "{instruction}"
        );
    }
    assert!(
        dockerfile.contains("ARG BUILDER=") && dockerfile.contains("@sha256:"),
        "the builder is pinned"
    );
    assert_eq!(
        action().runs.get("image").map(String::as_str),
        Some("Dockerfile")
    );
}

#[test]
fn every_dependency_has_its_reason() {
    let contributing = read(".github/CONTRIBUTING.md");
    let table = table(&contributing, "crate");
    let named: Vec<&str> = table
        .iter()
        .flat_map(|row| row[0].split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    let manifest = read("Cargo.toml");
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    let used: Vec<&str> = section
        .lines()
        .filter_map(|line| Some(line.split_once(" =")?.0))
        .collect();
    let covers = |name: &str, used: &str| {
        name.strip_suffix('*')
            .map_or(name == used, |stem| used.starts_with(stem))
    };
    for dependency in &used {
        assert!(
            named.iter().any(|name| covers(name, dependency)),
            "`{dependency}` has no row"
        );
    }
    for name in named {
        assert!(
            used.iter().any(|dependency| covers(name, dependency)),
            "`{name}` has a row and is not used"
        );
    }
}

#[test]
fn sigstore_is_pinned_exactly() {
    let manifest = read("Cargo.toml");
    let pins: Vec<&str> = manifest
        .lines()
        .filter(|line| line.starts_with("sigstore-"))
        .collect();
    assert!(
        !pins.is_empty() && pins.iter().all(|line| line.contains("\"=0.")),
        "{pins:#?}"
    );
}

#[test]
fn every_changeset_speaks_to_users() {
    let files: Vec<_> = fs::read_dir(".changeset")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(file).unwrap();
        // The name has no quotes: knope, which reads changesets for a release, takes quotes as part of the name.
        let bump = ["patch", "minor", "major"]
            .iter()
            .any(|bump| text.starts_with(&format!("---\nmanifest-seal: {bump}\n---\n\n")));
        assert!(bump, "{}", file.display());
    }
}
