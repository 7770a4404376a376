//! The parts that all steps of a run share: registry client, retry policy, events and mode, limits, the errors of images,
//! and the writer of the record. It knows no command.

mod image_error;
mod record_reader;
mod record_writer;

use std::future::Future;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::{
    Digest, Events, FullTag, Manifest, MediaType, Reference, Repository, RetryPolicy, TagContent,
    chain_text,
};
use crate::inputs::Mode;
use crate::registry::{Registry, RegistryError, Replaced, Stored, TagRead};

pub use image_error::ImageError;
pub use record_reader::RecordReader;
pub use record_writer::RecordWriter;

/// The maximum number of concurrent requests.
pub(crate) const PARALLEL: usize = 16;
/// The maximum depth of nested indexes.
pub(crate) const DEPTH_MAX: usize = 4;
/// The maximum number of manifests in one index, at all depths.
pub(crate) const TOTAL_MAX: usize = 1000;

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
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so this always succeeds.
        self.0.acquire().await.ok()
    }
}

impl Context {
    /// Reads the content of a tag.
    pub(crate) async fn tagged(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        self.registry.tag_content(tag).await
    }

    /// Calls `look` until it finds something or the tries are used up. An error ends the calls at once: the registry
    /// client has already retried what can be retried.
    pub(crate) async fn until_present<T, E, F>(
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
    pub(crate) async fn store<E: From<RegistryError>>(
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

    /// Stores a manifest under a tag that others write too, if the tag still has the content `held`. If the registry
    /// reports missing parts, `copy` copies them again, like [`Self::store`].
    pub(crate) async fn replace_tag<E: From<RegistryError>>(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        mut read: TagRead,
        media_type: &MediaType,
        bytes: &[u8],
        copy: impl AsyncFn() -> Result<(), E>,
    ) -> Result<Replaced, E> {
        let mut attempt = 1;
        loop {
            match self
                .registry
                .replace_tag(tag, held, read, media_type, bytes)
                .await
            {
                Err(error) if error.lacks_parts() && attempt < self.retry_policy.max_attempts => {
                    self.pause(&tag.to_string(), &chain_text(&error)).await;
                    copy().await?;
                    read = TagRead::Earlier;
                    attempt += 1;
                }
                replaced => return replaced.map_err(E::from),
            }
        }
    }

    /// Stores an index whose children were found in this run.
    pub(crate) async fn store_index(
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
    pub(crate) async fn pause(&self, what: &str, why: &str) {
        let wait = self
            .retry_policy
            .delay
            .mul_f64(0.9 + 0.2 * fastrand::f64())
            .min(self.retry_policy.max_delay);
        self.events.retry(what, why, wait);
        tokio::time::sleep(wait).await;
    }
}
