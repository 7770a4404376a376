//! The line between content that a run may sign, tag, publish or restore, and content that it has only observed.
//!
//! Registries, records and other jobs report what exists. Anyone who may push could have written it. It decides what is
//! skipped, refused or reported, but a run never signs or publishes it as its own. A [`Vouched`] is proof that
//! something else supports the content: an input, this run's own work, or a signature that meets the policy.

use std::collections::BTreeSet;
use std::ops::Deref;

use super::cleanup::Rollback;
use crate::domain::{Descriptor, Digest, ImageReference, Manifest, Reference};
use crate::inputs::{Given, Named, PublishSource};
use crate::record::VouchedImages;
use crate::sigstore::Verified;

/// Content that may be signed, tagged, published or restored.
///
/// Only this module makes one. No other code can, whatever a registry returned:
///
/// ```compile_fail,E0451
/// use manifest_seal::domain::Digest;
/// use manifest_seal::plan::{Vouched, Voucher};
///
/// let observed = Digest::of(b"what a tag holds");
/// let vouched = Vouched { content: observed, by: Voucher::Input };
/// ```
///
/// Without the last line the code compiles:
///
/// ```
/// use manifest_seal::domain::Digest;
/// use manifest_seal::plan::{Vouched, Voucher};
///
/// let observed = Digest::of(b"what a tag holds");
/// let vouched: Option<(Vouched<Digest>, Voucher)> = None;
/// ```
///
/// An input vouches for the digest that it names, and only the parser of inputs decides what an input names:
///
/// ```compile_fail,E0451
/// use manifest_seal::domain::{Digest, Reference, Repository};
/// use manifest_seal::inputs::Given;
///
/// let repository: Repository = "ghcr.io/o/r".parse().unwrap();
/// let reference = Reference::Digest(Digest::of(b"observed"));
/// let given = Given { repository, reference };
/// ```
///
/// ```
/// use manifest_seal::domain::{Digest, Reference, Repository};
/// use manifest_seal::inputs::Given;
///
/// let repository: Repository = "ghcr.io/o/r".parse().unwrap();
/// let reference = Reference::Digest(Digest::of(b"observed"));
/// let given: Option<(Given, Reference)> = None;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vouched<T> {
    content: T,
    by: Voucher,
}

/// The reason why content is vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voucher {
    /// An input of this run names it, or names an index that lists it.
    Input,
    /// This run made it from vouched content, or would have made equal content.
    Made,
    /// A signature that verifies under this run's policy.
    Signature,
    /// A record whose SHA-256 is given from outside of it.
    Record,
}

/// An index that a run reports on: vouched for, or only found under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VouchedOrObserved {
    /// The index may be signed and tagged.
    Vouched(Vouched<Manifest>),
    /// The index stays where it is, and nothing is done with it.
    Observed(Manifest),
}

impl<T> Vouched<T> {
    /// The reason why it is vouched for.
    #[must_use]
    pub fn by(&self) -> Voucher {
        self.by
    }

    /// The content alone.
    #[must_use]
    pub fn into_content(self) -> T {
        self.content
    }

    /// Makes vouched content without a voucher, for tests.
    #[cfg(test)]
    pub(crate) fn invented(content: T) -> Self {
        Self {
            content,
            by: Voucher::Input,
        }
    }

    pub(super) fn made(content: T) -> Self {
        Self {
            content,
            by: Voucher::Made,
        }
    }
}

impl Vouched<Digest> {
    /// The digest that an input names; `None` if it names a tag.
    #[must_use]
    pub fn given(given: &Given) -> Option<Self> {
        match given.reference() {
            Reference::Digest(digest) => Some(Self {
                content: digest.clone(),
                by: Voucher::Input,
            }),
            Reference::Tag(_) => None,
        }
    }

    /// The digest of the manifest that an input names by its digest or by a tag. For a tag, the caller guarantees that
    /// the manifest is its content. `None` if the digest differs.
    #[must_use]
    pub fn resolved(manifest: &Manifest, given: &Given) -> Option<Self> {
        let is_it = match given.reference() {
            Reference::Digest(digest) => digest == manifest.digest(),
            Reference::Tag(_) => true,
        };
        is_it.then(|| Self {
            content: manifest.digest().clone(),
            by: Voucher::Input,
        })
    }

    /// Returns the manifest with this digest as vouched content; `None` for any other digest.
    #[must_use]
    pub fn manifest(&self, manifest: Manifest) -> Option<Vouched<Manifest>> {
        (*manifest.digest() == self.content).then_some(Vouched {
            content: manifest,
            by: self.by,
        })
    }

    /// Returns a digest that a record vouches for; `None` for any other.
    #[must_use]
    pub fn recorded(digest: &Digest, images: &VouchedImages) -> Option<Self> {
        images.has(digest).then(|| Self {
            content: digest.clone(),
            by: Voucher::Record,
        })
    }
}

impl Vouched<Manifest> {
    /// Returns the image that an input names by its digest or by a tag. For a tag, the caller guarantees that the
    /// manifest is its content. `None` if the digest differs.
    #[must_use]
    pub fn named(manifest: Manifest, image: &Named<ImageReference>) -> Option<Self> {
        Self::at(manifest, image)
    }

    /// Returns the image that a `source` names. `None` for a record, which has images of its own.
    #[must_use]
    pub fn at_source(manifest: Manifest, source: &Named<PublishSource>) -> Option<Self> {
        match &**source {
            PublishSource::Image(image) => Self::at(manifest, image),
            PublishSource::Layout { .. } => Some(Self {
                content: manifest,
                by: Voucher::Input,
            }),
            PublishSource::Record { .. } => None,
        }
    }

    /// Returns the content of a tag before a run, as the run's record states; `None` for other content. It is restored
    /// under that tag only.
    #[must_use]
    pub fn restored(manifest: Manifest, back: &Rollback) -> Option<Self> {
        (back.before() == Some(manifest.digest())).then_some(Self {
            content: manifest,
            by: Voucher::Record,
        })
    }

    fn at(manifest: Manifest, image: &ImageReference) -> Option<Self> {
        let is_it = match &image.reference {
            Some(Reference::Digest(digest)) => digest == manifest.digest(),
            Some(Reference::Tag(_)) => true,
            None => false,
        };
        is_it.then_some(Self {
            content: manifest,
            by: Voucher::Input,
        })
    }

    /// Lists everything in the index, itself first, each descriptor once. `nested` are indexes that were read. If one
    /// of them is in this index, its children are in the list too.
    #[must_use]
    pub fn everything(&self, nested: &[Manifest]) -> Vec<Vouched<Descriptor>> {
        let mut all = vec![self.described()];
        let mut seen = BTreeSet::from([self.digest().clone()]);
        let mut open = vec![&self.content];
        while let Some(index) = open.pop() {
            for child in index.children() {
                if seen.insert(child.digest.clone()) {
                    open.extend(nested.iter().filter(|one| *one.digest() == child.digest));
                    all.push(Vouched {
                        content: child.clone(),
                        by: self.by,
                    });
                }
            }
        }
        all
    }

    /// Returns `manifest` as vouched content if `verified` is a signature of it that meets this run's policy. `None` if
    /// the signature is of something else.
    #[must_use]
    pub fn signed(manifest: Manifest, verified: &Verified) -> Option<Self> {
        (manifest.digest() == verified.subject()).then_some(Self {
            content: manifest,
            by: Voucher::Signature,
        })
    }

    /// Returns it as the content of a tag: registries give SHA-256 digests to content that is pushed under a tag. The
    /// bytes are the same.
    #[must_use]
    pub fn as_tagged(&self) -> Self {
        Self {
            content: self.content.clone().with_sha256(),
            by: self.by,
        }
    }

    /// A descriptor that points to it.
    #[must_use]
    pub fn described(&self) -> Vouched<Descriptor> {
        Vouched {
            content: self.content.descriptor(),
            by: self.by,
        }
    }

    /// The children of an index. The digest covers the bytes that name them.
    pub fn members(&self) -> impl Iterator<Item = Vouched<Descriptor>> {
        self.content.children().iter().map(|child| Vouched {
            content: child.clone(),
            by: self.by,
        })
    }
}

impl Vouched<Descriptor> {
    /// The digest that it points to.
    #[must_use]
    pub fn target(&self) -> Vouched<Digest> {
        Vouched {
            content: self.content.digest.clone(),
            by: self.by,
        }
    }
}

impl VouchedOrObserved {
    /// The index.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Vouched(vouched) => vouched,
            Self::Observed(manifest) => manifest,
        }
    }

    /// The index, if it is vouched for.
    #[must_use]
    pub fn vouched(&self) -> Option<&Vouched<Manifest>> {
        match self {
            Self::Vouched(vouched) => Some(vouched),
            Self::Observed(_) => None,
        }
    }
}

impl<T> Deref for Vouched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}
