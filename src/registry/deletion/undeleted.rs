//! The tags to delete, and the reasons why some were not deleted.

use crate::domain::{Digest, Repository, Tag};
use crate::http::Response;
use crate::registry::error::RegistryErrorKind;

/// Tags with the same digest that are all to be deleted.
#[derive(Debug, Clone, Copy)]
pub struct TagDeletion<'a> {
    /// The repository of the tags.
    pub repository: &'a Repository,
    /// The digest of the tags.
    pub digest: &'a Digest,
    /// The tags. This module ensures that no other tag is deleted with them.
    pub tags: &'a [Tag],
    /// The content that may be deleted with them.
    pub may_delete: MayDelete,
}

/// The content that may be deleted if a registry cannot delete a tag alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MayDelete {
    /// Only tags: their manifest may have existed before the run.
    Tags,
    /// The manifest of the tags, too.
    Manifest,
}

/// The reason why a tag was not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeletionError {
    /// The tag does not have the digest of the deletion. Nothing was deleted.
    #[error("the tag has other content")]
    Changed(
        /// Its digest; `None` if the tag does not exist.
        Option<Digest>,
    ),
    /// The tag cannot be read. Nothing was deleted.
    #[error(transparent)]
    Unread(RegistryErrorKind),
    /// The registry cannot delete the tag, or deletion is disabled.
    #[error("`{host}` does not support the deletion of tags")]
    Unsupported {
        /// The registry.
        host: String,
    },
    /// The required credentials are missing.
    #[error("the deletion requires {0}, and none is given")]
    Missing(&'static str),
    /// The credentials lack a permission.
    #[error("the deletion requires {needs}")]
    Denied {
        /// The permission that is most likely missing.
        needs: &'static str,
        /// The error response.
        #[source]
        kind: RegistryErrorKind,
    },
    /// The service refused the deletion, or its response was not understood.
    #[error(transparent)]
    Refused(RegistryErrorKind),
    /// The deletion would remove content that may have existed before the run.
    #[error(
        "it can only be deleted together with its image, and the record does not state that the run created the image: it may have existed before"
    )]
    NotCreated,
    /// The deletion would remove other tags.
    #[error("it can only be deleted together with {}, which point to the same image", names(.0))]
    Shared(Vec<String>),
    /// The deletion may remove other tags, which cannot be listed.
    #[error(
        "it can only be deleted together with all tags that point to the same image, and these tags cannot be listed"
    )]
    Unlisted(#[source] RegistryErrorKind),
    /// The registry deletes only digests, and the tag could not be moved to the placeholder.
    #[error(
        "the registry deletes no tag but only images, and the tag could not be moved to an empty index to delete that"
    )]
    Unreplaced(#[source] RegistryErrorKind),
    /// The tag points to the placeholder, which could not be deleted.
    #[error(
        "it points to an empty index now, which could not be deleted; `cleanup` with the same record deletes it"
    )]
    PlaceholderLeft(#[source] Box<Self>),
    /// The deletion would remove the tags of signatures, and these cannot be read to restore them later.
    #[error(
        "its deletion would also delete the tags of its signatures, and their content cannot be read"
    )]
    Unseen(#[source] RegistryErrorKind),
}

impl DeletionError {
    pub(super) fn unsupported(repository: &Repository) -> Self {
        let host = repository.host().to_string();
        Self::Unsupported { host }
    }
}

/// Tags that were not deleted, each with the reason. Tags that are gone, or whose state only a later read can decide,
/// are not listed.
pub type Undeleted = Vec<(Tag, DeletionError)>;

/// Classifies a refusal: as a missing permission, or as another refusal.
pub(super) fn refused(kind: RegistryErrorKind, needs: &'static str) -> DeletionError {
    let refusal = kind.refusal();
    let is_denial = refusal.is_some_and(|refusal| {
        let is_aws = refusal.has_code("AccessDeniedException");
        (matches!(refusal.status, 401 | 403) || is_aws) && !refusal.is_throttling()
    });
    if is_denial {
        DeletionError::Denied { needs, kind }
    } else {
        DeletionError::Refused(kind)
    }
}

/// Reads the response to a deletion; `None` stands for a tag that an earlier attempt deleted. A later read of the registry
/// decides whether the tag is gone.
pub(super) fn deleted(
    response: Option<Response>,
    needs: &'static str,
) -> Result<(), DeletionError> {
    match response {
        Some(response) if !matches!(response.status.as_u16(), 200 | 202 | 204 | 404) => {
            Err(refused(RegistryErrorKind::refused(&response), needs))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns the same error for all tags.
pub(super) fn all(tags: &[Tag], error: &DeletionError) -> Undeleted {
    let tags = tags.iter();
    tags.map(|tag| (tag.clone(), error.clone())).collect()
}

fn names(tags: &[String]) -> String {
    let names: Vec<String> = tags.iter().take(10).map(|tag| format!("`{tag}`")).collect();
    match tags.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
