//! What every step of a run shares: the registry, the patience, the voice, the record.

use std::future::Future;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApplyError;
use crate::domain::{
    Digest, Events, FullTag, Manifest, MediaType, Patience, Reference, Repository, TagContent,
};
use crate::failure::chain_text;
use crate::inputs::Mode;
use crate::registry::{Registry, RegistryError, Stored};

/// The things that a run's steps need.
#[derive(Debug)]
pub struct Context {
    /// The registry client.
    pub registry: Registry,
    /// The retry policy.
    pub patience: Patience,
    /// Who hears what happens.
    pub events: Events,
    /// Whether anything may be changed.
    pub mode: Mode,
    /// Held by who holds a long list, so that many of them take no more memory than one.
    pub long_lists: LongLists,
}

/// The right to hold a long list: one at a time has it.
#[derive(Debug)]
pub struct LongLists(Semaphore);

impl Default for LongLists {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl LongLists {
    /// Waits until nobody holds one. Whoever has this right asks for it no second time.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed, so that there is always a turn to wait for.
        self.0.acquire().await.ok()
    }
}

impl Context {
    /// The manifest of a digest that must be there.
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

    /// What a tag holds.
    pub(super) async fn tagged(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        self.registry.tag_content(tag).await
    }

    /// Sees that a digest is there.
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

    /// Looks for something until it is there, or the tries are used up. A fault ends it at once: the registry client
    /// has retried what can be.
    pub(super) async fn until_present<T, E, F>(
        &self,
        what: &str,
        look: impl Fn() -> F,
    ) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        for attempt in 1..=self.patience.max_attempts {
            if let Some(found) = look().await? {
                return Ok(Some(found));
            }
            if attempt < self.patience.max_attempts {
                self.pause(what, "it is not there yet").await;
            }
        }
        Ok(None)
    }

    /// Stores a manifest. Where the registry says that it lacks what the manifest points to, `bring` brings that again, and
    /// it is tried again, as the retry policy says: what was uploaded a moment ago may not be visible yet.
    pub(super) async fn store<E: From<RegistryError>>(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
        bring: impl AsyncFn() -> Result<(), E>,
    ) -> Result<Stored, E> {
        let mut attempt = 1;
        loop {
            match self
                .registry
                .put_manifest(repository, reference, media_type, bytes)
                .await
            {
                Err(error) if error.lacks_parts() && attempt < self.patience.max_attempts => {
                    let what = format!("{repository} {reference}");
                    self.pause(&what, &chain_text(&error)).await;
                    bring().await?;
                    attempt += 1;
                }
                stored => return stored.map_err(E::from),
            }
        }
    }

    /// Stores an index whose children were seen in this run.
    pub(super) async fn store_index(
        &self,
        repository: &Repository,
        reference: &Reference,
        index: &Manifest,
    ) -> Result<(), RegistryError> {
        let bring = async || Ok(());
        self.store(
            repository,
            reference,
            index.media_type(),
            index.bytes(),
            bring,
        )
        .await
        .map(drop)
    }

    /// Waits as long as the world is given to settle, give or take a tenth so that parallel jobs part ways.
    pub(super) async fn pause(&self, what: &str, why: &str) {
        let wait = self
            .patience
            .delay
            .mul_f64(0.9 + 0.2 * fastrand::f64())
            .min(self.patience.max_delay);
        self.events.retry(what, why, wait);
        tokio::time::sleep(wait).await;
    }
}
