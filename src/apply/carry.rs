//! Brings what a repository lacks of an image or index, leaves first: a manifest is stored once all that it points to is
//! there, so that who finds it can pull it. What was killed half-way is taken up where it stopped: what is there is not
//! copied again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OnceCell, Semaphore};

use super::children::{DEPTH_MAX, PARALLEL, TOTAL_MAX};
use super::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Reference, Repository};
use crate::registry::{Operation, RegistryError};

/// Blobs that are copied at once. More of them share the same line, and each holds memory.
const COPIES_MAX: usize = 6;

/// Copies images and indexes into one repository. Whatever of it is asked for at once, each manifest and blob is seen to
/// once.
pub(super) struct Carrier<'a> {
    context: &'a Context,
    from: &'a [Repository],
    to: &'a Repository,
    care: Care,
    manifests: Once,
    blobs: Once,
    copies: Semaphore,
    brought: RefCell<Brought>,
}

/// Whether a manifest that is there stands for all that it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// It does: registries take a manifest only once they have its parts.
    Trusting,
    /// It does not: garbage collection may have taken a part away since, so that each is asked for.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command heals yet"))]
    Healing,
}

/// What the repository lacked and has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// Images, indexes and artifacts.
    pub(super) manifests: BTreeSet<Digest>,
    /// Configs, layers, and whatever else they point to.
    pub(super) blobs: BTreeSet<Digest>,
}

impl Brought {
    /// Adds what another walk brought.
    pub(super) fn add(&mut self, other: &Self) {
        self.manifests.extend(other.manifests.iter().cloned());
        self.blobs.extend(other.blobs.iter().cloned());
    }
}

/// What has been seen to, or is right now: who comes second waits for who came first.
#[derive(Default)]
struct Once(RefCell<BTreeMap<Digest, Rc<OnceCell<()>>>>);

/// Where in an image the walk is.
#[derive(Clone, Copy)]
struct Step<'a> {
    /// The image that was asked for.
    root: &'a Digest,
    /// How many manifests of it were come across.
    count: &'a Cell<usize>,
    /// What points here.
    parent: Option<&'a Digest>,
    depth: usize,
}

impl<'a> Carrier<'a> {
    /// Will copy from `from`, tried in this order, to `to`.
    pub(super) fn new(
        context: &'a Context,
        from: &'a [Repository],
        to: &'a Repository,
        care: Care,
    ) -> Self {
        Self {
            context,
            from,
            to,
            care,
            manifests: Once::default(),
            blobs: Once::default(),
            copies: Semaphore::new(COPIES_MAX),
            brought: RefCell::default(),
        }
    }

    /// Sees to it that the repository has `digest` and all that belongs to it.
    pub(super) async fn bring(&self, digest: &Digest) -> Result<(), ApplyError> {
        let step = Step {
            root: digest,
            count: &Cell::new(0),
            parent: None,
            depth: 0,
        };
        self.see_to_manifest(digest, step).await
    }

    /// The same for many, at once.
    pub(super) async fn bring_all(
        &self,
        children: impl IntoIterator<Item = &Descriptor>,
    ) -> Result<(), ApplyError> {
        let children = children.into_iter();
        try_join_all(children.map(|child| self.bring(&child.digest)))
            .await
            .map(drop)
    }

    /// What was brought so far, also by a call that has failed.
    pub(super) fn brought(&self) -> Brought {
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

    async fn bring_manifest(&self, digest: &Digest, step: Step<'_>) -> Result<(), ApplyError> {
        // The image itself is no child.
        let children = step.count.replace(step.count.get() + 1);
        if children > TOTAL_MAX {
            return Err(ApplyError::OddIndex {
                digest: step.root.clone(),
                children,
            });
        }
        let reference = Reference::Digest(digest.clone());
        let registry = &self.context.registry;
        let there = registry.manifest_digest(self.to, &reference).await?;
        let is_there = there.is_some();
        if is_there && self.care == Care::Trusting {
            return Ok(());
        }
        let look = || self.find(&reference, is_there);
        let found = self
            .context
            .until_present(&digest.to_string(), look)
            .await?;
        let manifest = found.ok_or_else(|| self.lost(digest, step.parent))?;
        let inside = Step {
            parent: Some(digest),
            depth: step.depth + 1,
            ..step
        };
        self.bring_parts(&manifest, inside).await?;
        if !is_there {
            let bring_again = async || {
                self.forget_parts(&manifest);
                self.bring_parts(&manifest, inside).await
            };
            let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
            self.context
                .store(self.to, &reference, media_type, bytes, bring_again)
                .await?;
            self.brought.borrow_mut().manifests.insert(digest.clone());
        }
        Ok(())
    }

    /// The manifest at the first place that has it. The destination is one of them where it has it: what it holds is good
    /// enough to tell what must be there with it.
    async fn find(
        &self,
        reference: &Reference,
        is_there: bool,
    ) -> Result<Option<Manifest>, RegistryError> {
        let mut fault = None;
        for place in self.from.iter().chain(is_there.then_some(self.to)) {
            match self.context.registry.manifest(place, reference).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) => (),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    async fn bring_parts(&self, manifest: &Manifest, step: Step<'_>) -> Result<(), ApplyError> {
        let parts = parts(manifest).map(|part| async move {
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
        if registry.has_blob(self.to, &blob.digest).await? {
            return Ok(());
        }
        // It is never closed, so that there is always a turn to wait for.
        let _turn = self.copies.acquire().await.ok();
        let mut fault = None;
        for place in self.from {
            match self.copy(place, blob).await {
                Ok(true) => {
                    let mut brought = self.brought.borrow_mut();
                    brought.blobs.insert(blob.digest.clone());
                    return Ok(());
                }
                Ok(false) => (),
                Err(error) if error.is_write() => return Err(error.into()),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        match fault {
            Some(error) => Err(error.into()),
            None if blob.is_foreign() => Ok(()),
            None => Err(self.lost(&blob.digest, step.parent)),
        }
    }

    /// Copies a blob, unless `place` does not have it.
    async fn copy(&self, place: &Repository, blob: &Descriptor) -> Result<bool, RegistryError> {
        let registry = &self.context.registry;
        // Most places do not have these, and nothing is to be begun for nothing.
        if blob.is_foreign() && !registry.has_blob(place, &blob.digest).await? {
            return Ok(false);
        }
        match registry.copy_blob(place, self.to, blob).await {
            Ok(_) => Ok(true),
            // What that means, the table of answers says.
            Err(error)
                if error.operation() == Operation::ReadBlob && error.status() == Some(404) =>
            {
                if registry.has_blob(place, &blob.digest).await? {
                    Err(error)
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn lost(&self, digest: &Digest, parent: Option<&Digest>) -> ApplyError {
        ApplyError::NotAtSource {
            digest: digest.clone(),
            parent: parent.cloned(),
            places: self.from.iter().map(Repository::to_string).collect(),
        }
    }
}

/// Something that a manifest points to.
enum Part<'a> {
    Manifest(&'a Descriptor),
    Blob(&'a Descriptor),
}

/// What must be there before `manifest` is. An index may list what is no manifest, as `BuildKit`'s older caches do.
fn parts(manifest: &Manifest) -> impl Iterator<Item = Part<'_>> {
    let (config, listed) = match manifest.kind() {
        ManifestKind::Index { manifests, .. } => (None, manifests),
        ManifestKind::Image { config, layers, .. } => (Some(&**config), layers),
    };
    let is_index = config.is_none();
    iter::chain(config, listed).map(move |part| {
        let is_manifest = part.media_type.is_index() || part.media_type.is_image();
        if is_index && is_manifest {
            Part::Manifest(part)
        } else {
            Part::Blob(part)
        }
    })
}

impl Once {
    fn of(&self, digest: &Digest) -> Rc<OnceCell<()>> {
        let mut cells = self.0.borrow_mut();
        Rc::clone(cells.entry(digest.clone()).or_default())
    }

    /// Forgets that it was seen to; what is under way goes on, and is waited for.
    fn forget(&self, digest: &Digest) {
        let mut cells = self.0.borrow_mut();
        if cells.get(digest).is_some_and(|cell| cell.initialized()) {
            cells.remove(digest);
        }
    }
}
