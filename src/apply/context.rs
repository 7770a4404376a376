//! The parts that every step of a run shares: registry client, retry policy, events and mode.

use std::future::Future;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApplyError;
use crate::domain::{
    Digest, Events, FullTag, Manifest, MediaType, Reference, Repository, RetryPolicy, TagContent,
};
use crate::failure::chain_text;
use crate::inputs::Mode;
use crate::registry::{Registry, RegistryError, Stored};

/// The dependencies of a run's steps.
#[derive(Debug)]
pub struct Context {
    /// The registry client.
    pub registry: Registry,
    /// The retry policy.
    pub retry_policy: RetryPolicy,
    /// The receiver of the run's events.
    pub events: Events,
    /// The mode, which decides if anything may be changed.
    pub mode: Mode,
    /// The permit to keep a long list in memory, so many long lists take no more memory than one.
    pub long_lists: LongLists,
}

/// A semaphore with one permit: only one long list is in memory at a time.
#[derive(Debug)]
pub struct LongLists(Semaphore);

impl Default for LongLists {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl LongLists {
    /// Waits for the permit. A task that has it must not request it again.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so this always succeeds.
        self.0.acquire().await.ok()
    }
}

impl Context {
    /// Fetches the manifest of a digest, with retries while it is absent. Absence after the last try is an error.
    pub(super) async fn manifest_present(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Manifest, ApplyError> {
        let reference = Reference::Digest(digest.clone());
        let look = || self.registry.manifest(repository, &reference);
        let found = self
            .until_present(&repository.at(digest).to_string(), look)
            .await?;
        found.ok_or_else(|| ApplyError::MissingChild {
            image: Box::new(repository.at(digest)),
        })
    }

    /// Reads the content of a tag.
    pub(super) async fn tagged(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        self.registry.tag_content(tag).await
    }

    /// Checks that a digest exists, with retries while it is absent.
    pub(super) async fn child_present(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), ApplyError> {
        let reference = Reference::Digest(digest.clone());
        let look = || self.registry.manifest_digest(repository, &reference);
        let found = self
            .until_present(&repository.at(digest).to_string(), look)
            .await?;
        found.map(drop).ok_or_else(|| ApplyError::MissingChild {
            image: Box::new(repository.at(digest)),
        })
    }

    /// Calls `look` until it finds something or the tries are used up. An error ends the calls at once: the registry
    /// client has already retried what can be retried.
    pub(super) async fn until_present<T, E, F>(
        &self,
        what: &str,
        look: impl Fn() -> F,
    ) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        for attempt in 1..=self.retry_policy.max_attempts {
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            if attempt < self.retry_policy.max_attempts {
                self.pause(what, "it is not there yet").await;
            }
        }
        Ok(None)
    }

    /// Stores a manifest. If the registry reports missing parts, `copy` copies them again and the push is retried as
    /// the retry policy says. Parts that were uploaded a moment ago may not be visible yet.
    pub(super) async fn store<E: From<RegistryError>>(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
        copy: impl AsyncFn() -> Result<(), E>,
    ) -> Result<Stored, E> {
        let mut attempt = 1;
        loop {
            match self
                .registry
                .put_manifest(repository, reference, media_type, bytes)
                .await
            {
                Err(error) if error.lacks_parts() && attempt < self.retry_policy.max_attempts => {
                    let what = format!("{repository} {reference}");
                    self.pause(&what, &chain_text(&error)).await;
                    copy().await?;
                    attempt += 1;
                }
                stored => return stored.map_err(E::from),
            }
        }
    }

    /// Stores an index whose children were found in this run.
    pub(super) async fn store_index(
        &self,
        repository: &Repository,
        reference: &Reference,
        index: &Manifest,
    ) -> Result<(), RegistryError> {
        let copy = async || Ok(());
        self.store(
            repository,
            reference,
            index.media_type(),
            index.bytes(),
            copy,
        )
        .await
        .map(drop)
    }

    /// Waits for the delay of the retry policy, plus or minus a tenth, so parallel jobs retry at different times.
    pub(super) async fn pause(&self, what: &str, why: &str) {
        let wait = self
            .retry_policy
            .delay
            .mul_f64(0.9 + 0.2 * fastrand::f64())
            .min(self.retry_policy.max_delay);
        self.events.retry(what, why, wait);
        tokio::time::sleep(wait).await;
    }
}
