//! Reads the content of sources once for all destinations that lack it: large blobs part by part ([`LargePlace`]), and
//! manifests and small blobs by keeping them for a short time ([`RecentReads`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::error::RegistryErrorKind;
use super::participants::Participants;
use super::recent_reads::RecentReads;
use super::shared_read::{LargePlace, SharedRead};
use super::uploads::SINGLE_POST_MAX_BYTES;
use crate::domain::{Descriptor, Digest, Host, Manifest, Repository};

/// The bytes that are kept of small blobs, and of manifests, which take several times as much memory.
const BLOBS_KEPT_BYTES: usize = 1 << 20;
const MANIFESTS_KEPT_BYTES: usize = 256 * 1024;

/// The reads that several destinations share.
#[derive(Debug)]
pub struct SharedReads {
    destinations: usize,
    participants: Arc<Participants>,
    large: RefCell<BTreeMap<Digest, Rc<SharedRead>>>,
    small: RecentReads<Bytes>,
    manifests: RecentReads<Rc<Manifest>>,
}

/// One destination of the shared reads. While it exists, the reads wait for its decisions.
#[derive(Debug)]
pub struct SharingDestination<'a> {
    reads: &'a SharedReads,
    number: usize,
}

/// The place of one destination in the read of one blob.
#[derive(Debug)]
pub enum ReadPlace<'a> {
    /// In the read of a large blob.
    Large(LargePlace),
    /// In the reads of small ones.
    Small(SmallPlace<'a>),
}

/// The place of one destination in the reads of small blobs.
#[derive(Debug)]
pub struct SmallPlace<'a>(&'a SharedReads);

impl SharedReads {
    /// Prepares the reads for this number of destinations.
    #[must_use]
    pub fn among(destinations: usize) -> Self {
        Self {
            destinations,
            participants: Arc::new(Participants::new(destinations)),
            large: RefCell::default(),
            small: RecentReads::keeping(BLOBS_KEPT_BYTES, Bytes::len),
            manifests: RecentReads::keeping(MANIFESTS_KEPT_BYTES, |manifest| {
                manifest.bytes().len()
            }),
        }
    }

    /// Returns the destination with this number, from 0 on.
    #[must_use]
    pub fn destination(&self, number: usize) -> SharingDestination<'_> {
        SharingDestination {
            reads: self,
            number,
        }
    }
}

impl<'a> SharingDestination<'a> {
    /// Returns the place in the read of `blob`, or `None` if nobody shares it.
    pub fn place(&self, blob: &Descriptor) -> Option<ReadPlace<'a>> {
        if self.reads.destinations < 2 {
            return None;
        }
        if blob.size <= SINGLE_POST_MAX_BYTES {
            return Some(ReadPlace::Small(SmallPlace(self.reads)));
        }
        let participants = &self.reads.participants;
        if !participants.has_others(self.number) {
            return None;
        }
        let mut large = self.reads.large.borrow_mut();
        let read = large.entry(blob.digest.clone()).or_default();
        let place = LargePlace::new(self.number, Rc::clone(read), Arc::clone(participants));
        Some(ReadPlace::Large(place))
    }

    /// Returns the manifest `digest` of `from`, which `read` returns.
    pub async fn manifest<E>(
        &self,
        from: &Repository,
        digest: &Digest,
        read: impl AsyncFn() -> Result<Option<Manifest>, E>,
    ) -> Result<Option<Manifest>, E> {
        if self.reads.destinations < 2 {
            return read().await;
        }
        let read = async || Ok(read().await?.map(Rc::new));
        let found = self.reads.manifests.get(from, digest, read).await?;
        Ok(found.map(Rc::unwrap_or_clone))
    }
}

impl Drop for SharingDestination<'_> {
    fn drop(&mut self) {
        self.reads.participants.remove(self.number);
    }
}

impl ReadPlace<'_> {
    /// Takes part, for a destination on `host`.
    pub fn join(&self, host: &Host) {
        match self {
            Self::Large(place) => place.join(host),
            Self::Small(_) => (),
        }
    }
}

impl SmallPlace<'_> {
    /// Returns the content of a blob of `from`, which `read` returns.
    ///
    /// SECURITY: `read` verifies the digest, so that no destination gets wrong content of another.
    pub(super) async fn content(
        &self,
        from: &Repository,
        digest: &Digest,
        read: impl AsyncFn() -> Result<Bytes, RegistryErrorKind>,
    ) -> Result<Option<Bytes>, RegistryErrorKind> {
        let read = async || read().await.map(Some);
        self.0.small.get(from, digest, read).await
    }
}
