//! Copies the parts of an image or index that a repository lacks, leaves first. A manifest is stored after everything
//! that it points to, so every visible manifest can be pulled. An interrupted copy is continued: existing parts are not
//! copied again.

mod position;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::CopyError;
use super::source::Source;
use crate::context::{Context, DEPTH_MAX, ImageError, REQUESTS_PARALLEL, TOTAL_MAX};
use crate::domain::{Descriptor, Digest, Manifest, Reference, Repository, Tag, chain_text};
use crate::outcome::CopiedContent;
use crate::plan::Vouched;
use crate::registry::RegistryError;
use position::{IfAbsent, InFlight, Part, Position, listed, parts};

/// The maximum number of concurrent blob copies. Large blobs among them wait for memory.
const COPIES_MAX: usize = 32;
/// The size up to which blobs of an image that is new to the destination are copied without a check. Copying such a
/// blob takes no longer than the check.
const UNCHECKED_MAX_BYTES: u64 = 64 * 1024;

/// Copies images and indexes into one repository. Each manifest and blob is copied once, even if several tasks request
/// it at the same time.
pub(crate) struct Copier<'a> {
    context: &'a Context,
    from: Vec<&'a Source>,
    to: &'a Repository,
    check: DestinationCheck,
    on_creation: Option<OnCreation<'a>>,
    /// Manifests that were already read at a source, kept until they are needed.
    known: RefCell<BTreeMap<Digest, Manifest>>,
    /// Descriptors of the manifests that were read.
    read: RefCell<BTreeMap<Digest, Descriptor>>,
    /// The manifests that the repository is known to have.
    existing: RefCell<BTreeSet<Digest>>,
    manifests: InFlight,
    blobs: InFlight,
    copies: Semaphore,
    copied: RefCell<CopiedContent>,
    /// The names of sources that returned an error.
    failed: RefCell<BTreeSet<String>>,
}

/// A callback for each manifest that the repository lacks, called right before the manifest is stored.
pub(crate) type OnCreation<'a> = &'a dyn Fn(&Digest) -> Result<(), CopyError>;

/// The checks on a manifest that the destination already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DestinationCheck {
    /// Its parts are not checked: registries accept a manifest only after its parts.
    RootOnly,
    /// Its parts are not checked, and denied requests count as absence. A repository that nobody has pushed to may be
    /// denied as a whole. Denied content is pushed; a push by digest does not change existing content.
    AssumeAbsent,
    /// Each part is checked: garbage collection may have deleted one since the push.
    Deep,
}

impl<'a> Copier<'a> {
    /// Creates a copier from `from`, tried in this order, to `to`.
    pub(crate) fn new(
        context: &'a Context,
        from: &'a [Source],
        to: &'a Repository,
        check: DestinationCheck,
    ) -> Self {
        Self {
            context,
            from: from.iter().collect(),
            to,
            check,
            on_creation: None,
            known: RefCell::default(),
            read: RefCell::default(),
            existing: RefCell::default(),
            manifests: InFlight::default(),
            blobs: InFlight::default(),
            copies: Semaphore::new(COPIES_MAX),
            copied: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// Calls `on_creation` with each manifest right before it is stored.
    pub(crate) fn on_creation(self, on_creation: OnCreation<'a>) -> Self {
        Self {
            on_creation: Some(on_creation),
            ..self
        }
    }

    /// Notes that the repository has a manifest, so no request checks it. This does not cover its parts.
    pub(crate) fn note_existing(&self, digest: &Digest) {
        self.existing.borrow_mut().insert(digest.clone());
    }

    /// Notes a manifest that was already read at a source.
    pub(crate) fn note_read(&self, manifest: &Manifest) {
        let (digest, manifest) = (manifest.digest().clone(), manifest.clone());
        self.known.borrow_mut().insert(digest, manifest);
    }

    /// Copies `image` and everything in it that the repository lacks.
    pub(crate) async fn copy(&self, image: &Vouched<Manifest>) -> Result<(), CopyError> {
        self.copy_from(&self.from, image.digest()).await
    }

    /// Copies `digest` and everything in it that the repository lacks, from these sources alone.
    pub(crate) async fn copy_from(
        &self,
        from: &[&Source],
        digest: &Digest,
    ) -> Result<(), CopyError> {
        let count = Cell::new(0);
        let position = Position::first(digest, &count, from, IfAbsent::Retry);
        self.copy_manifest_once(digest, position).await
    }

    /// Copies `digest` and everything in it that the repository lacks, vouched for or not.
    #[cfg(test)]
    pub(crate) async fn copy_any(&self, digest: &Digest) -> Result<(), CopyError> {
        self.copy_from(&self.from, digest).await
    }

    /// Copies all of `children` concurrently.
    ///
    /// SECURITY: they are vouched for. Anyone with push access to one repository can name a digest of another there.
    pub(crate) async fn copy_all(
        &self,
        children: impl IntoIterator<Item = Vouched<Descriptor>>,
    ) -> Result<(), CopyError> {
        let copies = children
            .into_iter()
            .map(|child| async move { self.copy_from(&self.from, &child.digest).await });
        try_join_all(copies).await.map(drop)
    }

    /// Notes that a tag with a list of referrers was written.
    pub(crate) fn note_list(&self, tag: &Tag) {
        let mut copied = self.copied.borrow_mut();
        copied.lists.insert(tag.to_string());
    }

    /// Copies a manifest that the lists of these sources name, and that may not exist. Returns the reason if it is left
    /// out: none of them has it, or no client can use it. A failed request is an error.
    ///
    /// SECURITY: the writer of a list can name parts of which they know only the digest. Other sources do not provide
    /// them.
    pub(crate) async fn copy_listed(
        &self,
        from: &[&Source],
        digest: &Digest,
    ) -> Result<Option<String>, CopyError> {
        let count = Cell::new(0);
        let position = Position::first(digest, &count, from, IfAbsent::Skip);
        match self.copy_manifest_once(digest, position).await {
            Ok(()) => Ok(None),
            Err(CopyError::Image(ImageError::NotAtSource { parent: None, .. })) => {
                Ok(Some("it was not found".to_owned()))
            }
            Err(error) if error.is_about_content() => Ok(Some(chain_text(&error))),
            Err(error) => Err(error),
        }
    }

    /// Copies the layers of `manifest` that the repository lacks, from these sources.
    pub(crate) async fn copy_layers(
        &self,
        from: &[&Source],
        manifest: &Manifest,
    ) -> Result<(), CopyError> {
        let count = Cell::new(0);
        let root = Position::first(manifest.digest(), &count, from, IfAbsent::Retry);
        let inside = root.inside(manifest.digest(), true);
        self.copy_parts(listed(manifest), inside).await
    }

    /// Returns every manifest that was visited, including those below the requested ones.
    pub(crate) fn seen(&self) -> Vec<Digest> {
        self.manifests.seen()
    }

    /// Returns the descriptor of a manifest, if it was read.
    pub(crate) fn described(&self, digest: &Digest) -> Option<Descriptor> {
        self.read.borrow().get(digest).cloned()
    }

    /// Reports whether this manifest was missing and has been copied.
    pub(crate) fn has_copied(&self, manifest: &Digest) -> bool {
        self.copied.borrow().manifests.contains(manifest)
    }

    /// Returns the content that was copied so far, also by a failed call.
    pub(crate) fn copied(&self) -> CopiedContent {
        self.copied.borrow().clone()
    }

    /// Copies a manifest once. No task waits for itself: a manifest cannot contain its own digest at any depth, and
    /// digests are verified.
    fn copy_manifest_once<'b>(
        &'b self,
        digest: &'b Digest,
        position: Position<'b>,
    ) -> LocalBoxFuture<'b, Result<(), CopyError>> {
        Box::pin(async move {
            if position.depth > DEPTH_MAX {
                return Err(ImageError::TooDeep {
                    digest: position.root.clone(),
                    limit: DEPTH_MAX,
                }
                .into());
            }
            let once = self.manifests.of(digest);
            once.get_or_try_init(|| self.copy_manifest(digest, position))
                .await
                .copied()
        })
    }

    async fn copy_manifest<'b>(
        &'b self,
        digest: &'b Digest,
        position: Position<'b>,
    ) -> Result<(), CopyError> {
        // The image itself does not count as a child.
        let children = position.count.replace(position.count.get() + 1);
        if children > TOTAL_MAX {
            return Err(ImageError::OddIndex {
                digest: position.root.clone(),
                children,
            }
            .into());
        }
        let reference = Reference::Digest(digest.clone());
        let is_there = self.is_there(digest, &reference).await?;
        if is_there
            && matches!(
                self.check,
                DestinationCheck::RootOnly | DestinationCheck::AssumeAbsent
            )
        {
            return Ok(());
        }
        let read_at_source = || self.find(digest, is_there, position.from);
        let found = match position.if_absent {
            IfAbsent::Retry => {
                let what = digest.to_string();
                self.context.until_present(&what, read_at_source).await?
            }
            IfAbsent::Skip => read_at_source().await?,
        };
        let manifest = found.ok_or_else(|| not_at_source(digest, position))?;
        self.read
            .borrow_mut()
            .insert(digest.clone(), manifest.descriptor());
        let inside = position.inside(digest, is_there);
        self.copy_parts(parts(&manifest), inside).await?;
        if !is_there {
            let copy_parts_again = async || {
                self.forget_parts(&manifest);
                self.copy_parts(parts(&manifest), inside).await
            };
            if let Some(on_creation) = self.on_creation {
                on_creation(digest)?;
            }
            let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
            self.context
                .store(self.to, &reference, media_type, bytes, copy_parts_again)
                .await?;
            self.copied.borrow_mut().manifests.insert(digest.clone());
        }
        Ok(())
    }

    async fn is_there(&self, digest: &Digest, reference: &Reference) -> Result<bool, CopyError> {
        if self.existing.borrow().contains(digest) {
            return Ok(true);
        }
        let registry = &self.context.registry;
        let existing = registry.manifest_digest(self.to, reference).await;
        self.treat_denied_as_absent(existing.map(|digest| digest.is_some()))
    }

    /// Reads the manifest from the first source that has it. A destination that has it is the last source: its copy is
    /// good enough to find the parts that must exist.
    async fn find(
        &self,
        digest: &Digest,
        is_there: bool,
        from: &[&Source],
    ) -> Result<Option<Manifest>, CopyError> {
        let known = self.known.borrow_mut().remove(digest);
        if known.is_some() {
            return Ok(known);
        }
        let mut first_error = None;
        let destination = is_there.then(|| Source::from(self.to.clone()));
        for source in self.sources_in_order(from).chain(&destination) {
            match source.manifest(self.context, digest).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) => (),
                Err(error) => {
                    self.demote_source(source, &error);
                    first_error = first_error.or(Some(error));
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    async fn copy_parts<'b>(
        &'b self,
        parts: impl Iterator<Item = Part<'b>>,
        position: Position<'b>,
    ) -> Result<(), CopyError> {
        let parts = parts.map(|part| async move {
            match part {
                Part::Manifest(child) => self.copy_manifest_once(&child.digest, position).await,
                Part::Blob(blob) => {
                    let once = self.blobs.of(&blob.digest);
                    once.get_or_try_init(|| self.copy_blob(blob, position))
                        .await
                        .copied()
                }
            }
        });
        // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
        stream::iter(parts.collect::<Vec<_>>())
            .buffer_unordered(REQUESTS_PARALLEL)
            .try_collect()
            .await
    }

    /// Forgets the parts of a manifest that the registry reported as missing, so they are checked again.
    fn forget_parts(&self, manifest: &Manifest) {
        for part in parts(manifest) {
            match part {
                Part::Manifest(child) => self.manifests.forget(&child.digest),
                Part::Blob(blob) => self.blobs.forget(&blob.digest),
            }
        }
    }

    async fn copy_blob(&self, blob: &Descriptor, position: Position<'_>) -> Result<(), CopyError> {
        let registry = &self.context.registry;
        let is_likely_there =
            !position.is_new || blob.size > UNCHECKED_MAX_BYTES || blob.is_foreign();
        let is_at_destination = async || {
            let existing = registry.has_blob(self.to, &blob.digest).await;
            self.treat_denied_as_absent(existing)
        };
        if is_likely_there && is_at_destination().await? {
            return Ok(());
        }
        // The semaphore is never closed, so this always succeeds.
        let _permit = self.copies.acquire().await.ok();
        let mut first_error = None;
        for source in self.sources_in_order(position.from) {
            match source.copy_blob(self.context, self.to, blob).await {
                Ok(true) => {
                    let mut copied = self.copied.borrow_mut();
                    copied.blobs.insert(blob.digest.clone());
                    return Ok(());
                }
                Ok(false) => (),
                // Another source cannot help if the destination fails.
                Err(CopyError::Registry(error)) if error.is_write() => {
                    return Err(CopyError::Registry(error));
                }
                Err(error) => {
                    self.demote_source(source, &error);
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None if blob.is_foreign() => Ok(()),
            None => Err(not_at_source(&blob.digest, position)),
        }
    }

    /// Returns the answer of the destination. If the repository may be new, a denied request counts as absence.
    fn treat_denied_as_absent(
        &self,
        is_there: Result<bool, RegistryError>,
    ) -> Result<bool, CopyError> {
        match is_there {
            Err(error) if self.check == DestinationCheck::AssumeAbsent && error.is_denied() => {
                Ok(false)
            }
            is_there => Ok(is_there?),
        }
    }

    /// Returns these sources, with those that returned an error last.
    fn sources_in_order<'b>(
        &self,
        from: &[&'b Source],
    ) -> impl Iterator<Item = &'b Source> + use<'b> {
        let failed = self.failed.borrow().clone();
        let is_last = move |source: &&Source| failed.contains(&source.name());
        let (last, first): (Vec<_>, Vec<_>) = from.iter().copied().partition(is_last);
        first.into_iter().chain(last)
    }

    fn demote_source(&self, source: &Source, error: &CopyError) {
        let is_new = self.failed.borrow_mut().insert(source.name());
        if is_new && self.from.len() > 1 {
            let (name, why) = (source.name(), chain_text(error));
            let text = format!("`{name}` is tried last from now on: {why}");
            self.context.events.warn(text);
        }
    }
}

fn not_at_source(digest: &Digest, position: Position<'_>) -> CopyError {
    ImageError::NotAtSource {
        digest: digest.clone(),
        parent: position.parent.cloned(),
        sources: position.from.iter().map(|source| source.name()).collect(),
    }
    .into()
}
