//! Quay: it deletes tags by the protocol. With the last tag of an image it also deletes the digest tags of cosign.
//! These are history, and are restored.
//!
//! Source: `endpoints/v2/manifest.py` and `data/model/oci/tag.py` (`_expire_cosign_sibling_tags`) of quay/quay.

use super::checked_tag::refuse_all;
use super::oci;
use super::undeleted::{DeletionError, TagDeletion, Undeleted};
use crate::domain::{DigestTag, FullTag, Manifest, Reference, Tag};
use crate::registry::client::Registry;
use crate::registry::error::RegistryError;
use crate::registry::{Probe, TagRead, WriteRule};

/// The suffixes of cosign's digest tags for signatures, attestations and bills of materials.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let siblings = match siblings(registry, deletion).await {
        Ok(siblings) => siblings,
        Err(error) => {
            let unseen = DeletionError::Unseen(error.kind);
            return refuse_all(registry, deletion, &unseen).await;
        }
    };
    let undeleted = oci::delete(registry, deletion).await;
    for (tag, manifest) in siblings {
        if let Err(why) = put_back(registry, deletion, &tag, &manifest).await {
            let repository = deletion.repository;
            registry.sender.transport().events.warn(format!(
                "the registry also deleted the tag `{repository}:{tag}` (`{}`) of the signatures of the deleted image, and it could not be restored: {why}",
                manifest.digest()
            ));
        }
    }
    undeleted
}

/// Returns the tags that would be deleted too, with their manifests. A tag that cannot be read could not be restored.
async fn siblings(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<Vec<(Tag, Manifest)>, RegistryError> {
    let mut siblings = Vec::new();
    for suffix in SUFFIXES {
        let Some(DigestTag { tag, .. }) = deletion.digest.digest_tag(suffix) else {
            continue;
        };
        let reference = Reference::Tag(tag.clone());
        let held = registry.manifest(deletion.repository, &reference).await?;
        siblings.extend(held.map(|held| (tag, held)));
    }
    Ok(siblings)
}

/// Restores a digest tag if it is absent. Content that another signer wrote there in the meantime stays.
async fn put_back(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: &Tag,
    manifest: &Manifest,
) -> Result<(), String> {
    let tag = FullTag {
        repository: deletion.repository.clone(),
        tag: tag.clone(),
    };
    let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
    let rule = WriteRule {
        held: None,
        read: TagRead::Earlier,
        probe: Probe::Nothing,
    };
    let put = registry.replace_tag(&tag, rule, media_type, bytes);
    put.await.map(drop).map_err(|error| error.kind.to_string())
}
