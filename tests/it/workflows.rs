//! Consistency of the reusable workflows with each other, the action and the README. actionlint checks none of it, because they
//! refer to each other by full names.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::project::{read, table};
use crate::support::workflow::{Call, Called, OWN, Workflow, given, inputs, parsed, workflows};

/// Returns the names of the inputs of the workflow or action in `uses:`, if it is ours.
fn inputs_of(uses: &str) -> Option<BTreeSet<String>> {
    let path = match uses.strip_prefix(OWN) {
        Some(rest) => rest.split('@').next().unwrap().trim_start_matches('/'),
        None => uses.strip_prefix("./")?,
    };
    let inputs = if path.is_empty() {
        let action: Called = yaml_serde::from_str(&read("action.yml")).unwrap();
        action.inputs
    } else {
        inputs(&read(path)).unwrap()
    };
    let names = inputs.keys().map(|name| name.as_str().unwrap().to_owned());
    Some(names.collect())
}

#[test]
fn workflows_give_only_inputs_that_are_there() {
    let mut seen = 0;
    for (path, text) in workflows() {
        let workflow: Workflow = yaml_serde::from_str(&text).unwrap();
        let calls = workflow
            .jobs
            .values()
            .flat_map(|job| job.steps.iter().chain([&job.call]));
        for call in calls {
            let Some(known) = call.uses.as_deref().and_then(inputs_of) else {
                continue;
            };
            seen += 1;
            for name in call.with.keys() {
                assert!(
                    known.contains(name),
                    "{path}: {:?} has no `{name}`",
                    call.uses
                );
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// Checks the inputs that `value` passes to our action and workflows, at any depth. Returns the number of their uses.
fn check_calls(value: &yaml_serde::Value, place: &str) -> usize {
    use yaml_serde::Value;
    let fields = value
        .as_mapping()
        .into_iter()
        .flat_map(|mapping| mapping.values());
    let items = value.as_sequence().into_iter().flatten();
    let below: usize = fields
        .chain(items)
        .map(|child| check_calls(child, place))
        .sum();
    let Some(known) = value
        .get("uses")
        .and_then(Value::as_str)
        .and_then(inputs_of)
    else {
        return below;
    };
    let with = value.get("with").and_then(Value::as_mapping);
    for name in with.into_iter().flat_map(|with| with.keys()) {
        let name = name.as_str().unwrap();
        assert!(known.contains(name), "{place}: no input `{name}`");
    }
    below + 1
}

#[test]
fn examples_give_only_inputs_that_are_there() {
    for (path, least) in [("README.md", 5), (".github/MIGRATING.md", 3)] {
        let text = read(path);
        let examples = text.split("```yaml\n").skip(1);
        let calls = examples.map(|rest| {
            let example = rest.split("```").next().unwrap();
            check_calls(&yaml_serde::from_str(example).unwrap(), path)
        });
        assert!(calls.sum::<usize>() >= least, "{path}");
    }
}

/// Checks that each name between backticks in the second column is one of ours.
fn check_names(head: &str, known: &BTreeSet<String>) {
    for row in table(&read(".github/MIGRATING.md"), head) {
        for word in row[1].split('`').skip(1).step_by(2) {
            let name = word.split(':').next().unwrap();
            let is_name = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(!is_name || known.contains(name), "{head}: `{word}`");
        }
    }
}

#[test]
fn whoever_moves_over_is_told_names_that_are_there() {
    let publish = read(".github/workflows/build-publish.yml");
    let workflow: Workflow = yaml_serde::from_str(&publish).unwrap();
    let names = |known: &yaml_serde::Value| -> BTreeSet<String> {
        let keys = known.as_mapping().unwrap().keys();
        keys.map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    let action: yaml_serde::Value = yaml_serde::from_str(&read("action.yml")).unwrap();
    let mut inputs = names(&action["inputs"]);
    // One row names these two commands.
    inputs.extend(["seal".to_owned(), "verify".to_owned()]);
    check_names("input of build-push-docker-manifest", &inputs);
    check_names(
        "output of build-push-docker-manifest",
        &names(&action["outputs"]),
    );
    let called = &workflow.on["workflow_call"];
    let mut inputs = names(&called["inputs"]);
    inputs.insert("digest".to_owned());
    check_names("input of reusable-docker-build-publish", &inputs);
    let mut outputs = names(&called["outputs"]);
    outputs.insert("platforms".to_owned());
    check_names("output of reusable-docker-build-publish", &outputs);
}

#[test]
fn workflows_name_the_action_of_their_major_version() {
    let manifest = read("Cargo.toml");
    let version = manifest.split("\nversion = \"").nth(1).unwrap();
    let major = version.split('.').next().unwrap();
    for (path, text) in workflows() {
        for line in text
            .lines()
            .filter(|line| line.contains(&format!("uses: {OWN}")))
        {
            assert!(line.ends_with(&format!("@v{major}")), "{path}: {line}");
        }
    }
}

/// The workflows whose job has the permissions of the calling job. GitHub compares a called job's permissions with those that
/// the caller grants, whatever its `if`. Not every caller grants a token for Amazon ECR.
const INHERITING: [&str; 2] = [
    ".github/workflows/cleanup.yml",
    ".github/workflows/verify.yml",
];

#[test]
fn every_permission_has_its_reason() {
    for (path, text) in workflows() {
        if INHERITING.contains(&&*path) {
            let workflow: Workflow = yaml_serde::from_str(&text).unwrap();
            let triggers: Vec<_> = workflow.on.as_mapping().unwrap().keys().collect();
            assert_eq!(triggers, ["workflow_call"], "{path}: a run has no caller");
            let named = text.lines().any(|line| line.trim() == "permissions:");
            assert!(!named && !text.contains("permissions: {}"), "{path}");
            continue;
        }
        assert!(text.contains("\npermissions: {}\n"), "{path}");
        for line in text.lines() {
            let granted = line
                .trim_start()
                .split_once(": ")
                .is_some_and(|(name, value)| {
                    ["contents", "packages", "id-token"].contains(&name)
                        && value.starts_with(['r', 'w'])
                });
            assert!(!granted || line.contains(" # "), "{path}: {line}");
            assert!(!line.contains("secrets: inherit"), "{path}: {line}");
        }
    }
}

/// Asserts that `step` receives each of `wanted`.
fn assert_given(step: &BTreeMap<String, String>, wanted: &[(&str, &str)]) {
    for (name, value) in wanted {
        assert_eq!(step.get(*name).map(String::as_str), Some(*value), "{name}");
    }
}

const BUILT: &str = "needs.build.outputs.proceed == 'true'";
const FOUND: &str = "needs.build.outputs.proceed != 'true'";
/// The caller's repository and git ref, which every policy contains.
const OF_THE_CALLER: [(&str, &str); 2] = [
    (
        "certificate-github-workflow-repository",
        "${{ github.repository }}",
    ),
    ("certificate-github-workflow-ref", "${{ github.ref }}"),
];

/// The verification makes five attempts, ten seconds apart, for the sealed digest. An image built by this run is signed with
/// the identity that `seal` outputs, for this commit. An existing image is signed by a release of the workflow or by this very
/// file. If the tags stand for a commit, it is this commit. Both are signed for this ref.
#[test]
fn the_gate_is_on_the_digest_and_knows_whose_it_is() {
    let (_, workflow) = parsed("build-publish.yml");
    let (seal, gate) = (given(&workflow, "seal"), given(&workflow, "verify"));
    let found = format!("${{{{ {FOUND} && needs.policy.outputs.identities || '' }}}}");
    let sha = format!("${{{{ {BUILT} && github.sha || needs.build.outputs.commit }}}}");
    let identity = format!("${{{{ {BUILT} && needs.seal.outputs.identity || '' }}}}");
    let policy = [
        ("certificate-identity-regexp", &*found),
        ("certificate-github-workflow-sha", &*sha),
        (
            "certificate-oidc-issuer",
            "${{ inputs.certificate-oidc-issuer }}",
        ),
    ];
    assert_given(&gate, &policy);
    assert_given(&gate, &OF_THE_CALLER);
    assert_given(
        &gate,
        &[
            ("command", "verify"),
            (
                "image",
                "${{ matrix.image }}@${{ needs.seal.outputs.digest }}",
            ),
            ("certificate-identity", &*identity),
            ("max-attempts", "5"),
            ("retry-delay", "10s"),
        ],
    );
    // Only an image that passed verification is published again.
    let republish = given(&workflow, "republish");
    let sealed = "${{ needs.seal.outputs.reference }}";
    assert_given(&republish, &[("command", "publish"), ("source", sealed)]);
    let whose = gate
        .iter()
        .filter(|(name, _)| name.starts_with("certificate-"));
    for (name, value) in whose.chain(gate.get_key_value("recursive")) {
        assert_eq!(republish.get(name), Some(value), "{name}");
    }
    // `seal` skips only images that pass verification. For a build it uses the action's own identity.
    assert_given(&seal, &policy);
    assert_given(&seal, &OF_THE_CALLER);
    assert!(!seal.contains_key("certificate-identity"));

    // The check before the build uses the same policy.
    let (_, build) = parsed("build.yml");
    let preflight = given(&build, "plan");
    assert_given(&preflight, &OF_THE_CALLER);
    let same = ["certificate-identity-regexp", "certificate-oidc-issuer"];
    for name in same {
        assert_eq!(preflight[name], format!("${{{{ inputs.{name} }}}}"));
    }
    let name = |of: &str| format!("io.github.manifest-seal.name=${{{{ {of}.outputs.name }}}}\n");
    let annotations = |of: &str| name(of) + "${{ inputs.annotations }}\n";
    assert_eq!(preflight["annotations"], annotations("steps.names"));
    // An adopted index stays as it is, so no annotation may be required of it.
    let unadopted = |text: &str| format!("${{{{ inputs.adopt == '' && {text} || '' }}}}\n");
    let name = "format('io.github.manifest-seal.name={0}', needs.build.outputs.name)";
    let both = unadopted(name) + &unadopted("inputs.annotations");
    assert_eq!(seal["annotations"], both);
    let staged = given(&parsed("staged.yml").1, "create");
    assert_eq!(staged["annotations"], annotations("needs.build"));
    let commit = "certificate-github-workflow-sha";
    assert_eq!(preflight[commit], "${{ steps.commit.outputs.commit }}");
    let with = &workflow.jobs["build"].call.with;
    assert_eq!(with[same[0]], "${{ needs.policy.outputs.identities }}");
    assert_eq!(with[same[1]], "${{ inputs.certificate-oidc-issuer }}");
    assert_eq!(with["annotations"], "${{ inputs.annotations }}");
}

#[test]
fn the_gate_alone_asks_for_the_calling_repository() {
    let (text, workflow) = parsed("verify.yml");
    let inputs = inputs(&text).unwrap();
    let default = |name: &str| inputs[name]["default"].as_str().unwrap().to_owned();
    assert_eq!(
        [default("max-attempts"), default("retry-delay")],
        ["5", "10s"]
    );
    let gate = given(&workflow, "verify");
    for name in ["max-attempts", "retry-delay"] {
        assert_eq!(gate[name], format!("${{{{ inputs.{name} }}}}"));
    }
    // The repository is required whatever the identity: a stranger may call the same workflow.
    let repository = "${{ inputs.source-repository || github.repository }}";
    assert_eq!(gate["certificate-github-workflow-repository"], repository);
    let by_hand = parsed("verify-by-hand.yml").1;
    let handed = &by_hand.jobs["verify"].call.with;
    assert_eq!(
        handed["source-repository"],
        "${{ inputs.source-repository }}"
    );
}

/// A job that signs or publishes another job's image takes the digest from that job's output. No other job can write this
/// output. It verifies the signature for the identity that signed in this run, this ref and this commit.
#[test]
fn staged_images_are_published_only_as_they_were_signed() {
    let (_, workflow) = parsed("staged.yml");
    let given = |job: &str| given(&workflow, job);
    let (sign, publish) = (given("sign"), given("publish"));
    let created = "${{ needs.create.outputs.reference }}";
    assert_given(
        &sign,
        &[
            ("command", "sign"),
            ("image", created),
            ("record-digest", "${{ needs.create.outputs.record-digest }}"),
            ("recursive", "true"),
        ],
    );
    assert_given(
        &publish,
        &[
            ("command", "publish"),
            ("source", created),
            ("recursive", "true"),
            ("certificate-identity", "${{ needs.sign.outputs.identity }}"),
        ],
    );
    for step in [&sign, &publish] {
        assert_given(step, &OF_THE_CALLER);
        let sha = [("certificate-github-workflow-sha", "${{ github.sha }}")];
        assert_given(step, &sha);
    }
    // The copied image is already signed: this job signs nothing.
    assert!(!publish.contains_key("signing-config") && !publish.contains_key("identity-token"));
}

/// The SHA-256 of a record is an output of the job that wrote it, whatever the job's result. It is passed along with the
/// record.
#[test]
fn records_travel_with_their_digests() {
    let mut seen = 0;
    for (file, writers, named) in [
        (
            "build-publish.yml",
            vec!["seal", "republish"],
            "jobs.republish.outputs.record-digest || jobs.seal.outputs.record-digest",
        ),
        (
            "staged.yml",
            vec!["create", "sign", "publish"],
            "jobs.sign.outputs.record-digest",
        ),
    ] {
        let text = read(&format!(".github/workflows/{file}"));
        let workflow: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
        for job in writers {
            let digest = workflow["jobs"][job]["outputs"]["record-digest"].as_str();
            let step = digest.unwrap().strip_prefix("${{ steps.").unwrap();
            let step = step.strip_suffix(".outputs.record-digest }}").unwrap();
            let steps = workflow["jobs"][job]["steps"].as_sequence().unwrap();
            assert!(
                steps.iter().any(|known| known["id"] == *step),
                "{file}: {job}"
            );
        }
        let outputs = &workflow["on"]["workflow_call"]["outputs"];
        let digest = outputs["record-digest"]["value"].as_str();
        assert_eq!(digest, Some(&*format!("${{{{ {named} }}}}")));
        // A job that fails or never runs has no outputs: names come from the jobs before it.
        for name in ["record", "tags", "moving-tags"] {
            let value = outputs[name]["value"].as_str().unwrap_or("jobs.build.");
            assert!(
                value.contains("jobs.build.") || value.contains("jobs.create."),
                "{file}: {name}"
            );
        }
        seen += text.matches("cleanup.yml@").count();
    }
    assert_eq!(seen, 1);
    let (_, workflow) = parsed("build-publish.yml");
    let digest = "${{ needs.republish.outputs.record-digest || needs.seal.outputs.record-digest }}";
    assert_eq!(workflow.jobs["cleanup"].call.with["record-digest"], digest);
    let (_, cleanup) = parsed("cleanup.yml");
    assert_given(
        &given(&cleanup, "cleanup"),
        &[("record-digest", "${{ inputs.record-digest }}")],
    );
}

/// Each leg of the matrix has a numbered output of its own. The workflow outputs all of them in that order.
#[test]
fn legs_hand_over_their_digests_by_number() {
    let build: yaml_serde::Value =
        yaml_serde::from_str(&read(".github/workflows/build.yml")).unwrap();
    let outputs = build["jobs"]["build"]["outputs"].as_mapping().unwrap();
    let all = build["on"]["workflow_call"]["outputs"]["digests"]["value"]
        .as_str()
        .unwrap();
    let (format, names) = all.split_once("', ").unwrap();
    assert!(
        format.ends_with(
            &(0..16)
                .map(|number| format!("{{{number}}}"))
                .collect::<Vec<_>>()
                .join(",")
        )
    );
    let names: Vec<&str> = names
        .trim_end_matches(") }}")
        .split(',')
        .map(str::trim)
        .collect();
    assert_eq!((outputs.len(), names.len()), (16, 16));
    for number in 0..16 {
        let value = format!("${{{{ steps.leg.outputs.digest-{number} }}}}");
        assert_eq!(outputs[&*format!("digest-{number}")], *value);
        assert_eq!(names[number], format!("jobs.build.outputs.digest-{number}"));
    }
    let steps = build["jobs"]["build"]["steps"].as_sequence().unwrap();
    let leg = steps.iter().find(|step| step["id"] == "leg").unwrap();
    assert_eq!(leg["env"]["NUMBER"], "${{ matrix.number }}");
    assert_eq!(leg["env"]["DIGEST"], "${{ steps.build.outputs.digest }}");
    let script = leg["run"].as_str().unwrap();
    assert!(script.contains("\"digest-$NUMBER=$DIGEST\""), "{script}");
}

/// No digest to sign comes from an artifact: any job of a run can write one.
#[test]
fn nothing_is_sealed_from_an_artifact() {
    for (path, text) in workflows() {
        assert!(!text.contains("digests-folder"), "{path}");
        if path.starts_with(".github") && text.contains("download-artifact@") {
            let fetched = text.split("download-artifact@").skip(1);
            for step in fetched.map(|rest| rest.split("      - ").next().unwrap()) {
                assert!(step.contains("record"), "{path}: {step}");
            }
        }
    }
}

/// Each artifact is unpacked into a folder of its own. Any job of the run can have added files to it. In the workspace these
/// would replace the caller's files, such as the one that `trusted-root` names.
#[test]
fn artifacts_are_unpacked_into_folders_of_their_own() {
    let mut seen = 0;
    let ours = |(path, _): &(String, String)| path.starts_with(".github/");
    for (path, text) in workflows().into_iter().filter(ours) {
        let workflow: Workflow = yaml_serde::from_str(&text).unwrap();
        for (name, job) in &workflow.jobs {
            let uses = |step: &&Call, what: &str| {
                step.uses.as_deref().is_some_and(|uses| uses.contains(what))
            };
            let mut steps = job.steps.iter();
            let Some(download) = steps.find(|step| uses(step, "actions/download-artifact@")) else {
                continue;
            };
            assert_eq!(download.with["path"], "record", "{path}: {name}");
            let action = steps.find(|step| uses(step, OWN)).unwrap();
            let record = &action.with["record"];
            assert_eq!(record, "record/manifest-seal.json", "{path}: {name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
    let readme = read("README.md");
    let examples: Vec<&str> = readme.split("actions/download-artifact@").skip(1).collect();
    for example in &examples {
        let with = example.lines().nth(1).unwrap();
        assert!(with.contains("path: record }"), "{with}");
    }
    assert_eq!(examples.len(), 1);
}

/// Every process of a machine can read the command lines of others.
#[test]
fn no_token_is_in_a_command_line() {
    for (path, text) in workflows() {
        let workflow: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
        for (_, job) in workflow["jobs"].as_mapping().unwrap() {
            for step in job["steps"].as_sequence().into_iter().flatten() {
                let script = step["run"].as_str().unwrap_or_default();
                let secret = |value: &str| {
                    ["secrets.", "github.token"]
                        .iter()
                        .any(|name| value.contains(name))
                };
                assert!(!secret(script), "{path}: {script}");
                let variables = step["env"].as_mapping().into_iter().flatten();
                for (name, value) in
                    variables.filter(|(_, value)| value.as_str().is_some_and(secret))
                {
                    // Otherwise the shell itself prints or reads the token, or passes it in the environment.
                    let used = format!("${}", name.as_str().unwrap());
                    for line in script.lines().filter(|line| line.contains(&used)) {
                        let is_quoted = line.contains(&format!("'!token() {{ echo username=x-access-token; echo \"password={used}\"; }}; token'"));
                        let is_read = line.contains(&format!("<<<\"{used}\""))
                            || line.contains(&format!("printf %s \"{used}\""));
                        assert!(is_quoted || is_read, "{path}: {value:?}: {line}");
                    }
                }
            }
        }
    }
}

/// Tools installed for a release can write only the files that a release may change.
#[test]
fn jobs_with_rights_install_nothing() {
    for (path, text) in workflows() {
        if !path.starts_with(".github/workflows/") || path.ends_with("/ci.yml") {
            continue;
        }
        let workflow: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
        for (name, job) in workflow["jobs"].as_mapping().unwrap() {
            let rights = yaml_serde::to_string(&job["permissions"]).unwrap();
            let scripts = job["steps"].as_sequence().into_iter().flatten();
            let scripts: Vec<&str> = scripts.filter_map(|step| step["run"].as_str()).collect();
            let installs = ["install", "curl ", "wget ", "knope ", "npm ", "pip "];
            let installs = installs.iter().any(|word| scripts.concat().contains(word));
            assert!(!installs || !rights.contains("write"), "{path}: {name:?}");
        }
    }
}

#[test]
fn readme_lists_the_inputs_of_build_publish() {
    let text = |value: &yaml_serde::Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = inputs(&read(".github/workflows/build-publish.yml"))
        .unwrap()
        .iter()
        .map(|(name, input)| {
            let default = match text(&input["default"]) {
                default if default.is_empty() => default,
                default => format!("`{default}`"),
            };
            vec![
                format!("`{}`", text(name)),
                text(&input["description"]),
                default,
            ]
        })
        .collect();
    assert_eq!(
        table(&read("README.md"), "input of `build-publish.yml`"),
        rows
    );
}
