//! Indexes of other tools, and inputs that are indexes themselves, have the same platforms as ours would.

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Child, Flavour, Outcome, Registry, Tool, Workflow, on_each_registry, push_index,
    push_with_provenance,
};

on_each_registry!(
    index_by_crane_is_the_same,
    index_by_regctl_is_the_same,
    index_by_buildx_is_the_same,
    inputs_with_provenance_are_flattened,
    index_with_provenance_by_buildx_is_the_same,
);

fn index_by_crane_is_the_same(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let theirs = push_index(&repository, &[&children[1], &children[0]], "v1");
    taken_as_it_is(&repository, &digests(&children), &theirs, "");
}

fn index_by_regctl_is_the_same(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let mut regctl =
        Tool::regctl(&repository).args(["index", "create", &format!("{repository}:v1")]);
    for digest in digests(&children) {
        regctl = regctl.args(["--ref", &format!("{repository}@{digest}")]);
    }
    regctl
        .args(["--annotation", "org.example.by=regctl"])
        .succeed();
    let theirs = digest_of(&repository, "v1");
    taken_as_it_is(
        &repository,
        &digests(&children),
        &theirs,
        "org.example.by=regctl",
    );
}

fn index_by_buildx_is_the_same(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let theirs = index_by_buildx(&repository, &digests(&children));
    taken_as_it_is(
        &repository,
        &digests(&children),
        &theirs,
        "org.example.by=buildx",
    );
}

fn index_with_provenance_by_buildx_is_the_same(registry: Registry) {
    let repository = registry.fresh();
    let (inputs, _) = two_with_provenance(&repository);
    let theirs = index_by_buildx(&repository, &digests(&inputs));
    taken_as_it_is(
        &repository,
        &digests(&inputs),
        &theirs,
        "org.example.by=buildx",
    );
}

fn inputs_with_provenance_are_flattened(registry: Registry) {
    let repository = registry.fresh();
    let (inputs, expected) = two_with_provenance(&repository);
    let sealed = Action::seal(&repository, &digests(&inputs), &["v1"])
        .input("platforms", "linux/amd64,linux/arm64")
        .succeed();
    let digest = sealed.output("digest");
    let text = Tool::crane()
        .args(["manifest", &format!("{repository}@{digest}")])
        .succeed();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Each attestation directly follows its image.
    let held: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["digest"].as_str().unwrap())
        .collect();
    assert_eq!(held, digests(&expected), "{text}");
    Tool::cosign_verify(&Workflow::default())
        .arg(format!("{repository}@{digest}"))
        .succeed();
    let again = Action::seal(&repository, &digests(&inputs), &["v1"]).succeed();
    assert_eq!(again.output("result"), "unchanged", "{}", again.log);
}

/// Seals over a tag that points to `theirs`, an index with these annotations.
///
/// A run with the same annotations leaves the tag, signs `theirs` and gives it a second tag. Without them nothing vouches
/// for the additions of the other tool, and the result is a conflict.
fn taken_as_it_is(repository: &str, inputs: &[&str], theirs: &str, annotations: &str) {
    if !annotations.is_empty() {
        let refused = Action::seal(repository, inputs, &["v1", "v0"]).end_with(3);
        assert!(
            refused.log.contains("it is not verified"),
            "{}",
            refused.log
        );
        // Nothing was tagged or signed: there is no second tag, and no signature tag in registries without a referrers API.
        let tags = Tool::crane().args(["ls", repository]).succeed();
        assert_eq!(tags.trim(), "v1");
        assert_eq!(digest_of(repository, "v1"), theirs);
        let signed = Tool::cosign_verify(&Workflow::default())
            .arg(format!("{repository}@{theirs}"))
            .output();
        assert!(!signed.status.success());
    }
    let seal = |tags: &[&str]| {
        let seal = Action::seal(repository, inputs, tags);
        seal.input("annotations", annotations)
    };
    let first = seal(&["v1"]).succeed();
    expect(&first, "unchanged", theirs);
    let second = seal(&["v1", "v2"]).succeed();
    expect(&second, "completed", theirs);
    assert_eq!(second.output("sign-skipped"), "true", "{}", second.log);
    assert_eq!(digest_of(repository, "v1"), theirs);
    assert_eq!(digest_of(repository, "v2"), theirs);
    Tool::cosign_verify(&Workflow::default())
        .arg(format!("{repository}@{theirs}"))
        .succeed();
}

fn expect(outcome: &Outcome, result: &str, digest: &str) {
    assert_eq!(outcome.output("result"), result, "{}", outcome.log);
    assert_eq!(outcome.output("digest"), digest, "{}", outcome.log);
}

/// Pushes two builds with provenance; returns their indexes and all manifests in those.
fn two_with_provenance(repository: &str) -> (Vec<Child>, Vec<Child>) {
    let mut inputs = Vec::new();
    let mut parts = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let [index, image, attestation] = push_with_provenance(repository, architecture);
        inputs.push(index);
        parts.extend([image, attestation]);
    }
    (inputs, parts)
}

fn index_by_buildx(repository: &str, inputs: &[&str]) -> String {
    let mut buildx = Tool::buildx()
        .args(["imagetools", "create", "--progress", "plain"])
        .args(["--annotation", "index:org.example.by=buildx"])
        .args(["-t", &format!("{repository}:v1")]);
    for digest in inputs {
        buildx = buildx.arg(format!("{repository}@{digest}"));
    }
    buildx.succeed();
    digest_of(repository, "v1")
}

fn digest_of(repository: &str, tag: &str) -> String {
    Tool::crane()
        .args(["digest", &format!("{repository}:{tag}")])
        .succeed()
}
