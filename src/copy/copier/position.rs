//! The walk through an image, step by step, each part once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::iter;
use std::rc::Rc;

use tokio::sync::OnceCell;

use crate::copy::source::Source;
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind};

/// The current position in an image.
#[derive(Clone, Copy)]
pub(super) struct Position<'a> {
    /// The requested image.
    pub(super) root: &'a Digest,
    /// The number of its manifests visited so far.
    pub(super) count: &'a Cell<usize>,
    /// The sources that its parts may come from.
    pub(super) from: &'a [&'a Source],
    /// The manifest that points here.
    pub(super) parent: Option<&'a Digest>,
    pub(super) depth: usize,
    pub(super) if_absent: IfAbsent,
    /// True if the destination had no manifest with this part.
    pub(super) is_new: bool,
    /// The children of the manifest that points here.
    pub(super) siblings: &'a [Descriptor],
    /// The subject, if this is an entry of its list of referrers.
    pub(super) subject: Option<Node<'a>>,
}

/// A manifest of an image that is copied, and the one that lists it.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    /// The manifest.
    pub(crate) digest: &'a Digest,
    /// The manifest that lists it, or `None` for the image itself.
    pub(crate) parent: Option<&'a Digest>,
}

/// The reaction to content that no source has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfAbsent {
    /// Reads again, as the retry policy says: it may have been pushed a moment ago.
    Retry,
    Skip,
}

/// The results of tasks that are done or in progress, by digest. A second task for the same digest waits for the first.
pub(super) struct InFlight<T>(RefCell<BTreeMap<Digest, Rc<OnceCell<T>>>>);

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<'a> Position<'a> {
    pub(super) fn first(
        root: &'a Digest,
        count: &'a Cell<usize>,
        from: &'a [&'a Source],
        if_absent: IfAbsent,
    ) -> Self {
        Self {
            root,
            count,
            from,
            parent: None,
            depth: 0,
            if_absent,
            is_new: true,
            siblings: &[],
            subject: None,
        }
    }

    pub(super) fn inside(self, parent: &'a Manifest, is_new: bool) -> Self {
        Self {
            parent: Some(parent.digest()),
            depth: self.depth + 1,
            is_new,
            siblings: parent.children(),
            subject: None,
            ..self
        }
    }

    /// Reports whether `manifest`, which is here, refers to one of its siblings.
    pub(super) fn is_for_sibling(&self, manifest: &Manifest) -> Option<&'a Digest> {
        let subject = manifest.subject()?;
        let mut siblings = self.siblings.iter().map(|sibling| &sibling.digest);
        siblings.find(|sibling| **sibling == subject.digest)
    }
}

impl<T> InFlight<T> {
    pub(super) fn of(&self, digest: &Digest) -> Rc<OnceCell<T>> {
        let mut cells = self.0.borrow_mut();
        Rc::clone(cells.entry(digest.clone()).or_default())
    }

    /// Forgets a finished part. A part in progress stays, and tasks wait for it.
    pub(super) fn forget(&self, digest: &Digest) {
        let mut cells = self.0.borrow_mut();
        if cells.get(digest).is_some_and(|cell| cell.initialized()) {
            cells.remove(digest);
        }
    }
}

/// A manifest or blob that a manifest points to.
pub(super) enum Part<'a> {
    Manifest(&'a Descriptor),
    Blob(&'a Descriptor),
}

/// Returns everything that must be there before `manifest`. An index may list blobs too, as `BuildKit`'s older caches
/// do.
pub(super) fn parts(manifest: &Manifest) -> impl Iterator<Item = Part<'_>> {
    let config = match manifest.kind() {
        ManifestKind::Index { .. } => None,
        ManifestKind::Image { config, .. } => Some(Part::Blob(config)),
    };
    iter::chain(config, listed(manifest))
}

/// The children of an index, or the layers of an image.
pub(super) fn listed(manifest: &Manifest) -> impl Iterator<Item = Part<'_>> {
    let (is_index, listed) = match manifest.kind() {
        ManifestKind::Index { manifests, .. } => (true, manifests),
        ManifestKind::Image { layers, .. } => (false, layers),
    };
    listed.iter().map(move |part| {
        let is_manifest = part.media_type.is_index() || part.media_type.is_image();
        if is_index && is_manifest {
            Part::Manifest(part)
        } else {
            Part::Blob(part)
        }
    })
}
