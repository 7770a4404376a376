//! Copies the parts of an image or index that a repository lacks, leaves first. A manifest is stored after everything
//! that it points to, so every visible manifest can be pulled. An interrupted copy is continued: existing parts are not
//! copied again.

mod position;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::CopyError;
use super::source::Source;
use crate::context::{Context, DEPTH_MAX, ImageError, REQUESTS_PARALLEL, TOTAL_MAX};
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, Reference, Repository, chain_text,
};
use crate::outcome::CopiedContent;
use crate::plan::Vouched;
use crate::registry::{RegistryError, SharingDestination};
pub(crate) use position::Node;
use position::{IfAbsent, InFlight, Part, Position, listed, parts};

/// The maximum number of concurrent blob copies. Large blobs among them wait for memory.
const COPIES_MAX: usize = 32;
/// The size up to which blobs of an image that is new to the destination are copied without a check. Copying such a
/// blob takes no longer than the check.
const UNCHECKED_MAX_BYTES: u64 = 64 * 1024;
/// The maximum length of an address in a warning.
const ADDRESS_SHOWN_LETTERS: usize = 200;

/// Copies images and indexes into one repository. Each manifest and blob is copied once, even if several tasks request
/// it at the same time.
pub(crate) struct Copier<'a> {
    context: &'a Context,
    from: Vec<&'a Source>,
    to: &'a Repository,
    check: DestinationCheck,
    on_creation: Option<OnCreation<'a>>,
    sharing: Option<SharingDestination<'a>>,
    /// Manifests that were already read at a source, kept until they are needed.
    known: RefCell<BTreeMap<Digest, Manifest>>,
    /// The manifests that the walk has reached.
    found: InFlight<Rc<FoundManifest>>,
    /// The manifests that the repository had before, or had not.
    existing: InFlight<bool>,
    manifests: InFlight<()>,
    blobs: InFlight<()>,
    copies: Semaphore,
    copied: RefCell<CopiedContent>,
    /// The manifests whose subject the registry reported when they were stored, with that subject.
    promised: RefCell<BTreeMap<Digest, Digest>>,
    /// The names of sources that returned an error.
    failed: RefCell<BTreeSet<String>>,
}

/// A manifest that the walk has reached.
pub(crate) struct FoundManifest {
    /// The descriptor that points to it.
    pub(crate) descriptor: Descriptor,
    /// The manifests that it lists, if it is an index.
    pub(crate) children: Vec<Digest>,
    /// The manifest, until the destination has it with all its parts.
    content: RefCell<Option<Rc<Manifest>>>,
}

impl FoundManifest {
    fn new(manifest: Manifest) -> Self {
        let children = listed(&manifest).filter_map(|part| match part {
            Part::Manifest(child) => Some(child.digest.clone()),
            Part::Blob(_) => None,
        });
        Self {
            descriptor: manifest.descriptor(),
            children: children.collect(),
            content: RefCell::new(Some(Rc::new(manifest))),
        }
    }
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
        from: impl IntoIterator<Item = &'a Source>,
        to: &'a Repository,
        check: DestinationCheck,
    ) -> Self {
        Self {
            context,
            from: from.into_iter().collect(),
            to,
            check,
            on_creation: None,
            sharing: None,
            known: RefCell::default(),
            found: InFlight::default(),
            existing: InFlight::default(),
            manifests: InFlight::default(),
            blobs: InFlight::default(),
            copies: Semaphore::new(COPIES_MAX),
            copied: RefCell::default(),
            promised: RefCell::default(),
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

    /// Reads content once for all destinations that lack it.
    pub(crate) fn sharing(self, sharing: SharingDestination<'a>) -> Self {
        Self {
            sharing: Some(sharing),
            ..self
        }
    }

    /// Notes that the repository has a manifest, so no request checks it. This does not cover its parts.
    pub(crate) fn note_existing(&self, digest: &Digest) {
        // A task that asks the destination at the moment gets the same answer.
        let _ = self.existing.of(digest).set(true);
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

    /// Copies all of `children` concurrently, each after its subject.
    ///
    /// SECURITY: they are vouched for. Anyone with push access to one repository can name a digest of another there.
    pub(crate) async fn copy_all(
        &self,
        children: impl IntoIterator<Item = Vouched<Descriptor>>,
    ) -> Result<(), CopyError> {
        let children: Vec<Descriptor> = children.into_iter().map(Vouched::into_content).collect();
        let copies = children.iter().map(async |child| {
            let count = Cell::new(0);
            let position = Position {
                siblings: &children,
                ..Position::first(&child.digest, &count, &self.from, IfAbsent::Retry)
            };
            self.copy_manifest_once(&child.digest, position).await
        });
        try_join_all(copies).await.map(drop)
    }

    /// Copies a manifest that the lists of referrers of `subject` at these sources name, and that may not exist. Returns
    /// the reason if it is left out: none of them has it, or no client can use it. A failed request is an error.
    ///
    /// SECURITY: the writer of a list can name parts of which they know only the digest. Other sources do not provide
    /// them.
    pub(crate) async fn copy_listed(
        &self,
        from: &[&Source],
        subject: Node<'_>,
        digest: &Digest,
    ) -> Result<Option<String>, CopyError> {
        let count = Cell::new(0);
        let first = Position::first(digest, &count, from, IfAbsent::Skip);
        let position = Position {
            subject: Some(subject),
            ..first
        };
        match self.copy_manifest_once(digest, position).await {
            Ok(()) => Ok(None),
            Err(CopyError::Image(ImageError::NotAtSource { parent: None, .. })) => {
                Ok(Some("it was not found".to_owned()))
            }
            Err(error) if error.is_about_content() => Ok(Some(chain_text(&error))),
            Err(error) => Err(error),
        }
    }

    /// Reads a manifest that the lists of these sources name, and that may not exist.
    pub(crate) async fn read_listed(
        &self,
        from: &[&Source],
        digest: &Digest,
    ) -> Result<Option<Rc<Manifest>>, CopyError> {
        let count = Cell::new(0);
        let position = Position::first(digest, &count, from, IfAbsent::Skip);
        // The destination is asked meanwhile, for the copy.
        let (found, _) = tokio::join!(self.find_once(digest, position), self.is_there(digest));
        match found {
            Ok(found) => {
                let content = found.content.borrow().clone();
                match content {
                    Some(manifest) => Ok(Some(manifest)),
                    // Another task has stored it.
                    None => Ok(self.read_at(from, digest).await?.map(Rc::new)),
                }
            }
            Err(CopyError::Image(ImageError::NotAtSource { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Copies the layers of `manifest` that the repository lacks, from these sources. It belongs to `subject`.
    pub(crate) async fn copy_layers(
        &self,
        from: &[&Source],
        subject: &Digest,
        manifest: &Manifest,
    ) -> Result<(), CopyError> {
        let is_new = !self.is_there(subject).await?;
        let count = Cell::new(0);
        let root = Position::first(manifest.digest(), &count, from, IfAbsent::Retry);
        let inside = root.inside(manifest, is_new);
        self.copy_parts(listed(manifest), inside).await
    }

    /// Returns a manifest of an image as soon as it is read.
    pub(crate) async fn found(&self, node: Node<'_>) -> Result<Rc<FoundManifest>, CopyError> {
        let count = Cell::new(0);
        let position = self.position_of(node, &count);
        self.find_once(node.digest, position).await
    }

    /// Copies a manifest of an image, and everything in it that the repository lacks.
    pub(crate) async fn copy_node(&self, node: Node<'_>) -> Result<(), CopyError> {
        let count = Cell::new(0);
        let position = self.position_of(node, &count);
        self.copy_manifest_once(node.digest, position).await
    }

    fn position_of<'b>(&'b self, node: Node<'b>, count: &'b Cell<usize>) -> Position<'b> {
        Position {
            parent: node.parent,
            ..Position::first(node.digest, count, &self.from, IfAbsent::Retry)
        }
    }

    /// Reports whether the registry said that it lists `manifest` as a referrer of `subject`.
    pub(crate) fn is_promised(&self, manifest: &Digest, subject: &Digest) -> bool {
        self.promised.borrow().get(manifest) == Some(subject)
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
        if self.check != DestinationCheck::Deep && self.is_there(digest).await? {
            return Ok(());
        }
        let parts = async {
            let found = self.find_once(digest, position).await?;
            let manifest = found.content.borrow().clone();
            let manifest = manifest.ok_or_else(|| not_at_source(digest, position))?;
            // The children of an index are known, whether the destination has the index or not.
            let is_new = match manifest.kind() {
                ManifestKind::Index { .. } => false,
                ManifestKind::Image { .. } => self.is_new(digest, position).await?,
            };
            let inside = position.inside(&manifest, is_new);
            self.copy_parts(parts(&manifest), inside).await?;
            Ok::<_, CopyError>((found, Rc::clone(&manifest)))
        };
        let (is_there, (found, manifest)) = tokio::try_join!(self.is_there(digest), parts)?;
        if !is_there {
            self.copy_subject(&manifest, position).await?;
            self.store(&manifest, position.inside(&manifest, true))
                .await?;
        }
        found.content.take();
        Ok(())
    }

    /// Reports whether the destination had neither a manifest nor the one that lists it.
    async fn is_new(&self, digest: &Digest, position: Position<'_>) -> Result<bool, CopyError> {
        Ok(!self.is_there(digest).await?
            && match position.parent {
                Some(parent) => !self.is_there(parent).await?,
                None => true,
            })
    }

    /// Copies the subject of a manifest first, if it is copied too. Some registries, such as GitLab's, refuse a manifest
    /// whose subject is absent.
    async fn copy_subject<'b>(
        &'b self,
        manifest: &Manifest,
        position: Position<'b>,
    ) -> Result<(), CopyError> {
        if let Some(sibling) = position.is_for_sibling(manifest) {
            return self.copy_manifest_once(sibling, position).await;
        }
        match position.subject {
            Some(subject) => self.copy_node(subject).await,
            None => Ok(()),
        }
    }

    /// Stores a manifest, whose parts are there.
    async fn store(&self, manifest: &Manifest, inside: Position<'_>) -> Result<(), CopyError> {
        let digest = manifest.digest();
        let copy_parts_again = async || {
            self.forget_parts(manifest);
            self.copy_parts(parts(manifest), inside).await
        };
        if let Some(on_creation) = self.on_creation {
            on_creation(digest)?;
        }
        let reference = Reference::Digest(digest.clone());
        let (media_type, bytes) = (manifest.media_type(), manifest.bytes());
        let stored = self
            .context
            .store(self.to, &reference, media_type, bytes, copy_parts_again);
        if let Some(subject) = stored.await?.subject {
            let mut promised = self.promised.borrow_mut();
            promised.insert(digest.clone(), subject);
        }
        self.copied.borrow_mut().manifests.insert(digest.clone());
        Ok(())
    }

    async fn find_once(
        &self,
        digest: &Digest,
        position: Position<'_>,
    ) -> Result<Rc<FoundManifest>, CopyError> {
        let once = self.found.of(digest);
        let found = once.get_or_try_init(|| self.find(digest, position)).await?;
        Ok(Rc::clone(found))
    }

    /// Reads a manifest at a source.
    async fn find(
        &self,
        digest: &Digest,
        position: Position<'_>,
    ) -> Result<Rc<FoundManifest>, CopyError> {
        let read = || self.read(digest, position.from);
        // The content of a folder does not change.
        let may_appear = position.from.iter().any(|source| source.may_change());
        let found = match position.if_absent {
            IfAbsent::Retry if may_appear => {
                let what = digest.to_string();
                self.context.until_present(&what, read).await?
            }
            IfAbsent::Retry | IfAbsent::Skip => read().await?,
        };
        let found = found.map(|manifest| Rc::new(FoundManifest::new(manifest)));
        found.ok_or_else(|| not_at_source(digest, position))
    }

    /// Reads a manifest at a source, or at the destination if no source has it. The copy at the destination is good enough
    /// to find the parts that must exist.
    async fn read(&self, digest: &Digest, from: &[&Source]) -> Result<Option<Manifest>, CopyError> {
        let read = match self.read_at(from, digest).await {
            Ok(Some(manifest)) => return Ok(Some(manifest)),
            read if self.check == DestinationCheck::Deep && self.is_there(digest).await? => read,
            read => return read,
        };
        let destination = Source::from(self.to.clone());
        match destination.manifest(self.context, digest).await? {
            Some(manifest) => Ok(Some(manifest)),
            None => read,
        }
    }

    /// Reports whether the destination had a manifest before this run stored it.
    pub(crate) async fn is_there(&self, digest: &Digest) -> Result<bool, CopyError> {
        let once = self.existing.of(digest);
        let is_there = once.get_or_try_init(|| async {
            let (registry, reference) = (&self.context.registry, Reference::Digest(digest.clone()));
            let existing = registry.manifest_digest(self.to, &reference).await;
            self.treat_denied_as_absent(existing.map(|digest| digest.is_some()))
        });
        is_there.await.copied()
    }

    /// Reads the manifest from the first of these sources that has it.
    async fn read_at(
        &self,
        from: &[&Source],
        digest: &Digest,
    ) -> Result<Option<Manifest>, CopyError> {
        let known = self.known.borrow_mut().remove(digest);
        if known.is_some() {
            return Ok(known);
        }
        let mut first_error: Option<CopyError> = None;
        for source in self.sources_in_order(from) {
            match self.manifest_of(source, digest).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) => (),
                Err(error) => {
                    self.demote_source(source, &error);
                    // A source that could not be read may have what another damages.
                    first_error = match first_error {
                        Some(first) if !first.is_about_content() || error.is_about_content() => {
                            Some(first)
                        }
                        Some(_) | None => Some(error),
                    };
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Reads a manifest at a source, once for all destinations.
    async fn manifest_of(
        &self,
        source: &Source,
        digest: &Digest,
    ) -> Result<Option<Manifest>, CopyError> {
        let read = async || source.manifest(self.context, digest).await;
        match (&self.sharing, source) {
            (Some(sharing), Source::Repository(from)) => sharing.manifest(from, digest, read).await,
            (None, _) | (_, Source::Layout(_)) => read().await,
        }
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
                Part::Manifest(child) => {
                    self.manifests.forget(&child.digest);
                    self.found.forget(&child.digest);
                    self.existing.forget(&child.digest);
                }
                Part::Blob(blob) => self.blobs.forget(&blob.digest),
            }
        }
    }

    async fn copy_blob(&self, blob: &Descriptor, position: Position<'_>) -> Result<(), CopyError> {
        let registry = &self.context.registry;
        let mut place = self.sharing.as_ref().and_then(|all| all.place(blob));
        let is_likely_there =
            !position.is_new || blob.size > UNCHECKED_MAX_BYTES || blob.is_foreign();
        let is_at_destination = async || {
            let existing = registry.has_blob(self.to, &blob.digest).await;
            self.treat_denied_as_absent(existing)
        };
        if is_likely_there && is_at_destination().await? {
            return Ok(());
        }
        if let Some(place) = &place {
            place.join(self.to.host());
        }
        // Small blobs take neither bandwidth nor memory. A blob with a place waits for no other before its slot: the copies to
        // other destinations wait for this one. The semaphore is never closed, so this always succeeds.
        let _permit = if blob.size > UNCHECKED_MAX_BYTES && place.is_none() {
            self.copies.acquire().await.ok()
        } else {
            None
        };
        let mut first_error = None;
        for source in self.sources_in_order(position.from) {
            match source
                .copy_blob(self.context, self.to, blob, place.take())
                .await
            {
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
            None if blob.is_foreign() => {
                self.context.events.warn(left_at_its_addresses(blob));
                Ok(())
            }
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
            // No warning: another source supplies the content, or the run fails and reports the error.
            let text = format!("`{name}` is tried last from now on: {why}");
            self.context.events.info(text);
        }
    }
}

/// Returns a warning about a layer that no source has.
fn left_at_its_addresses(blob: &Descriptor) -> String {
    let place = match blob.urls.first() {
        Some(url) => {
            // Anyone may have written the address.
            let url = url.chars().filter(|letter| !letter.is_control());
            let url: String = url.take(ADDRESS_SHOWN_LETTERS).collect();
            format!("a pull gets it from `{url}`")
        }
        None => "the image names no address of it".to_owned(),
    };
    let digest = &blob.digest;
    format!("the layer `{digest}` is not copied, because no source has it: {place}")
}

fn not_at_source(digest: &Digest, position: Position<'_>) -> CopyError {
    ImageError::NotAtSource {
        digest: digest.clone(),
        parent: position.parent.cloned(),
        sources: position.from.iter().map(|source| source.name()).collect(),
    }
    .into()
}
