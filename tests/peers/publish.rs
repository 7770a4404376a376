//! Publishing between different registries: no new digest is made, and lost content is restored.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::interoperability::{digests, two_children};
use super::legacy::layers;
use super::support::{
    Action, Child, Cosign, Flavour, Log, Outcome, Registry, Tool, Workflow, on_each_registry,
    push_index, push_nested, push_with_provenance, stack,
};
use super::tampering::attach;

on_each_registry!(
    staged_pipeline_makes_no_new_digest,
    everything_in_a_record_arrives,
    what_was_lost_is_restored,
    signatures_of_all_tools_are_carried_as_verified,
);

/// The signature formats and their logs.
const FORMATS: [(&str, Log); 2] = [("bundle", Log::Rekor2), ("legacy", Log::Rekor1)];

/// Returns another registry, as the destination.
pub(super) fn other(registry: Registry) -> Registry {
    match registry {
        Registry::Debian => Registry::Cue,
        Registry::Distribution => Registry::Ggcr,
        Registry::Cue => Registry::Distribution,
        Registry::Ggcr => Registry::Olareg,
        Registry::Olareg => Registry::Debian,
    }
}

/// Runs the first stages: makes an index with provenance and signs every digest of the record. The record is in the
/// action's workspace.
pub(super) fn stage(built: &str, format: &str, log: Log) -> Action {
    let [amd64, ..] = push_with_provenance(built, "amd64");
    let [arm64, ..] = push_with_provenance(built, "arm64");
    let create = Action::new("create", built)
        .log(log)
        .input("digests", &digests(&[amd64, arm64]).join("\n"));
    create.succeed();
    sign(&create, format);
    create
}

/// Signs every digest of the record.
fn sign(create: &Action, format: &str) {
    create
        .clone()
        .input("command", "sign")
        .input("image", "")
        .input("digests", "")
        .input("recursive", "true")
        .input("signature-format", format)
        .succeed();
}

/// Runs the stage between: nothing is published that the gate has not verified, platforms included.
fn verify(stage: &Action, built: &str) {
    let record = fs::read(stage.workspace().join("manifest-seal.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let index = record["images"][0]["digest"].as_str().unwrap();
    let gate = stage
        .clone()
        .input("command", "verify")
        .input("digests", "")
        .input("image", &format!("{built}@{index}"))
        .input("recursive", "true")
        .succeed();
    assert_eq!(gate.output("verified"), "true", "{}", gate.log);
    assert_eq!(gate.output("digest"), index, "{}", gate.log);
}

/// Makes a run that publishes the record of `stage` and prints its requests.
pub(super) fn publish(stage: &Action, published: &str) -> Action {
    stage
        .clone()
        .input("command", "publish")
        .input("digests", "")
        .input("source", "manifest-seal.json")
        .input("image", published)
        .input("record", "published.json")
        .input("recursive", "true")
        .input("trace", "true")
}

/// Returns every digest in the record of `stage`: images, platforms, attestations, signatures.
pub(super) fn recorded(stage: &Action) -> BTreeSet<String> {
    let record = fs::read(stage.workspace().join("manifest-seal.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let mut digests = BTreeSet::new();
    let mut add = |digest: &Value| digests.insert(digest.as_str().unwrap().to_owned());
    for image in record["images"].as_array().unwrap() {
        add(&image["digest"]);
        let list = |name: &str| image[name].as_array().unwrap();
        for digest in list("attestations") {
            add(digest);
        }
        for platform in list("platforms") {
            add(&platform["digest"]);
        }
        for signature in list("signatures") {
            add(&signature["manifest"]);
        }
    }
    digests
}

/// Returns the manifests that a run wrote in `repository`: digests, and tags.
pub(super) fn put(outcome: &Outcome, repository: &str) -> BTreeSet<String> {
    written(outcome, repository)
        .into_iter()
        .filter(|line| line.contains("/manifests/"))
        .map(|line| {
            let (_, rest) = line.split_once("/manifests/").unwrap();
            rest.split(' ').next().unwrap().to_owned()
        })
        .collect()
}

/// Returns the requests of a run that changed something in `repository`.
pub(super) fn written(outcome: &Outcome, repository: &str) -> Vec<String> {
    let (host, path) = repository.split_once('/').unwrap();
    let place = format!("{host}/v2/{path}/");
    let lines = outcome.log.lines().filter(|line| line.contains(&place));
    let is_write = |line: &&str| {
        let mut words = line.split_whitespace();
        words.any(|word| ["PUT", "POST", "PATCH", "DELETE"].contains(&word))
    };
    lines.filter(is_write).map(str::to_owned).collect()
}

/// Returns the folder of `repository`, if its registry stores files.
pub(super) fn files(repository: &str) -> Option<PathBuf> {
    let (_, path) = repository.split_once('/').unwrap();
    ["docker-registry", "distribution"]
        .iter()
        .map(|name| {
            Path::new(&stack("FOLDER"))
                .join("data")
                .join(name)
                .join("docker/registry/v2/repositories")
                .join(path)
                .join("_manifests")
        })
        .find(|folder| folder.is_dir())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// True if a tag replaces the referrers API.
fn is_fallback(tag: &str) -> bool {
    tag.starts_with("sha256-") && !tag.contains('.')
}

/// Returns every manifest ever pushed to a registry that stores files, except the indexes under referrers tags.
pub(super) fn revisions(folder: &Path) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = names(&folder.join("revisions/sha256"))
        .into_iter()
        .collect();
    let tags = names(&folder.join("tags")).into_iter();
    for tag in tags.filter(|tag| is_fallback(tag)) {
        for list in names(&folder.join("tags").join(tag).join("index/sha256")) {
            all.remove(&list);
        }
    }
    all.into_iter().map(|hex| format!("sha256:{hex}")).collect()
}

pub(super) fn is_there(repository: &str, digest: &str) -> bool {
    let output = Tool::crane()
        .args(["manifest", &format!("{repository}@{digest}")])
        .output();
    output.status.success()
}

/// Verifies `image` with both cosigns.
fn cosigns_verify(image: &str, format: &str) {
    let workflow = Workflow::default();
    let two = Tool::legacy_verify(Cosign::Two, &workflow).arg(image);
    let two = if format == "bundle" {
        two.args(["--new-bundle-format", "--use-signed-timestamps"])
            .args(["--trusted-root", &stack("TRUSTED_ROOT")])
    } else {
        two
    };
    two.succeed();
    Tool::legacy_verify(Cosign::Three, &workflow)
        .arg(image)
        .succeed();
}

fn staged_pipeline_makes_no_new_digest(registry: Registry) {
    for (format, log) in FORMATS {
        let (built, published) = (registry.fresh(), other(registry).fresh());
        let stage = stage(&built, format, log);
        let recorded = recorded(&stage);
        verify(&stage, &built);
        let publish = publish(&stage, &published).input("tags", &format!("{published}:v1"));
        let outcome = publish.succeed();
        assert_eq!(outcome.output("result"), "created", "{}", outcome.log);
        assert_eq!(outcome.output("verified"), "true", "{}", outcome.log);
        for name in put(&outcome, &published) {
            let is_known = recorded.contains(&name) || name == "v1" || name.starts_with("sha256-");
            assert!(is_known, "{name} is new\n{}", outcome.log);
        }
        for digest in &recorded {
            assert!(is_there(&published, digest), "{digest}\n{}", outcome.log);
        }
        if let Some(folder) = files(&published) {
            assert_eq!(revisions(&folder), recorded, "{}", outcome.log);
        }
        cosigns_verify(&format!("{published}:v1"), format);
        let platforms: Value = serde_json::from_str(outcome.output("platforms")).unwrap();
        for digest in platforms.as_object().unwrap().values() {
            let image = format!("{published}@{}", digest.as_str().unwrap());
            cosigns_verify(&image, format);
        }
        let again = publish.succeed();
        assert_eq!(again.output("result"), "unchanged", "{}", again.log);
        assert_eq!(written(&again, &published), [""; 0]);
    }
}

fn everything_in_a_record_arrives(registry: Registry) {
    let (built, published) = (registry.fresh(), other(registry).fresh());
    let stage = stage(&built, "bundle", Log::Rekor2);
    // Another index in the same record: one of the same images and one more.
    let [arm64, ..] = push_with_provenance(&built, "arm64");
    let [s390x, ..] = push_with_provenance(&built, "s390x");
    let more = digests(&[arm64, s390x]).join("\n");
    stage.clone().input("digests", &more).succeed();
    sign(&stage, "bundle");
    let recorded = recorded(&stage);
    let outcome = publish(&stage, &published).succeed();
    for digest in &recorded {
        assert!(is_there(&published, digest), "{digest}\n{}", outcome.log);
    }
    if let Some(folder) = files(&published) {
        assert_eq!(revisions(&folder), recorded, "{}", outcome.log);
    }
    let references: Vec<String> = serde_json::from_str(outcome.output("references")).unwrap();
    assert_eq!(references.len(), 2, "{references:?}");
    for image in references {
        cosigns_verify(&image, "bundle");
    }
}

/// Returns the config and the layer of an image.
fn parts(repository: &str, image: &Child) -> [String; 2] {
    let text = Tool::crane()
        .args(["manifest", &format!("{repository}@{}", image.digest)])
        .succeed();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    [&manifest["config"], &manifest["layers"][0]]
        .map(|part| part["digest"].as_str().unwrap().to_owned())
}

fn has_blob(repository: &str, digest: &str) -> bool {
    let head = Tool::regctl(repository).args(["blob", "head", repository, digest]);
    head.output().status.success()
}

/// Loses content in one registry; another registry has all of it.
fn what_was_lost_is_restored(registry: Registry) {
    let (built, published) = (other(registry).fresh(), registry.fresh());
    let [child, grandchild] = two_children(&built, Flavour::Oci);
    let nested = push_nested(&built, &[&grandchild]);
    let index = push_nested(&built, &[&child, &nested]);
    Action::new("sign", &format!("{built}@{}", index.digest)).succeed();
    let publish = Action::new("publish", &published)
        .input("source", &format!("{built}@{}", index.digest))
        .input("tags", "v1")
        .input("trace", "true");
    publish.succeed();
    let [config, layer] = parts(&built, &child);
    for manifest in [&child, &grandchild, &nested] {
        let image = format!("{published}@{}", manifest.digest);
        Tool::crane().args(["delete", &image]).succeed();
        assert!(!is_there(&published, &manifest.digest));
        restored(&publish, &published, &manifest.digest);
        assert!(is_there(&published, &manifest.digest));
    }
    for blob in [&config, &layer] {
        Tool::regctl(&published)
            .args(["blob", "delete", &published, blob])
            .succeed();
        assert!(!has_blob(&published, blob));
        restored(&publish, &published, blob);
        assert!(has_blob(&published, blob));
    }
    let steady = publish.succeed();
    assert_eq!(written(&steady, &published), [""; 0]);
}

/// Publishes again although the index exists: the lost content is reported, and only that is written.
fn restored(publish: &Action, published: &str, digest: &str) {
    let healed = publish.succeed();
    assert_eq!(healed.output("result"), "unchanged", "{}", healed.log);
    let short = &digest[..19];
    assert!(healed.summary.contains(short), "{}", healed.summary);
    let writes = written(&healed, published);
    let manifests = put(&healed, published);
    assert!(!writes.is_empty(), "{}", healed.log);
    assert!(
        manifests.iter().all(|known| known == digest),
        "{manifests:?}"
    );
}

/// All referrers that these tools store for an image can be verified, so all are copied.
fn signatures_of_all_tools_are_carried_as_verified(registry: Registry) {
    let (built, published) = (registry.fresh(), other(registry).fresh());
    let [amd64, arm64] = two_children(&built, Flavour::Oci);
    let index = push_index(&built, &[&amd64, &arm64], "v1");
    let image = format!("{built}@{index}");
    let workflow = Workflow::named;
    for cosign in [Cosign::Two, Cosign::Three] {
        let sign = Tool::legacy_signing(cosign, &workflow("older"));
        sign.arg(&image).succeed();
    }
    let sign = |format: &str, log| {
        let sign = Action::new("sign", &image).log(log);
        sign.input("signature-format", format).succeed();
    };
    sign("legacy", Log::Rekor1);
    sign("both", Log::Rekor1);
    // Regclient stores it again, in a manifest of its own.
    attach(&built, &index, Tool::bundles(&built, &index)[0].as_bytes());
    let two = Tool::cosign_2_signing(Log::Rekor1, &workflow("two"));
    two.arg(&image).succeed();
    for log in [Log::Rekor1, Log::Rekor2] {
        let three = Tool::cosign_signing("sign", log, &workflow("three"));
        three.arg(&image).succeed();
        Tool::cosign_signing("attest", log, &workflow("tests"))
            .args(["--type", "custom", "--predicate", "-"])
            .arg(&image)
            .stdin(b"{\"tests\": \"passed\"}")
            .succeed();
    }
    let publish = Action::new("publish", &published)
        .input("source", &image)
        .input("tags", "v1")
        .input("referrers", "verified");
    let outcome = publish.succeed();
    let referrers: Vec<Value> = serde_json::from_str(outcome.output("referrers")).unwrap();
    assert_eq!(referrers.len(), 8, "{}", outcome.log);
    for referrer in &referrers {
        assert_eq!(referrer["verified"], true, "{referrer}");
        assert_eq!(referrer["carried"], true, "{referrer}");
    }
    assert!(!outcome.log.contains("not copied"), "{}", outcome.log);
    let sorted = |repository: &str| {
        let mut bundles = Tool::bundles(repository, &index);
        bundles.sort();
        bundles
    };
    assert_eq!(sorted(&published), sorted(&built));
    let tag = format!("{}.sig", index.replace(':', "-"));
    let digest = |repository: &str| {
        let digest = Tool::crane().args(["digest", &format!("{repository}:{tag}")]);
        digest.succeed()
    };
    assert_eq!(layers(&published, &index).len(), 3);
    assert_eq!(digest(&published), digest(&built));
    Tool::legacy_verify(Cosign::Three, &Workflow::default())
        .arg(format!("{published}:v1"))
        .succeed();
}
