//! A list of signatures as it was last seen. Short ones are kept whole; of a long one only its digest is, since anybody
//! can make the lists of a thousand children as long as manifests may be.

use crate::apply::{ApplyError, Context};
use crate::domain::{Digest, Manifest, Reference, Repository};
use crate::registry::TaggedList;

/// Longer lists are not kept, but read again when they are needed.
pub(in crate::apply) const SHORT_MAX_BYTES: usize = 16 * 1024;

/// What a tag for signatures was seen to hold.
#[derive(Debug, Clone)]
pub(in crate::apply) struct SeenList {
    digest: Digest,
    /// Nothing of a long one.
    whole: Option<Manifest>,
}

impl SeenList {
    /// Keeps what is needed of `manifest`.
    pub(in crate::apply) fn of(manifest: Manifest) -> Self {
        Self {
            digest: manifest.digest().clone(),
            whole: Some(manifest).filter(|whole| whole.bytes().len() <= SHORT_MAX_BYTES),
        }
    }

    pub(in crate::apply) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All of it, where it is short.
    pub(in crate::apply) fn whole(&self) -> Option<&Manifest> {
        self.whole.as_ref()
    }

    /// All of it; a long one is read again, by its digest.
    pub(super) async fn read(
        &self,
        context: &Context,
        repository: &Repository,
    ) -> Result<Option<Manifest>, ApplyError> {
        if let Some(whole) = &self.whole {
            return Ok(Some(whole.clone()));
        }
        let reference = Reference::Digest(self.digest.clone());
        Ok(context.registry.manifest(repository, &reference).await?)
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
