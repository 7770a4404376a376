//! Images that cannot be published: the source lacks content, the destination refuses it, or the folder is broken. Each error
//! names its cause, and no tag is written.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use sandbox::{Fault, Options, Registry};
use serde_json::{Value, json};

use crate::support::{Action, Pipeline, REPOSITORY, TARGET};

/// A name, and a function that causes the failure and returns the failing run.
type Case = (&'static str, fn(&Scene) -> Action);

/// An image `v1` with two platforms, and an empty registry.
struct Scene {
    pipeline: Pipeline,
    create: Action,
    index: String,
}

/// Failures at the source.
const SOURCES: &[Case] = &[
    ("no such tag", |scene| scene.publish_at("v0")),
    ("no such digest", |scene| {
        scene.publish_at(&format!("sha256:{}", "0".repeat(64)))
    }),
    ("no such repository", |scene| {
        let registry = scene.pipeline.world.registry();
        scene.publish(&format!("{}:v1", registry.repository("octo-org/lost")))
    }),
    ("image that the record names is gone", |scene| {
        scene.source().delete_manifest(REPOSITORY, &scene.index);
        scene.publish_record()
    }),
    ("platform that the record names is gone", |scene| {
        let amd64 = &scene.pipeline.world.amd64;
        scene.source().delete_manifest(REPOSITORY, &amd64.digest);
        scene.publish_record()
    }),
    ("layer is gone", |scene| {
        let amd64 = &scene.pipeline.world.amd64;
        scene.source().delete_blob(REPOSITORY, &amd64.layer);
        scene.publish_at("v1")
    }),
    ("config is gone", |scene| {
        let arm64 = &scene.pipeline.world.arm64;
        scene.source().delete_blob(REPOSITORY, &arm64.config);
        scene.publish_at("v1")
    }),
    ("source denies", |scene| {
        let denied = Fault::on("GET", "*/manifests/*").times(u32::MAX);
        let denied = denied.registry_error(403, "DENIED", "requested access is denied");
        scene.source().fault(denied);
        scene.publish_at("v1")
    }),
    ("source is down", |scene| {
        let down = Fault::on("GET", "*/manifests/*").times(u32::MAX);
        scene.source().fault(down.status(503));
        scene.publish_at("v1")
    }),
    ("record is no record", |scene| {
        let publish = scene.publish("own.json");
        publish.file("own.json", r#"{"images": 5}"#)
    }),
];

/// Failures at the destination.
const DESTINATIONS: &[Case] = &[
    ("nobody is let in", |scene| {
        scene.refuse("*", "*", 401, "UNAUTHORIZED", "authentication required")
    }),
    ("no right to push", |scene| {
        let words = "requested access to the resource is denied";
        scene.refuse("POST", "*/blobs/uploads/*", 403, "DENIED", words)
    }),
    ("registry that only reads", |scene| {
        let words = "The operation is unsupported.";
        scene.refuse("POST", "*/blobs/uploads/*", 405, "UNSUPPORTED", words)
    }),
    ("Amazon ECR without the repository", |scene| {
        let words = "The repository with name 'prod/app' does not exist in the registry with id '123456789012'";
        scene.refuse("POST", "*/blobs/uploads/*", 404, "NAME_UNKNOWN", words)
    }),
    ("quota", |scene| {
        let words = "adding 5.1 MiB of storage resource exceeds the quota";
        scene.refuse("PUT", "*/manifests/sha256:*", 412, "DENIED", words)
    }),
    ("no such manifests", |scene| {
        let words = "manifest type application/vnd.oci.image.index.v1+json is not accepted";
        let pattern = format!("*/manifests/{}", scene.index);
        scene.refuse("PUT", &pattern, 415, "MANIFEST_INVALID", words)
    }),
    ("no right to tag", |scene| {
        scene.refuse("PUT", "*/manifests/v1", 403, "DENIED", "tags are protected")
    }),
    ("breaks at every upload", |scene| {
        let at = Fault::on("PUT", "*/blobs/uploads/*").times(u32::MAX);
        scene.pipeline.target.fault(at.status(502));
        let whole = Fault::on("POST", "*/blobs/uploads/*?digest=*").times(u32::MAX);
        scene.pipeline.target.fault(whole.status(400));
        scene.publish_at("v1")
    }),
];

/// Failures of a folder.
const FOLDERS: &[Case] = &[
    ("no image of that name", |scene| {
        let publish = scene.saved();
        publish.input("source", "oci:images:v2")
    }),
    ("no mark", |scene| {
        let publish = scene.saved();
        std::fs::remove_file(publish.workspace().join("images/oci-layout")).unwrap();
        publish
    }),
    ("other version", |scene| {
        let mark = r#"{"imageLayoutVersion":"2.0.0"}"#;
        scene.saved().file("images/oci-layout", mark)
    }),
    ("index.json is garbage", |scene| {
        scene.saved().file("images/index.json", "<html>")
    }),
    ("index.json holds nothing", |scene| {
        let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
        scene.saved().file("images/index.json", empty)
    }),
    ("index.json is huge", |scene| {
        scene
            .saved()
            .file("images/index.json", vec![b' '; (4 << 20) + 1])
    }),
    ("platform is missing", |scene| {
        let publish = scene.saved();
        std::fs::remove_file(scene.file(&publish, &scene.pipeline.world.amd64.digest)).unwrap();
        publish
    }),
    ("layer is missing", |scene| {
        let publish = scene.saved();
        std::fs::remove_file(scene.file(&publish, &scene.pipeline.world.amd64.layer)).unwrap();
        publish
    }),
    ("layer has another size", |scene| {
        let publish = scene.saved();
        let layer = scene.file(&publish, &scene.pipeline.world.amd64.layer);
        std::fs::write(layer, b"short").unwrap();
        publish
    }),
    ("layer has other content", |scene| {
        let publish = scene.saved();
        scene.spoil(&publish, &scene.pipeline.world.amd64.layer);
        publish
    }),
    ("config has other content", |scene| {
        let publish = scene.saved();
        scene.spoil(&publish, &scene.pipeline.world.arm64.config);
        publish
    }),
    ("platform has other content", |scene| {
        let publish = scene.saved();
        scene.spoil(&publish, &scene.pipeline.world.arm64.digest);
        publish
    }),
    ("image has other content", |scene| {
        let publish = scene.saved();
        scene.spoil(&publish, &scene.index);
        publish
    }),
    ("layer is a link out of the folder", |scene| {
        let publish = scene.saved().file("secret", "the layer's own bytes");
        let layer = scene.file(&publish, &scene.pipeline.world.amd64.layer);
        std::fs::remove_file(&layer).unwrap();
        symlink(publish.workspace().join("secret"), layer).unwrap();
        publish
    }),
    ("manifest is a folder", |scene| {
        let publish = scene.saved();
        let manifest = scene.file(&publish, &scene.pipeline.world.amd64.digest);
        std::fs::remove_file(&manifest).unwrap();
        std::fs::create_dir(manifest).unwrap();
        publish
    }),
];

impl Scene {
    fn new() -> Self {
        let pipeline = Pipeline::new();
        let create = pipeline.world.create();
        let index = create.succeed().outputs["digest"].clone();
        Self {
            pipeline,
            create,
            index,
        }
    }

    fn source(&self) -> &Registry {
        self.pipeline.world.registry()
    }

    fn publish(&self, source: &str) -> Action {
        let publish = self.pipeline.publish(source).input("max-attempts", "2");
        publish.input("retry-max-delay", "10ms")
    }

    fn publish_at(&self, reference: &str) -> Action {
        self.publish(&self.pipeline.world.at(reference))
    }

    /// Returns a run that publishes the images in the record of `create`.
    fn publish_record(&self) -> Action {
        let record = self.create.record().to_string();
        self.publish("made.json").handed("made.json", record)
    }

    /// Returns a run at a destination that refuses such requests.
    fn refuse(&self, method: &str, path: &str, status: u16, code: &str, words: &str) -> Action {
        let refusal = Fault::on(method, path).times(u32::MAX);
        let refusal = refusal.registry_error(status, code, words);
        self.pipeline.target.fault(refusal);
        self.publish_at("v1")
    }

    /// Returns a run from a folder with the image and nothing else.
    fn saved(&self) -> Action {
        let (media_type, bytes) = self.source().manifest(REPOSITORY, &self.index).unwrap();
        let entry = json!({"mediaType": media_type, "digest": self.index, "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": "v1"}});
        let list = json!({"schemaVersion": 2, "manifests": [entry]});
        let action = self
            .publish("oci:images:v1")
            .file("images/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("images/index.json", list.to_string());
        self.save(action, &self.index)
    }

    fn save(&self, action: Action, digest: &str) -> Action {
        let Some((_, bytes)) = self.source().manifest(REPOSITORY, digest) else {
            let bytes = self.source().blob(REPOSITORY, digest).unwrap();
            return action.file(&place(digest), bytes);
        };
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let lists = ["manifests", "layers"].iter().map(|name| &manifest[*name]);
        let parts = lists.filter_map(Value::as_array).flatten();
        let parts = parts.chain(manifest.get("config"));
        let action = action.file(&place(digest), &bytes);
        parts.fold(action, |action, part| {
            self.save(action, part["digest"].as_str().unwrap())
        })
    }

    #[allow(clippy::unused_self, reason = "reads well")]
    fn file(&self, action: &Action, digest: &str) -> PathBuf {
        action.workspace().join(place(digest))
    }

    /// Changes the bytes of a file, and keeps its length.
    fn spoil(&self, action: &Action, digest: &str) {
        let file = self.file(action, digest);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }

    /// Returns `text` with names for the values that differ from run to run.
    fn named(&self, text: &str) -> String {
        let (amd64, arm64) = (&self.pipeline.world.amd64, &self.pipeline.world.arm64);
        let mut text = text.to_owned();
        for (value, name) in [
            (self.source().address(), "SOURCE"),
            (self.pipeline.target.address(), "TARGET"),
            (self.index.clone(), "[INDEX]"),
            (amd64.digest.clone(), "[AMD64]"),
            (amd64.config.clone(), "[AMD64 CONFIG]"),
            (amd64.layer.clone(), "[AMD64 LAYER]"),
            (arm64.digest.clone(), "[ARM64]"),
            (arm64.config.clone(), "[ARM64 CONFIG]"),
            (arm64.layer.clone(), "[ARM64 LAYER]"),
        ] {
            text = text.replace(&value, name);
            if let Some(hex) = value.strip_prefix("sha256:") {
                text = text.replace(hex, &name.replace(' ', "-"));
            }
        }
        let digest = regex::Regex::new("sha256:[0-9a-f]{64}").unwrap();
        digest.replace_all(&text, "[DIGEST]").into_owned()
    }
}

fn place(digest: &str) -> String {
    format!("images/blobs/{}", digest.replace(':', "/"))
}

/// Returns the messages and exit code of each of `cases`.
fn told(cases: &[Case]) -> String {
    let each = cases.iter().map(|(name, case)| {
        let scene = Scene::new();
        let action = case(&scene);
        let outcome = action.run();
        assert!([1, 2].contains(&outcome.code), "{name}: {}", outcome.log);
        let tags = scene.pipeline.target.tags(TARGET);
        assert!(tags.is_empty(), "{name}: {tags:?}");
        let said = |line: &&str| line.starts_with("::error") || line.starts_with("hint: ");
        let said: Vec<&str> = outcome.log.lines().filter(said).collect();
        let said = scene.named(&said.join("\n"));
        let workspace = action.workspace().display().to_string();
        let said = said.replace(&workspace, "[WORKSPACE]");
        let said = said.replace("::error title=manifest-seal", "");
        format!("# {name}: exit {}\n{said}\n", outcome.code)
    });
    each.collect::<Vec<_>>().join("\n")
}

#[test]
fn incomplete_source_is_reported() {
    insta::assert_snapshot!(told(SOURCES));
}

#[test]
fn refusing_destination_is_reported() {
    // The first part to be refused is a race.
    let part = regex::Regex::new(r"\[(AMD64|ARM64)( CONFIG| LAYER)?\]").unwrap();
    let read = regex::Regex::new("could not read `TARGET/prod/app[^`]*`").unwrap();
    let told = told(DESTINATIONS);
    let told = read.replace_all(&told, "could not read `TARGET/prod/app[PART]`");
    insta::assert_snapshot!(part.replace_all(&told, "[PART]"));
}

#[test]
fn broken_folder_is_reported() {
    insta::assert_snapshot!(told(FOLDERS));
}

/// Checks that the scene is publishable without a failure: otherwise the cases above would prove little.
#[test]
fn scene_is_in_order_otherwise() {
    let scene = Scene::new();
    for publish in [
        scene.publish_at("v1"),
        scene.publish_record(),
        scene.saved(),
    ] {
        assert_eq!(publish.succeed().outputs["digest"], scene.index);
        let registry = Registry::start(Options::new());
        let elsewhere = publish.input("tags", format!("{}:v1", registry.repository(TARGET)));
        elsewhere.input("moving-tags", "").succeed();
        assert_eq!(registry.tags(TARGET)["v1"], scene.index);
    }
}
