//! Signatures that may be stored: exactly what verification reads, and nothing beside it.

use std::ops::Deref;

use super::candidates::Content;
use crate::sigstore::Trust;

/// A signature that this run may store.
///
/// SECURITY: parts of a signature's document are not signed. Anyone who may push to one registry can store a changed
/// copy there that verifies. Such a copy is never stored in another registry.
#[derive(Debug, Clone)]
pub(crate) struct PlainContent(Content);

impl PlainContent {
    /// Takes a signature that this run made.
    pub(super) fn made(content: Content) -> Self {
        Self(content)
    }

    /// Takes a signature that a registry has, unless it contains anything that verification does not read.
    pub(super) fn found(content: &Content, trust: &Trust) -> Option<Self> {
        let checked = content.candidate().check_plain(trust);
        checked.is_ok().then(|| Self(content.clone()))
    }
}

impl Deref for PlainContent {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}
