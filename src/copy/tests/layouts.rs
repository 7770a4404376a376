//! Tests the copy of images from folders.

use std::fs;
use std::path::{Path, PathBuf};

use sandbox::Kind;
use tempfile::TempDir;

use super::pushed::copy_with_referrers;
use super::*;
use crate::copy::CopyError;
use crate::copy::copier::{Copier, DestinationCheck};
use crate::layout::Layout;
use crate::outcome::CopiedContent;

/// Saves everything in a repository to a folder whose index lists only `image`.
fn save(sandbox: &Sandbox, name: &str, image: &Digest) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    let put = |digest: &str, bytes: &[u8]| fs::write(file(folder.path(), digest), bytes).unwrap();
    for manifest in sandbox.manifests(name) {
        let (_, bytes) = sandbox.manifest(name, &manifest).unwrap();
        put(&manifest, &bytes);
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = document["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(document.get("config")) {
            let digest = blob["digest"].as_str().unwrap();
            put(digest, &sandbox.blob(name, digest).unwrap());
        }
    }
    let (media_type, bytes) = sandbox.manifest(name, &image.to_string()).unwrap();
    let entry = json!({"mediaType": media_type, "digest": image, "size": bytes.len()});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(folder.path().join("oci-layout"), marker).unwrap();
    folder
}

fn file(folder: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    folder.join("blobs/sha256").join(hex)
}

async fn publish(folder: &Path, to: &Repository) -> (Result<Digest, CopyError>, CopiedContent) {
    let context = context();
    let layout = match Layout::open(folder, "images") {
        Ok(layout) => layout,
        Err(error) => return (Err(error.into()), CopiedContent::default()),
    };
    let image = layout.image(None).unwrap().digest.clone();
    let from = [Source::Layout(layout)];
    let copier = Copier::new(&context, &from, to, DestinationCheck::Deep);
    let ended = copy_with_referrers(&context, &from, &copier, to, &image).await;
    (ended.map(|()| image), copier.copied())
}

#[tokio::test]
async fn image_in_a_folder_arrives_with_what_refers_to_it() {
    let (source, destination) = (sandbox(), sandbox());
    let child = source.push_index_with_provenance("o/from", "linux/amd64");
    let large = push_layers(&source, "o/from", &[("text/plain", &vec![7; 300_000])]);
    let image = push_index(&source, "o/from", &[digest(&child.digest), large]);
    let config = source.push_blob("o/from", b"{}");
    let referrer = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [],
        "subject": {"mediaType": OCI_INDEX, "digest": image, "size": 1},
    });
    let referrer = referrer.to_string();
    let referrer = source.push_raw("o/from", None, OCI_MANIFEST, referrer.as_bytes());
    let folder = save(&source, "o/from", &image);
    let to = repository(&destination, "o/to");
    let (ended, copied) = publish(folder.path(), &to).await;
    assert_eq!(ended.unwrap(), image);
    let mut wanted = source.manifests("o/from");
    let mut held = destination.manifests("o/to");
    wanted.sort();
    held.sort();
    assert_eq!(held, wanted);
    assert!(held.contains(&referrer));
    assert_eq!(copied.manifests.len(), held.len());
    for blob in &copied.blobs {
        let blob = blob.to_string();
        assert_eq!(
            destination.blob("o/to", &blob),
            source.blob("o/from", &blob)
        );
    }
}

#[tokio::test]
async fn broken_folder_is_said_to_be_broken_and_its_image_is_not_stored() {
    let source = sandbox();
    let image = source.push_image("o/from", "linux/amd64", Kind::Oci);
    let (digest, layer) = (digest(&image.digest), &image.layer);
    let is_of = |error: &CopyError, digest: &str| {
        let text = crate::domain::chain_text(error);
        assert!(
            text.contains(digest.strip_prefix("sha256:").unwrap()),
            "{text}"
        );
        text
    };
    for (what, words) in [
        ("lost layer", "was not found in `images`"),
        ("short layer", "bytes, not"),
        ("changed layer", "the digest of the content is"),
        ("changed manifest", "the digest of `images/blobs/"),
        ("lost manifest", "was not found in `images`"),
    ] {
        let destination = sandbox();
        let folder = save(&source, "o/from", &digest);
        let of = if what.ends_with("layer") {
            layer
        } else {
            &image.digest
        };
        let path = file(folder.path(), of);
        let mut bytes = fs::read(&path).unwrap();
        match what.split(' ').next().unwrap() {
            "lost" => fs::remove_file(&path).unwrap(),
            "short" => fs::write(&path, &bytes[1..]).unwrap(),
            _ => {
                let last = bytes.len() - 2;
                bytes[last] ^= 1;
                fs::write(&path, &bytes).unwrap();
            }
        }
        let (ended, _) = publish(folder.path(), &repository(&destination, "o/to")).await;
        let text = is_of(&ended.unwrap_err(), of);
        assert!(text.contains(words), "{what}: {text}");
        assert_eq!(destination.manifests("o/to"), [""; 0], "{what}");
        assert!(destination.blob("o/to", layer).is_none() || what.ends_with("manifest"));
    }
}

#[tokio::test]
async fn folder_heals_what_a_registry_has_lost() {
    let destination = sandbox();
    let image = destination.push_image("o/to", "linux/amd64", Kind::Oci);
    let folder = save(&destination, "o/to", &digest(&image.digest));
    destination.delete_blob("o/to", &image.layer);
    let (ended, copied) = publish(folder.path(), &repository(&destination, "o/to")).await;
    ended.unwrap();
    assert_eq!(copied.blobs, [digest(&image.layer)].into());
    assert!(copied.manifests.is_empty());
    assert!(destination.blob("o/to", &image.layer).is_some());
}
