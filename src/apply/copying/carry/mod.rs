//! Brings what a repository lacks of an image or index, leaves first: a manifest is stored once all that it points to is
//! there, so that who finds it can pull it. What was killed half-way is taken up where it stopped: what is there is not
//! copied again.

mod walk;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::source::Source;
use crate::apply::children::{DEPTH_MAX, PARALLEL, TOTAL_MAX};
use crate::apply::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest, Reference, Repository, Tag};
use crate::failure::chain_text;
use crate::registry::RegistryError;
use walk::{Haste, Once, Part, Step, listed, parts};

/// Blobs that are copied at once. More of them share the same line, and each holds memory.
const COPIES_MAX: usize = 6;
/// Blobs of an image that is new to the destination are not asked for first up to here: copying them takes no longer.
const SMALL_MAX_BYTES: u64 = 64 * 1024;

/// Copies images and indexes into one repository. Whatever of it is asked for at once, each manifest and blob is seen to
/// once.
pub(in crate::apply) struct Carrier<'a> {
    context: &'a Context,
    from: &'a [Source],
    to: &'a Repository,
    care: Care,
    on_creation: Option<OnCreation<'a>>,
    /// Manifests that were read at a source already, until they are needed.
    known: RefCell<BTreeMap<Digest, Manifest>>,
    /// What the repository was seen to have.
    there: RefCell<BTreeSet<Digest>>,
    manifests: Once,
    blobs: Once,
    copies: Semaphore,
    brought: RefCell<Brought>,
    /// The names of places that did not answer as they should.
    failed: RefCell<BTreeSet<String>>,
}

/// Hears of each manifest that the repository was seen to lack, right before it is stored there.
pub(in crate::apply) type OnCreation<'a> = &'a dyn Fn(&Digest) -> Result<(), ApplyError>;

/// Whether a manifest that is there stands for all that it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apply) enum Care {
    /// It does: registries take a manifest only once they have its parts.
    Trusting,
    /// It does, where one may look: a repository that nobody has pushed to may be denied whole. What is denied is brought as
    /// if it were not there, which by digest changes nothing that is.
    Blind,
    /// It does not: garbage collection may have taken a part away since, so that each is asked for.
    Healing,
}

/// What the repository lacked and has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::apply) struct Brought {
    /// Images, indexes and artifacts.
    pub(in crate::apply) manifests: BTreeSet<Digest>,
    /// Configs, layers, and whatever else they point to.
    pub(in crate::apply) blobs: BTreeSet<Digest>,
    /// Tags that list what refers to something, and were written.
    pub(in crate::apply) lists: BTreeSet<String>,
}

impl Brought {
    /// Adds what another walk brought.
    pub(in crate::apply) fn add(&mut self, other: &Self) {
        self.manifests.extend(other.manifests.iter().cloned());
        self.blobs.extend(other.blobs.iter().cloned());
        self.lists.extend(other.lists.iter().cloned());
    }
}

impl<'a> Carrier<'a> {
    /// Will copy from `from`, tried in this order, to `to`.
    pub(in crate::apply) fn new(
        context: &'a Context,
        from: &'a [Source],
        to: &'a Repository,
        care: Care,
    ) -> Self {
        Self {
            context,
            from,
            to,
            care,
            on_creation: None,
            known: RefCell::default(),
            there: RefCell::default(),
            manifests: Once::default(),
            blobs: Once::default(),
            copies: Semaphore::new(COPIES_MAX),
            brought: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// Tells `on_creation` of each manifest that it is about to store.
    pub(in crate::apply) fn telling(self, on_creation: OnCreation<'a>) -> Self {
        Self {
            on_creation: Some(on_creation),
            ..self
        }
    }

    /// Notes a manifest that the repository was seen to have, which need not be asked for then. What it points to must.
    pub(in crate::apply) fn note_there(&self, digest: &Digest) {
        self.there.borrow_mut().insert(digest.clone());
    }

    /// Notes a manifest that was read at a source already.
    pub(in crate::apply) fn know(&self, manifest: &Manifest) {
        let (digest, manifest) = (manifest.digest().clone(), manifest.clone());
        self.known.borrow_mut().insert(digest, manifest);
    }

    /// Sees to it that the repository has `digest` and all that belongs in it.
    pub(in crate::apply) async fn bring(&self, digest: &Digest) -> Result<(), ApplyError> {
        let count = Cell::new(0);
        let step = Step::first(digest, &count, Haste::Wait);
        self.see_to_manifest(digest, step).await
    }

    /// The same for many, at once.
    pub(in crate::apply) async fn bring_all(
        &self,
        children: impl IntoIterator<Item = &Descriptor>,
    ) -> Result<(), ApplyError> {
        let children = children.into_iter();
        try_join_all(children.map(|child| self.bring(&child.digest)))
            .await
            .map(drop)
    }

    /// Notes that a tag was written which lists what refers to something.
    pub(in crate::apply) fn note_list(&self, tag: &Tag) {
        let mut brought = self.brought.borrow_mut();
        brought.lists.insert(tag.to_string());
    }

    /// The same for what is only said to be somewhere. Returns why it is left out, where that is so: it is nowhere, or
    /// cannot be used by anybody. What could not be had is an error.
    pub(in crate::apply) async fn bring_listed(
        &self,
        digest: &Digest,
    ) -> Result<Option<String>, ApplyError> {
        let count = Cell::new(0);
        let step = Step::first(digest, &count, Haste::Leave);
        match self.see_to_manifest(digest, step).await {
            Ok(()) => Ok(None),
            Err(ApplyError::NotAtSource { parent: None, .. }) => {
                Ok(Some("it is not there".to_owned()))
            }
            Err(error) if error.is_about_content() => Ok(Some(chain_text(&error))),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that the repository has the layers of `manifest`.
    pub(in crate::apply) async fn bring_layers(
        &self,
        manifest: &Manifest,
    ) -> Result<(), ApplyError> {
        let count = Cell::new(0);
        let root = Step::first(manifest.digest(), &count, Haste::Wait);
        let inside = root.inside(manifest.digest(), true);
        self.bring_parts(listed(manifest), inside).await
    }

    /// Every manifest that was come across, below what was asked for too.
    pub(in crate::apply) fn seen(&self) -> Vec<Digest> {
        self.manifests.seen()
    }

    /// Whether this manifest was lacking, and is there now.
    pub(in crate::apply) fn has_brought(&self, manifest: &Digest) -> bool {
        self.brought.borrow().manifests.contains(manifest)
    }

    /// What was brought so far, also by a call that has failed.
    pub(in crate::apply) fn brought(&self) -> Brought {
        self.brought.borrow().clone()
    }

    /// Nobody waits here for itself: a manifest cannot hold its own digest, however deep, and digests are checked.
    fn see_to_manifest<'b>(
        &'b self,
        digest: &'b Digest,
        step: Step<'b>,
    ) -> LocalBoxFuture<'b, Result<(), ApplyError>> {
        Box::pin(async move {
            if step.depth > DEPTH_MAX {
                return Err(ApplyError::TooDeep {
                    digest: step.root.clone(),
                    limit: DEPTH_MAX,
                });
            }
            let once = self.manifests.of(digest);
            once.get_or_try_init(|| self.bring_manifest(digest, step))
                .await
                .copied()
        })
    }

    async fn bring_manifest<'b>(
        &'b self,
        digest: &'b Digest,
        step: Step<'b>,
    ) -> Result<(), ApplyError> {
        // The image itself is no child.
        let children = step.count.replace(step.count.get() + 1);
        if children > TOTAL_MAX {
            return Err(ApplyError::OddIndex {
                digest: step.root.clone(),
                children,
            });
        }
        let reference = Reference::Digest(digest.clone());
        let is_there = self.is_there(digest, &reference).await?;
        if is_there && matches!(self.care, Care::Trusting | Care::Blind) {
            return Ok(());
        }
        let look = || self.find(digest, is_there);
        let found = match step.haste {
            Haste::Wait => {
                let what = digest.to_string();
                self.context.until_present(&what, look).await?
            }
            Haste::Leave => look().await?,
        };
        let manifest = found.ok_or_else(|| self.lost(digest, step.parent))?;
        let inside = step.inside(digest, is_there);
        self.bring_parts(parts(&manifest), inside).await?;
        if !is_there {
            let bring_again = async || {
                self.forget_parts(&manifest);
                self.bring_parts(parts(&manifest), inside).await
            };
            if let Some(on_creation) = self.on_creation {
                on_creation(digest)?;
            }
            let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
            self.context
                .store(self.to, &reference, media_type, bytes, bring_again)
                .await?;
            self.brought.borrow_mut().manifests.insert(digest.clone());
        }
        Ok(())
    }

    async fn is_there(&self, digest: &Digest, reference: &Reference) -> Result<bool, ApplyError> {
        if self.there.borrow().contains(digest) {
            return Ok(true);
        }
        let registry = &self.context.registry;
        let there = registry.manifest_digest(self.to, reference).await;
        self.unless_hidden(there.map(|digest| digest.is_some()))
    }

    /// The manifest at the first place that has it. The destination is one of them where it has it: what it holds is good
    /// enough to tell what must be there with it.
    async fn find(&self, digest: &Digest, is_there: bool) -> Result<Option<Manifest>, ApplyError> {
        let known = self.known.borrow_mut().remove(digest);
        if known.is_some() {
            return Ok(known);
        }
        let mut fault = None;
        let destination = is_there.then(|| Source::from(self.to.clone()));
        for place in self.places().chain(&destination) {
            match place.manifest(self.context, digest).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) => (),
                Err(error) => {
                    self.put_last(place, &error);
                    fault = fault.or(Some(error));
                }
            }
        }
        fault.map_or(Ok(None), Err)
    }

    async fn bring_parts<'b>(
        &'b self,
        parts: impl Iterator<Item = Part<'b>>,
        step: Step<'b>,
    ) -> Result<(), ApplyError> {
        let parts = parts.map(|part| async move {
            match part {
                Part::Manifest(child) => self.see_to_manifest(&child.digest, step).await,
                Part::Blob(blob) => {
                    let once = self.blobs.of(&blob.digest);
                    once.get_or_try_init(|| self.bring_blob(blob, step))
                        .await
                        .copied()
                }
            }
        });
        // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
        stream::iter(parts.collect::<Vec<_>>())
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// What the registry has said it lacks is to be asked for again.
    fn forget_parts(&self, manifest: &Manifest) {
        for part in parts(manifest) {
            match part {
                Part::Manifest(child) => self.manifests.forget(&child.digest),
                Part::Blob(blob) => self.blobs.forget(&blob.digest),
            }
        }
    }

    async fn bring_blob(&self, blob: &Descriptor, step: Step<'_>) -> Result<(), ApplyError> {
        let registry = &self.context.registry;
        let is_likely_there = !step.is_new || blob.size > SMALL_MAX_BYTES || blob.is_foreign();
        let look = async || {
            let there = registry.has_blob(self.to, &blob.digest).await;
            self.unless_hidden(there)
        };
        if is_likely_there && look().await? {
            return Ok(());
        }
        // It is never closed, so that there is always a turn to wait for.
        let _turn = self.copies.acquire().await.ok();
        let mut fault = None;
        for place in self.places() {
            match place.copy_blob(self.context, self.to, blob).await {
                Ok(true) => {
                    let mut brought = self.brought.borrow_mut();
                    brought.blobs.insert(blob.digest.clone());
                    return Ok(());
                }
                Ok(false) => (),
                // No other place can help that.
                Err(ApplyError::Registry(error)) if error.is_write() => {
                    return Err(ApplyError::Registry(error));
                }
                Err(error) => {
                    self.put_last(place, &error);
                    fault = fault.or(Some(error));
                }
            }
        }
        match fault {
            Some(error) => Err(error),
            None if blob.is_foreign() => Ok(()),
            None => Err(self.lost(&blob.digest, step.parent)),
        }
    }

    /// Whether something is there, as far as this walk has to know.
    fn unless_hidden(&self, is_there: Result<bool, RegistryError>) -> Result<bool, ApplyError> {
        match is_there {
            Err(error) if self.care == Care::Blind && error.is_denied() => Ok(false),
            is_there => Ok(is_there?),
        }
    }

    /// The places to copy from, those last that did not answer as they should.
    fn places(&self) -> impl Iterator<Item = &'a Source> + use<'a> {
        let failed = self.failed.borrow().clone();
        let is_last = move |place: &&Source| failed.contains(&place.name());
        let (last, first): (Vec<_>, Vec<_>) = self.from.iter().partition(is_last);
        first.into_iter().chain(last)
    }

    fn put_last(&self, place: &Source, error: &ApplyError) {
        let is_new = self.failed.borrow_mut().insert(place.name());
        if is_new && self.from.len() > 1 {
            let (name, why) = (place.name(), chain_text(error));
            let text = format!("`{name}` is asked last from now on: {why}");
            self.context.events.warn(text);
        }
    }

    fn lost(&self, digest: &Digest, parent: Option<&Digest>) -> ApplyError {
        ApplyError::NotAtSource {
            digest: digest.clone(),
            parent: parent.cloned(),
            places: self.from.iter().map(Source::name).collect(),
        }
    }
}
