//! The protocol's own way: by tag, or by digest if the registry supports only that.
//!
//! Sources: OCI distribution specification, "Deleting tags" and "Deleting Manifests"; `registry/handlers/manifests.go`
//! of distribution, whose 2.x reads a tag as an invalid digest.

use std::cell::Cell;

use super::by_placeholder;
use super::checked_tag::{CheckedTag, unchanged};
use super::delete_request::{DeleteResult, NEEDS, delete_digest, delete_request, delete_result};
use super::other_tags::{OtherTags, other_tags};
use super::undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted, all};
use crate::domain::Reference;
use crate::registry::client::Registry;
use crate::registry::redirects::write_once;

/// Deletes each tag by itself, or all of them by a digest.
pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let is_unsupported = Cell::new(false);
    let delete_one = async |tag| {
        // A registry that does not delete one tag deletes no other.
        if is_unsupported.get() {
            return Ok(DeleteResult::Unsupported);
        }
        let result = delete_tag(registry, deletion, tag).await;
        is_unsupported.update(|known| known || matches!(result, Ok(DeleteResult::Unsupported)));
        result
    };
    let results = CheckedTag::each(registry, deletion, delete_one).await;
    let (mut rest, mut undeleted) = (Vec::new(), Undeleted::new());
    for (tag, result) in results {
        match result {
            Ok(DeleteResult::Deleted | DeleteResult::Absent) => (),
            Ok(DeleteResult::Unsupported) => rest.push(tag),
            Err(error) => undeleted.push((tag, error)),
        }
    }
    let rest = TagDeletion {
        tags: &rest,
        ..deletion
    };
    undeleted.extend(by_digest(registry, rest).await);
    undeleted
}

async fn delete_tag(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: CheckedTag<'_>,
) -> Result<DeleteResult, DeletionError> {
    let reference = Reference::Tag(tag.tag.clone());
    let request = delete_request(deletion.repository, &reference);
    let attempt = async || write_once(&registry.sender, &request).await;
    match tag.send(&request.text(), NEEDS, attempt).await? {
        Some(response) => delete_result(&response),
        None => Ok(DeleteResult::Deleted),
    }
}

/// Deletes the tags that still have the digest, at a registry that deletes only digests.
async fn by_digest(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let (tags, mut undeleted) = unchanged(registry, deletion).await;
    let deletion = TagDeletion {
        tags: &tags,
        ..deletion
    };
    if !tags.is_empty() {
        match delete_manifest(registry, deletion).await {
            Ok(more) => undeleted.extend(more),
            Err(error) => undeleted.extend(all(&tags, &error)),
        }
    }
    undeleted
}

/// Deletes the manifest of the tags.
///
/// SECURITY: this deletes the manifest and every tag with its digest. The manifest must be the run's own. Only the tags
/// that are to be deleted may have its digest. If there are too many other tags to compare them, the tags are moved to a
/// placeholder, which no other tag has.
async fn delete_manifest(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<Undeleted, DeletionError> {
    if deletion.may_delete == MayDelete::Tags {
        return Err(DeletionError::NotCreated);
    }
    let others = other_tags(registry, deletion).await;
    match others.map_err(DeletionError::Unlisted)? {
        OtherTags::Many => return Ok(by_placeholder::delete(registry, deletion).await),
        OtherTags::Sharing(others) if !others.is_empty() => {
            return Err(DeletionError::Shared(others));
        }
        OtherTags::Sharing(_) => (),
    }
    // A repeat removes the same manifest. Only the run that created it gets here.
    match delete_digest(registry, deletion.repository, deletion.digest).await? {
        DeleteResult::Deleted | DeleteResult::Absent => Ok(Undeleted::new()),
        DeleteResult::Unsupported => Err(DeletionError::unsupported(deletion.repository)),
    }
}
