//! The list under a tag as it was last read. Short lists are kept whole; for a long one, only its digest is. Anyone can
//! make the lists of a thousand children as long as manifests may be.

use crate::context::ReadContext;
use crate::domain::{Digest, Manifest, Reference, Repository};
use crate::registry::{RegistryError, SHORT_LIST_MAX_BYTES, TaggedList};

/// The list under a tag, as it was last read.
#[derive(Debug, Clone)]
pub(crate) struct SeenList {
    digest: Digest,
    /// The whole list, or `None` for a long one.
    whole: Option<Manifest>,
}

impl SeenList {
    /// Keeps the digest of `manifest`, and the whole manifest if it is short.
    pub(crate) fn of(manifest: Manifest) -> Self {
        Self {
            digest: manifest.digest().clone(),
            whole: Some(manifest).filter(|whole| whole.bytes().len() <= SHORT_LIST_MAX_BYTES),
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the whole list, if it is short.
    pub(crate) fn whole(&self) -> Option<&Manifest> {
        self.whole.as_ref()
    }

    /// Returns the whole list; a long one is read again by its digest.
    pub(super) async fn read(
        &self,
        context: &ReadContext,
        repository: &Repository,
    ) -> Result<Option<Manifest>, RegistryError> {
        if let Some(whole) = &self.whole {
            return Ok(Some(whole.clone()));
        }
        let reference = Reference::Digest(self.digest.clone());
        context.registry.manifest(repository, &reference).await
    }
}

impl<T> From<TaggedList<T>> for SeenList {
    fn from(list: TaggedList<T>) -> Self {
        Self {
            digest: list.digest,
            whole: list.short,
        }
    }
}
