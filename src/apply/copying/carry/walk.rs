//! How an image is walked: step by step, each part once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::iter;
use std::rc::Rc;

use tokio::sync::OnceCell;

use crate::domain::{Descriptor, Digest, Manifest, ManifestKind};

/// Where in an image the walk is.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// The image that was asked for.
    pub(super) root: &'a Digest,
    /// How many manifests of it were come across.
    pub(super) count: &'a Cell<usize>,
    /// What points here.
    pub(super) parent: Option<&'a Digest>,
    pub(super) depth: usize,
    pub(super) haste: Haste,
    /// Whether the destination had nothing of it yet, from the image down to here.
    pub(super) is_new: bool,
}

/// What to do about something that no place has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// Look again, as the retry policy says: it may have been pushed a moment ago.
    Wait,
    Leave,
}

/// What has been seen to, or is right now: who comes second waits for who came first.
#[derive(Default)]
pub(super) struct Once(RefCell<BTreeMap<Digest, Rc<OnceCell<()>>>>);

impl<'a> Step<'a> {
    pub(super) fn first(root: &'a Digest, count: &'a Cell<usize>, haste: Haste) -> Self {
        Self {
            root,
            count,
            parent: None,
            depth: 0,
            haste,
            is_new: true,
        }
    }

    pub(super) fn inside(self, parent: &'a Digest, is_there: bool) -> Self {
        Self {
            parent: Some(parent),
            depth: self.depth + 1,
            is_new: self.is_new && !is_there,
            ..self
        }
    }
}

impl Once {
    pub(super) fn of(&self, digest: &Digest) -> Rc<OnceCell<()>> {
        let mut cells = self.0.borrow_mut();
        Rc::clone(cells.entry(digest.clone()).or_default())
    }

    /// Forgets that it was seen to; what is under way goes on, and is waited for.
    pub(super) fn forget(&self, digest: &Digest) {
        let mut cells = self.0.borrow_mut();
        if cells.get(digest).is_some_and(|cell| cell.initialized()) {
            cells.remove(digest);
        }
    }

    /// Everything that was come across.
    pub(super) fn seen(&self) -> Vec<Digest> {
        self.0.borrow().keys().cloned().collect()
    }
}

/// Something that a manifest points to.
pub(super) enum Part<'a> {
    Manifest(&'a Descriptor),
    Blob(&'a Descriptor),
}

/// What must be there before `manifest` is. An index may list what is no manifest, as `BuildKit`'s older caches do.
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
