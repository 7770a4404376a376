//! Deletes tags only while they have the content that is to be removed from them.

use std::cell::Cell;

use futures_util::{StreamExt as _, stream};

use super::undeleted::{DeletionError, TagDeletion, Undeleted, refused};
use crate::domain::{Digest, Reference, Tag};
use crate::http::Response;
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::request_limit::START;

/// A tag that is read before each attempt to delete it. A deletion that is repeated after an error would otherwise remove
/// what another run wrote in the meantime.
#[derive(Clone, Copy)]
pub(super) struct CheckedTag<'a> {
    registry: &'a Registry,
    deletion: TagDeletion<'a>,
    pub(super) tag: &'a Tag,
}

impl<'a> CheckedTag<'a> {
    /// Runs `work` for each tag and returns the results in the order of the tags. No more tags are in work than a host
    /// gets requests at once from the start, so few other requests come between the read of a tag and its deletion.
    pub(super) async fn each<T, Run>(
        registry: &'a Registry,
        deletion: TagDeletion<'a>,
        work: impl Fn(Self) -> Run,
    ) -> Vec<(Tag, Result<T, DeletionError>)>
    where
        Run: Future<Output = Result<T, DeletionError>>,
    {
        let work = deletion.tags.iter().map(|tag| {
            let done = work(Self {
                registry,
                deletion,
                tag,
            });
            async move { (tag.clone(), done.await) }
        });
        // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
        let work: Vec<_> = work.collect();
        stream::iter(work).buffered(START).collect().await
    }

    /// Deletes each tag by itself. Returns those that were not deleted.
    pub(super) async fn delete_each<Run>(
        registry: &'a Registry,
        deletion: TagDeletion<'a>,
        delete_one: impl Fn(Self) -> Run,
    ) -> Undeleted
    where
        Run: Future<Output = Result<(), DeletionError>>,
    {
        let deleted = Self::each(registry, deletion, delete_one).await;
        let deleted = deleted.into_iter();
        deleted
            .filter_map(|(tag, deleted)| Some((tag, deleted.err()?)))
            .collect()
    }

    /// Reads the tag. It is an error if the tag does not have the digest of the deletion.
    pub(super) async fn check(&self) -> Result<(), DeletionError> {
        match self.read().await? {
            Some(digest) if digest == *self.deletion.digest => Ok(()),
            current => Err(DeletionError::Changed(current)),
        }
    }

    /// Sends a deletion with retries, each attempt right after a read of the tag. Returns `None` if an earlier attempt
    /// deleted the tag and its response was lost. `needs` is the permission that the registry may deny.
    pub(super) async fn send(
        &self,
        what: &str,
        needs: &'static str,
        attempt: impl AsyncFn() -> Result<Response, RegistryErrorKind>,
    ) -> Result<Option<Response>, DeletionError> {
        let is_repeat = Cell::new(false);
        let run = || async {
            match self.check().await {
                Ok(()) => (),
                Err(DeletionError::Changed(None)) if is_repeat.get() => return Ok(Ok(None)),
                Err(error) => return Ok(Err(error)),
            }
            is_repeat.set(true);
            attempt().await.map(|response| Ok(Some(response)))
        };
        let sent = self.registry.sender.with_retries(what, run).await;
        sent.map_err(|kind| refused(kind, needs))?
    }

    async fn read(&self) -> Result<Option<Digest>, DeletionError> {
        let reference = Reference::Tag(self.tag.clone());
        let repository = self.deletion.repository;
        let current = self.registry.manifest_digest(repository, &reference).await;
        current.map_err(|error| DeletionError::Unread(error.kind))
    }
}

/// Reads the tags. Returns those that have the digest of the deletion, and the others with the reason.
pub(super) async fn unchanged(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> (Vec<Tag>, Undeleted) {
    let read = CheckedTag::each(registry, deletion, async |tag| tag.check().await).await;
    let (mut tags, mut changed) = (Vec::new(), Undeleted::new());
    for (tag, checked) in read {
        match checked {
            Ok(()) => tags.push(tag),
            Err(error) => changed.push((tag, error)),
        }
    }
    (tags, changed)
}

/// Reads the tags, and returns `error` for those that have the digest of the deletion: nothing can be deleted.
pub(super) async fn refuse_all(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    error: &DeletionError,
) -> Undeleted {
    let (tags, mut undeleted) = unchanged(registry, deletion).await;
    undeleted.extend(tags.into_iter().map(|tag| (tag, error.clone())));
    undeleted
}
