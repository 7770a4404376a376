//! Deletes tags at a registry that deletes only digests, without a look at its other tags: each tag is moved to the
//! placeholder, whose digest is deleted. The manifest that the tags had stays.
//!
//! Source: `scheme/reg/tag.go` of regclient/regclient, which deletes a tag in this way.

use super::checked_tag::CheckedTag;
use super::delete_request::{DeleteResult, delete_digest};
use super::undeleted::{DeletionError, TagDeletion, Undeleted, all};
use crate::domain::{FullTag, Reference, Repository, Tag};
use crate::registry::client::Registry;
use crate::registry::placeholder::{
    PLACEHOLDER, PLACEHOLDER_TYPE, is_placeholder, placeholder_digest,
};
use crate::registry::{Probe, Replaced, TagRead, WriteRule};

/// Deletes the tags.
pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    // A tag that points to the placeholder is of no use to anybody, so the registry must be able to delete it.
    if let Err(error) = check_deletable(registry, deletion.repository).await {
        return all(deletion.tags, &error);
    }
    let replace = async |tag| replace(registry, deletion, tag).await;
    let (mut replaced, mut undeleted) = (Vec::new(), Undeleted::new());
    for (tag, result) in CheckedTag::each(registry, deletion, replace).await {
        match result {
            Ok(()) => replaced.push(tag),
            Err(error) => undeleted.push((tag, error)),
        }
    }
    // A write that failed may have succeeded nevertheless, so this is done in any case.
    undeleted.extend(delete_placeholder(registry, deletion.repository, &replaced).await);
    undeleted
}

/// Deletes the placeholder if a tag in `undeleted` still points to it, because an earlier cleanup was cut short.
pub(super) async fn finish(
    registry: &Registry,
    repository: &Repository,
    mut undeleted: Undeleted,
) -> Undeleted {
    let is_left = |(_, error): &mut (Tag, DeletionError)| matches!(error, DeletionError::Changed(Some(digest)) if is_placeholder(digest));
    let left: Vec<Tag> = undeleted
        .extract_if(.., is_left)
        .map(|(tag, _)| tag)
        .collect();
    if !left.is_empty() {
        undeleted.extend(delete_placeholder(registry, repository, &left).await);
    }
    undeleted
}

/// Checks that the registry stores the placeholder and deletes it again.
async fn check_deletable(
    registry: &Registry,
    repository: &Repository,
) -> Result<(), DeletionError> {
    let digest = placeholder_digest();
    let unsupported = || DeletionError::unsupported(repository);
    // A registry without deletions gets no placeholder.
    if delete_digest(registry, repository, &digest).await? == DeleteResult::Unsupported {
        return Err(unsupported());
    }
    let reference = Reference::Digest(digest.clone());
    let put = registry.put_manifest(repository, &reference, &PLACEHOLDER_TYPE, PLACEHOLDER);
    put.await
        .map_err(|error| DeletionError::Unreplaced(error.kind))?;
    match delete_digest(registry, repository, &digest).await? {
        DeleteResult::Deleted => Ok(()),
        DeleteResult::Absent | DeleteResult::Unsupported => Err(unsupported()),
    }
}

/// Moves a tag to the placeholder, if it is unchanged.
async fn replace(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: CheckedTag<'_>,
) -> Result<(), DeletionError> {
    let full_tag = FullTag {
        repository: deletion.repository.clone(),
        tag: tag.tag.clone(),
    };
    let rule = WriteRule {
        held: Some(deletion.digest),
        read: TagRead::Earlier,
        probe: Probe::Nothing,
    };
    let put = registry.replace_tag(&full_tag, rule, &PLACEHOLDER_TYPE, PLACEHOLDER);
    match put.await {
        Ok(Replaced::Written(_)) => Ok(()),
        Ok(Replaced::HeldOther) => {
            tag.check().await?;
            Err(DeletionError::Changed(Some(deletion.digest.clone())))
        }
        Err(error) => Err(DeletionError::Unreplaced(error.kind)),
    }
}

/// Deletes the placeholder with its tags.
async fn delete_placeholder(
    registry: &Registry,
    repository: &Repository,
    tags: &[Tag],
) -> Undeleted {
    let error = match delete_digest(registry, repository, &placeholder_digest()).await {
        Ok(DeleteResult::Deleted | DeleteResult::Absent) => return Undeleted::new(),
        Ok(DeleteResult::Unsupported) => DeletionError::unsupported(repository),
        Err(error) => error,
    };
    all(tags, &DeletionError::PlaceholderLeft(Box::new(error)))
}
