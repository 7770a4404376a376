//! Quay: it deletes tags as the protocol has it. But with the last tag of an image it takes the tags away that cosign stores
//! signatures under; those are history, and are put back.
//!
//! Source: `endpoints/v2/manifest.py` and `data/model/oci/tag.py` (`_expire_cosign_sibling_tags`) of quay/quay.

use super::{Doomed, Stays, oci};
use crate::domain::{Manifest, Reference, Tag};
use crate::registry::client::Registry;

/// What cosign adds to the name of a digest for signatures, attestations and bills of materials.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

pub(super) async fn delete(registry: &Registry, doomed: Doomed<'_>) -> Stays {
    let siblings = siblings(registry, doomed).await;
    let stays = oci::delete(registry, doomed).await;
    for (tag, manifest) in siblings {
        if let Err(why) = put_back(registry, doomed, &tag, &manifest).await {
            let repository = doomed.repository;
            registry.wire().events.warn(format!(
                "the registry took the tag `{repository}:{tag}` (`{}`), which belongs to the signatures of what is withdrawn, and did not take it back: {why}",
                manifest.digest()
            ));
        }
    }
    stays
}

/// The tags that go along, and what they hold; those that cannot be seen cannot be put back either.
async fn siblings(registry: &Registry, doomed: Doomed<'_>) -> Vec<(Tag, Manifest)> {
    let mut siblings = Vec::new();
    for suffix in SUFFIXES {
        let Ok(tag) = format!("{}.{suffix}", doomed.digest.fallback_tag()).parse::<Tag>() else {
            continue;
        };
        let reference = Reference::Tag(tag.clone());
        if let Ok(Some(held)) = registry.manifest(doomed.repository, &reference).await {
            siblings.push((tag, held));
        }
    }
    siblings
}

async fn put_back(
    registry: &Registry,
    doomed: Doomed<'_>,
    tag: &Tag,
    manifest: &Manifest,
) -> Result<(), String> {
    let reference = Reference::Tag(tag.clone());
    let holds = registry
        .manifest_digest(doomed.repository, &reference)
        .await;
    if !matches!(holds, Ok(None)) {
        return Ok(());
    }
    let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
    let put = registry.put_manifest(doomed.repository, &reference, media_type, bytes);
    put.await.map(drop).map_err(|error| error.fault.to_string())
}
