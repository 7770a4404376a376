//! Tests the copy of missing content: the bytes that arrive, their order, and the number of requests.

use std::collections::BTreeSet;

use sandbox::{Fault, Kind};

use super::*;
use crate::context::ImageError;
use crate::copy::CopyError;
use crate::copy::copier::{Copier, DestinationCheck};
use crate::outcome::CopiedContent;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

pub(super) async fn copy(
    from: &[Repository],
    to: &Repository,
    image: &Digest,
    check: DestinationCheck,
) -> (Result<(), CopyError>, CopiedContent) {
    let context = context();
    let from: Vec<Source> = from.iter().cloned().map(Source::from).collect();
    let copier = Copier::new(&context, &from, to, check);
    let ended = copier.copy_any(image).await;
    (ended, copier.copied())
}

/// Asserts that `to` has everything that `from` has of the image, byte for byte.
pub(super) fn assert_same(from: (&Sandbox, &str), to: (&Sandbox, &str), image: &Digest) {
    let original = from.0.manifest(from.1, &image.to_string()).unwrap();
    assert_eq!(to.0.manifest(to.1, &image.to_string()).unwrap(), original);
    let document: Value = serde_json::from_slice(&original.1).unwrap();
    for child in document["manifests"].as_array().into_iter().flatten() {
        assert_same(from, to, &digest(child["digest"].as_str().unwrap()));
    }
    let layers = document["layers"].as_array().into_iter().flatten();
    for blob in layers.chain(document.get("config")) {
        let digest = blob["digest"].as_str().unwrap();
        assert_eq!(to.0.blob(to.1, digest), from.0.blob(from.1, digest));
        assert!(to.0.blob(to.1, digest).is_some(), "{digest}");
    }
}

/// Pushes an index of two images, and the attestation of one of them.
fn push_all(sandbox: &Sandbox, name: &str) -> Digest {
    let amd64 = sandbox.push_index_with_provenance(name, "linux/amd64");
    let arm64 = sandbox.push_image(name, "linux/arm64", Kind::Docker);
    push_index(sandbox, name, &[&amd64.digest, &arm64.digest])
}

#[tokio::test]
async fn what_is_lacking_is_brought_leaves_first() {
    let (source, destination) = (sandbox(), sandbox());
    let image = push_all(&source, "o/from");
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, copied) = copy(&from, &to, &image, DestinationCheck::RootOnly).await;
    ended.unwrap();
    // The sandbox refuses a manifest whose parts are missing.
    assert_same((&source, "o/from"), (&destination, "o/to"), &image);
    assert_eq!(copied.manifests.len(), 5);
    assert_eq!(copied.blobs.len(), 6);
    let puts = lines(&destination);
    let puts: Vec<&String> = puts
        .iter()
        .filter(|line| line.starts_with("PUT") && line.contains("/manifests/"))
        .collect();
    assert_eq!(puts.len(), 5);
    assert!(puts[4].ends_with(&image.to_string()), "{puts:?}");
}

#[tokio::test]
async fn image_that_is_there_costs_one_question_where_it_is_trusted() {
    let (source, destination) = (sandbox(), sandbox());
    let image = push_all(&destination, "o/to");
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, copied) = copy(&from, &to, &image, DestinationCheck::RootOnly).await;
    ended.unwrap();
    assert_eq!(copied, CopiedContent::default());
    assert_eq!(
        lines(&destination),
        [format!("HEAD /v2/o/to/manifests/{image}")]
    );
    assert!(source.requests().is_empty());
}

#[tokio::test]
async fn healthy_image_costs_heads_where_it_is_healed() {
    let (source, destination) = (sandbox(), sandbox());
    let image = push_all(&source, "o/same");
    assert_eq!(push_all(&destination, "o/same"), image);
    let to = repository(&destination, "o/same");
    let from = [repository(&source, "o/same")];
    let (ended, copied) = copy(&from, &to, &image, DestinationCheck::Deep).await;
    ended.unwrap();
    assert_eq!(copied, CopiedContent::default());
    let asked = lines(&destination);
    assert!(
        asked.iter().all(|line| line.starts_with("HEAD ")),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 5 + 6);
    assert_eq!(source.requests().len(), 5, "each manifest is read once");
}

#[tokio::test]
async fn what_garbage_collection_took_is_restored() {
    let (source, destination) = (sandbox(), sandbox());
    let name = "o/same";
    let child = source.push_index_with_provenance(name, "linux/amd64");
    let lost_image = source.push_image(name, "linux/arm64", Kind::Docker);
    let image = push_index(&source, name, &[&child.digest, &lost_image.digest]);
    let to = repository(&destination, name);
    let from = [repository(&source, name)];
    copy(&from, &to, &image, DestinationCheck::RootOnly)
        .await
        .0
        .unwrap();

    destination.delete_manifest(name, &lost_image.digest);
    destination.delete_manifest(name, &child.attestation);
    destination.delete_blob(name, &child.image.layer);
    destination.delete_blob(name, &child.image.config);
    let (ended, copied) = copy(&from, &to, &image, DestinationCheck::Deep).await;
    ended.unwrap();
    assert_same((&source, name), (&destination, name), &image);
    let manifests = [&lost_image.digest, &child.attestation].map(|text| digest(text));
    let blobs = [&child.image.layer, &child.image.config].map(|text| digest(text));
    assert_eq!(
        copied,
        CopiedContent {
            manifests: manifests.into(),
            blobs: blobs.into(),
            lists: BTreeSet::new(),
        }
    );
}

#[tokio::test]
async fn what_two_images_share_is_copied_once() {
    let (source, destination) = (sandbox(), sandbox());
    let shared: (&str, &[u8]) = (LAYER, b"shared");
    let one = push_layers(&source, "o/from", &[shared, (LAYER, b"one")]);
    let two = push_layers(&source, "o/from", &[shared, shared, (LAYER, b"two")]);
    let inner = push_index(&source, "o/from", &[&one, &two]);
    let image = push_index(&source, "o/from", &[&one, &inner]);
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, _) = copy(&from, &to, &image, DestinationCheck::RootOnly).await;
    ended.unwrap();
    assert_same((&source, "o/from"), (&destination, "o/to"), &image);
    let lines = lines(&destination);
    let layer = Digest::of(b"shared");
    let uploads = lines
        .iter()
        .filter(|line| !line.starts_with("HEAD") && line.contains(layer.hex()));
    assert_eq!(uploads.count(), 1, "{lines:?}");
    for (part, times) in [
        // Small blobs of a new image are not checked first.
        (format!("HEAD /v2/o/to/blobs/{layer}"), 0),
        (format!("PUT /v2/o/to/manifests/{one}"), 1),
    ] {
        let count = lines.iter().filter(|line| **line == part).count();
        assert_eq!(count, times, "{part} in {lines:?}");
    }
}

#[tokio::test]
async fn two_runs_at_once_end_in_the_same() {
    let (source, destination) = (sandbox(), sandbox());
    let image = push_all(&source, "o/from");
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (one, two) = tokio::join!(
        copy(&from, &to, &image, DestinationCheck::RootOnly),
        copy(&from, &to, &image, DestinationCheck::Deep)
    );
    one.0.unwrap();
    two.0.unwrap();
    assert_same((&source, "o/from"), (&destination, "o/to"), &image);
}

#[tokio::test]
async fn repository_of_the_same_registry_is_mounted_from() {
    let registry = sandbox();
    let image = push_all(&registry, "o/from");
    let (from, to) = (
        repository(&registry, "o/from"),
        repository(&registry, "o/to"),
    );
    let (ended, _) = copy(&[from], &to, &image, DestinationCheck::RootOnly).await;
    ended.unwrap();
    assert_same((&registry, "o/from"), (&registry, "o/to"), &image);
    let lines = lines(&registry);
    let mounts = lines.iter().filter(|line| line.contains("?mount="));
    assert_eq!(mounts.count(), 6);
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("GET /v2/o/from/blobs"))
    );
}

#[tokio::test]
async fn foreign_layer_may_be_elsewhere() {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let (source, destination) = (sandbox(), sandbox());
    let layer = Digest::of(b"foreign");
    let config = source.push_blob("o/from", b"{}");
    let image = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/x", "digest": config, "size": 2},
        "layers": [{
            "mediaType": FOREIGN, "digest": layer, "size": 7, "urls": ["https://elsewhere.example/layer"],
        }],
    });
    let image = image.to_string();
    let image = digest(&source.push_raw("o/from", None, OCI_MANIFEST, image.as_bytes()));
    let from = [repository(&source, "o/from")];
    for (name, is_there) in [("o/without", false), ("o/with", true)] {
        if is_there {
            source.push_blob("o/from", b"foreign");
        }
        let to = repository(&destination, name);
        let (ended, copied) = copy(&from, &to, &image, DestinationCheck::RootOnly).await;
        ended.unwrap();
        assert_eq!(copied.blobs.contains(&layer), is_there);
        assert_eq!(
            destination.blob(name, &layer.to_string()).is_some(),
            is_there
        );
    }
}

#[tokio::test]
async fn artifacts_and_blobs_in_an_index_are_carried() {
    let (source, destination) = (sandbox(), sandbox());
    let name = "o/same";
    let artifact = push_layers(&source, name, &[("text/plain", b"anything")]);
    let blob = source.push_blob(name, b"cache");
    let (media_type, size) = (
        OCI_MANIFEST,
        source
            .manifest(name, &artifact.to_string())
            .unwrap()
            .1
            .len(),
    );
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {"mediaType": media_type, "digest": artifact, "size": size},
            {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": blob, "size": 5},
        ],
    });
    let index = index.to_string();
    let index = digest(&source.push_raw(name, None, OCI_INDEX, index.as_bytes()));
    // The sandbox refuses such an index, as stricter registries do; its children are copied nevertheless.
    let to = repository(&destination, name);
    let (_, copied) = copy(
        &[repository(&source, name)],
        &to,
        &index,
        DestinationCheck::RootOnly,
    )
    .await;
    assert!(copied.manifests.contains(&artifact));
    assert_eq!(destination.blob(name, &blob).unwrap(), b"cache");
}

#[tokio::test]
async fn index_that_is_said_to_hold_itself_is_not_walked() {
    let (source, destination) = (sandbox(), sandbox());
    let own = Digest::of(b"own");
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_INDEX, "digest": own, "size": 1}],
    });
    let path = format!("*/manifests/{own}");
    let headers = [("content-type", OCI_INDEX)];
    source.fault(
        Fault::on("GET", &path)
            .times(u32::MAX)
            .answer(200, &headers, &index.to_string()),
    );
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, _) = copy(&from, &to, &own, DestinationCheck::RootOnly).await;
    assert!(matches!(ended, Err(CopyError::Registry(_))));
}

#[tokio::test]
async fn endless_nesting_is_refused() {
    let (source, destination) = (sandbox(), sandbox());
    let mut inner = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    for depth in 1..=5 {
        inner = push_index(&source, "o/from", &[&inner]);
        let (ended, _) = copy(&from, &to, &inner, DestinationCheck::Deep).await;
        match ended {
            Ok(()) => assert!(depth < 5, "{depth}"),
            Err(error) => assert!(
                matches!(error, CopyError::Image(ImageError::TooDeep { .. })) && depth == 5,
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn parts_that_the_registry_loses_meanwhile_are_brought_again() {
    let (source, destination) = (sandbox(), sandbox());
    let image = source.push_image("o/from", "linux/amd64", Kind::Oci);
    let index = push_index(&source, "o/from", &[&image.digest]);
    let (_, bytes) = source.manifest("o/from", &index.to_string()).unwrap();
    destination.push_raw("o/to", None, OCI_INDEX, &bytes);
    // The registry reports that it has the layer, but lacks it when the image is pushed.
    let layer = format!("*/blobs/{}", image.layer);
    destination.fault(Fault::on("HEAD", &layer).status(200));
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, _) = copy(&from, &to, &index, DestinationCheck::Deep).await;
    ended.unwrap();
    assert_same((&source, "o/from"), (&destination, "o/to"), &index);
}

#[tokio::test]
async fn run_that_was_killed_is_taken_up_where_it_stopped() {
    let (source, destination) = (sandbox(), sandbox());
    let image = push_all(&source, "o/from");
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    for k in 1.. {
        // From request number `4 * k` on, every response is lost. The next run continues from the content stored by
        // then.
        destination.fault(Fault::at(k * 4).times(u32::MAX).lost_response());
        let (ended, _) = copy(&from, &to, &image, DestinationCheck::Deep).await;
        destination.clear_faults();
        if ended.is_ok() {
            break;
        }
        assert!(k < 100);
    }
    assert_same((&source, "o/from"), (&destination, "o/to"), &image);
    destination.clear_requests();
    let (ended, copied) = copy(&from, &to, &image, DestinationCheck::Deep).await;
    ended.unwrap();
    assert_eq!(copied, CopiedContent::default());
}
