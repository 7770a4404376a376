//! Signatures that may be stored: exactly what verification reads, and nothing beside it.

use std::ops::Deref;

use super::candidates::SignatureContent;
use crate::sigstore::Trust;

/// A signature that this run may store.
///
/// SECURITY: parts of a signature's document are not signed. Anyone who may push to one registry can store a changed
/// copy there that verifies. Such a copy is never stored in another registry.
#[derive(Debug, Clone)]
pub(crate) struct StorableSignature(SignatureContent);

impl StorableSignature {
    /// Takes a signature that this run made.
    pub(super) fn made(content: SignatureContent) -> Self {
        Self(content)
    }

    /// Takes a signature that a registry has, unless it contains anything that verification does not read.
    pub(super) fn found(content: &SignatureContent, trust: &Trust) -> Option<Self> {
        let checked = content.candidate().check_nothing_extra(trust);
        checked.is_ok().then(|| Self(content.clone()))
    }
}

impl Deref for StorableSignature {
    type Target = SignatureContent;

    fn deref(&self) -> &SignatureContent {
        &self.0
    }
}
