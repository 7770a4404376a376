//! The parts that all steps of a run share: registry client, retry policy, events and mode, limits, the errors of images,
//! and the writer of the record. It knows no command.

mod image_error;
mod read_context;
mod record_reader;
mod record_writer;

use std::ops::Deref;

use crate::domain::{
    Events, FullTag, Manifest, MediaType, Reference, Repository, RetryPolicy, chain_text,
};
use crate::inputs::Mode;
use crate::registry::{
    Registry, RegistryError, RegistryReader, Replaced, Stored, TagRead, WriteRule,
};

pub use image_error::ImageError;
use read_context::LongLists;
pub use read_context::ReadContext;
pub(crate) use read_context::{DEPTH_MAX, REQUESTS_PARALLEL, TOTAL_MAX};
pub use record_reader::RecordReader;
pub use record_writer::RecordWriter;

/// The dependencies of a run's steps: those of a [`ReadContext`], and the means to write.
#[derive(Debug)]
pub struct Context {
    reading: ReadContext,
    /// The registry client.
    pub registry: Registry,
    /// The mode, which decides if anything may be changed.
    pub mode: Mode,
}

impl Deref for Context {
    type Target = ReadContext;

    fn deref(&self) -> &ReadContext {
        &self.reading
    }
}

impl Context {
    /// Builds the context. Its reading half reads with the same client.
    #[must_use]
    pub fn new(registry: Registry, retry_policy: RetryPolicy, events: Events, mode: Mode) -> Self {
        let reading = ReadContext {
            registry: RegistryReader::clone(&registry),
            retry_policy,
            events,
            long_lists: LongLists::default(),
        };
        Self {
            reading,
            registry,
            mode,
        }
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

    /// Stores a manifest under a tag that others write too, if the rule permits it. If the registry
    /// reports missing parts, `copy` copies them again, like [`Self::store`].
    pub(crate) async fn replace_tag<E: From<RegistryError>>(
        &self,
        tag: &FullTag,
        mut rule: WriteRule<'_>,
        media_type: &MediaType,
        bytes: &[u8],
        copy: impl AsyncFn() -> Result<(), E>,
    ) -> Result<Replaced, E> {
        let mut attempt = 1;
        loop {
            match self
                .registry
                .replace_tag(tag, rule, media_type, bytes)
                .await
            {
                Err(error) if error.lacks_parts() && attempt < self.retry_policy.max_attempts => {
                    self.pause(&tag.to_string(), &chain_text(&error)).await;
                    copy().await?;
                    rule.read = TagRead::Earlier;
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
}
