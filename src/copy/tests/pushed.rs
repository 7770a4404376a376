//! Referrers and digest tags that others pushed beside an image, and the copy of an image with all of them.

use futures_util::future::join_all;
use sandbox::Referrers;

use super::*;
use crate::copy::CopyError;
use crate::copy::copier::{Copier, DestinationCheck};
use crate::copy::list_write::{settle_lists, write_lists};
use crate::copy::referrer_copier::ReferrerCopier;
use crate::copy::referrer_filter::ReferrerFilter;
use crate::copy::source::KnownSource;
use crate::inputs::ReferrerSelection;
use crate::referrers::Writers;

const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

pub(super) async fn publish(
    from: &[Source],
    to: &Repository,
    image: &Digest,
) -> Result<(), CopyError> {
    let context = context();
    let copier = Copier::new(&context, from, to, DestinationCheck::Deep);
    copy_with_referrers(&context, from, &copier, to, image).await
}

/// Copies an image with everything that refers to it, and waits until its lists are stable.
pub(super) async fn copy_with_referrers(
    context: &Context,
    from: &[Source],
    copier: &Copier<'_>,
    to: &Repository,
    image: &Digest,
) -> Result<(), CopyError> {
    let known = from.iter().cloned();
    let known = join_all(known.map(|source| KnownSource::read(context, source))).await;
    let filter = ReferrerFilter::new(ReferrerSelection::All);
    let (known, writers) = (known.iter().collect(), Writers::Several);
    let referrers = ReferrerCopier::new(context, known, to, copier, &filter, writers);
    let image_and_referrers = tokio::try_join!(
        copier.copy_any(image),
        referrers.copy(std::iter::once(image))
    );
    let ((), lists) = image_and_referrers?;
    let written = write_lists(context, &filter, lists).await?;
    settle_lists(written.pending_settles).await
}

pub(super) fn registry(referrers: Referrers) -> Sandbox {
    Sandbox::start(Options::new().referrers(referrers))
}

/// Pushes a referrer of `subject`, and lists it under the referrers tag if `sandbox` keeps no list itself.
pub(super) fn push_referrer(
    sandbox: &Sandbox,
    name: &str,
    subject: &Digest,
    content: &str,
    referrers: Referrers,
) -> Digest {
    let config = sandbox.push_blob(name, b"{}");
    let layer = sandbox.push_blob(name, content.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/x",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": layer, "size": content.len()}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
    });
    let manifest = manifest.to_string();
    let digest = digest(&sandbox.push_raw(name, None, OCI_MANIFEST, manifest.as_bytes()));
    if referrers == Referrers::TagSchema {
        let entry = json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len(), "artifactType": "application/x",
        });
        list(sandbox, name, subject, entry);
    }
    digest
}

/// Adds an entry to the index under the referrers tag.
pub(super) fn list(sandbox: &Sandbox, name: &str, subject: &Digest, entry: Value) {
    let tag = subject.referrers_tag().to_string();
    let held = sandbox.manifest(name, &tag);
    let mut index = held.map_or(
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}),
        |(_, bytes)| serde_json::from_slice(&bytes).unwrap(),
    );
    index["manifests"].as_array_mut().unwrap().push(entry);
    sandbox.push_raw(name, Some(&tag), OCI_INDEX, index.to_string().as_bytes());
}

/// Returns the digests that the index under the referrers tag lists.
pub(super) fn listed(sandbox: &Sandbox, name: &str, subject: &Digest) -> Vec<Digest> {
    let tag = subject.referrers_tag().to_string();
    let Some((_, bytes)) = sandbox.manifest(name, &tag) else {
        return Vec::new();
    };
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| digest(entry["digest"].as_str().unwrap()))
        .collect()
}

/// Pushes a manifest as cosign 2 does, under the digest tag that ends in `suffix`.
pub(super) fn push_beside(
    sandbox: &Sandbox,
    name: &str,
    subject: &Digest,
    suffix: &'static str,
    layers: &[&str],
) -> Digest {
    let layer = |content: &&str| {
        let digest = sandbox.push_blob(name, content.as_bytes());
        json!({"mediaType": SIGNATURE, "digest": digest, "size": content.len(), "annotations": {"a": content}})
    };
    let diff_ids: Vec<Digest> = layers
        .iter()
        .map(|content| Digest::of(content.as_bytes()))
        .collect();
    let layers: Vec<Value> = layers.iter().map(layer).collect();
    let config = json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string();
    let config_digest = sandbox.push_blob(name, config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
        "layers": layers,
    });
    let tag = subject.digest_tag(suffix).unwrap().to_string();
    digest(&sandbox.push_raw(
        name,
        Some(&tag),
        OCI_MANIFEST,
        manifest.to_string().as_bytes(),
    ))
}

pub(super) fn document(sandbox: &Sandbox, name: &str, reference: &str) -> Value {
    serde_json::from_slice(&sandbox.manifest(name, reference).unwrap().1).unwrap()
}
