//! The requests of a copy at source and destination: exactly these, and for complete content only existence checks.

use std::collections::BTreeMap;

use std::time::Duration;

use sandbox::{Fault, Kind, Referrers, Registry, Request};
use serde_json::json;

use crate::support::{Action, Pipeline, REPOSITORY, TARGET, World, target};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Returns the number of requests of each kind, as text.
fn kinds<'a>(requests: impl IntoIterator<Item = &'a Request>) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for Request { method, path, .. } in requests {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let what = match path.rsplit('/').collect::<Vec<_>>()[..] {
            [digest, "manifests", ..] if digest.starts_with("sha256:") => "manifest",
            [_, "manifests", ..] => "tag",
            [_, "referrers", ..] => "referrers",
            ["list", "tags", ..] => "tags",
            [_, "uploads", "blobs", ..] if query.starts_with("mount=") => "mount",
            // An upload ends with a PUT, unless its registry is known by then to accept blobs in the POST.
            [_, "uploads", "blobs", ..] if method == "POST" => "upload",
            [_, "uploads", "blobs", ..] => continue,
            [_, "blobs", ..] => "blob",
            _ => path,
        };
        *kinds.entry(format!("{method} {what}")).or_default() += 1;
    }
    let counted = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    counted.collect::<Vec<_>>().join(", ")
}

/// Returns the requests of `action` to the repositories where the image is built and published.
fn asked(pipeline: &Pipeline, target: &Registry, action: &Action) -> [String; 2] {
    pipeline.world.registry().clear_requests();
    target.clear_requests();
    action.succeed();
    let of = |registry: &Registry, name: &str| {
        let place = format!("/v2/{name}/");
        let requests = registry.requests();
        kinds(
            requests
                .iter()
                .filter(|asked| asked.path.starts_with(&place)),
        )
    };
    [
        of(pipeline.world.registry(), REPOSITORY),
        of(target, TARGET),
    ]
}

/// Returns a run that publishes the image built by `pipeline` to `target`.
fn publish(pipeline: &Pipeline, index: &str, target: &Registry) -> Action {
    let tag = format!("{}:v1", target.repository(TARGET));
    let publish = Action::new("publish").input("source", pipeline.world.at(index));
    publish.input("tags", tag)
}

/// The source is given by digest, without a tag, as pipelines do. It has six manifests, three of them signatures, and eight
/// blobs, one of which need not be read. If everything exists at the destination, the run writes nothing there and reads only
/// tags and lists.
#[test]
fn signed_image_of_two_platforms_has_a_budget() {
    let read = "7 GET blob, 6 GET manifest, 6 GET referrers, 1 GET tags";
    let listed = "6 GET manifest, 6 GET referrers, 1 GET tags";
    let with_api = "4 GET referrers, 1 GET tag, 1 GET tags, 8 HEAD blob, 5 HEAD manifest";
    for (kind, written, there) in [
        (
            Referrers::Api,
            "4 GET referrers, 2 GET tag, 1 GET tags, 6 HEAD manifest, 1 HEAD tag, 8 POST upload, 6 PUT manifest, 1 PUT tag",
            with_api,
        ),
        (
            Referrers::TagSchema,
            "1 GET referrers, 8 GET tag, 1 GET tags, 6 HEAD manifest, 1 HEAD tag, 8 POST upload, 6 PUT manifest, 4 PUT tag",
            "1 GET referrers, 4 GET tag, 1 GET tags, 8 HEAD blob, 5 HEAD manifest",
        ),
    ] {
        let pipeline = Pipeline {
            target: target(kind),
            ..Pipeline::new()
        };
        let (_, index) = pipeline.build();
        let publish = publish(&pipeline, &index, &pipeline.target);
        let asked = || asked(&pipeline, &pipeline.target, &publish);
        assert_eq!(asked(), [read, written], "{kind:?}");
        assert_eq!(asked(), [listed, there], "{kind:?}, again");
    }
    // Between repositories of one registry no blob is read.
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let here = pipeline.world.registry();
    let publish = publish(&pipeline, &index, here);
    let mounted = "4 GET referrers, 2 GET tag, 1 GET tags, 6 HEAD manifest, 1 HEAD tag, 8 POST mount, 6 PUT manifest, 1 PUT tag";
    let asked = || asked(&pipeline, here, &publish);
    assert_eq!(asked(), [listed, mounted]);
    assert_eq!(asked(), [listed, with_api]);
}

#[test]
fn older_signatures_have_a_budget_too() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let sign = pipeline.world.sign(&index).input("recursive", "true");
    sign.input("signature-format", "legacy").succeed();
    let publish = publish(&pipeline, &index, &pipeline.target);
    let asked = || asked(&pipeline, &pipeline.target, &publish);
    let listed = "3 GET manifest, 6 GET referrers, 3 GET tag, 1 GET tags";
    let written = "11 GET tag, 1 GET tags, 6 HEAD manifest, 1 HEAD tag, 10 POST upload, 6 PUT manifest, 4 PUT tag";
    assert_eq!(asked(), [&format!("10 GET blob, {listed}"), written]);
    let there = "4 GET tag, 1 GET tags, 10 HEAD blob, 2 HEAD manifest";
    assert_eq!(asked(), [listed, there], "again");
}

/// Some registries, such as GitLab's, refuse a manifest whose subject is absent. The image is slow, its attestation is not.
#[test]
fn attestation_is_stored_after_the_image_that_it_attests() {
    let world = World::new();
    let registry = world.registry();
    let image = registry.push_image(REPOSITORY, "linux/s390x", Kind::Oci);
    let (_, bytes) = registry.manifest(REPOSITORY, &image.digest).unwrap();
    let subject = json!({"mediaType": MANIFEST, "digest": image.digest, "size": bytes.len()});
    let config = registry.push_blob(REPOSITORY, b"{}");
    let attestation = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [],
        "subject": subject,
    });
    let attestation = attestation.to_string();
    let digest = registry.push_raw(REPOSITORY, None, MANIFEST, attestation.as_bytes());
    let mut listed = subject.clone();
    listed["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        listed,
        {
            "mediaType": MANIFEST, "digest": digest, "size": attestation.len(),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image.digest,
            },
        },
    ]});
    let index = registry.push_raw(
        REPOSITORY,
        Some("built"),
        INDEX,
        index.to_string().as_bytes(),
    );
    let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let slow = Fault::on("GET", &format!("*/blobs/{layer}")).times(u32::MAX);
    registry.fault(slow.delay(Duration::from_millis(400)));
    let create = |there: &Registry| {
        let create = world.create().input("image", there.repository(TARGET));
        create.input("digests", world.at(&index))
    };
    let publish = |there: &Registry| {
        let publish = Action::new("publish").input("source", world.at(&index));
        publish.input("tags", format!("{}:v1", there.repository(TARGET)))
    };
    let commands: [&dyn Fn(&Registry) -> Action; 2] = [&create, &publish];
    for command in commands {
        let there = target(Referrers::Api);
        command(&there).succeed();
        let requests = there.requests();
        let stored = |digest: &str| {
            let is_put =
                |request: &Request| request.method == "PUT" && request.path.ends_with(digest);
            requests.iter().position(is_put).unwrap()
        };
        assert!(stored(&image.digest) < stored(&digest));
    }
}
