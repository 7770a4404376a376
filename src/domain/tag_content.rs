//! The content of a tag: a manifest, or something else that somebody has pushed there.

use std::error::Error;

use super::{Digest, Manifest, chain_text};

/// The maximum length of a reason. A parser's message quotes its input, which can have any length.
const REASON_MAX_LETTERS: usize = 300;

/// The content of a tag, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagContent {
    /// A manifest.
    Manifest(Manifest),
    /// Content that is not a manifest that this program can use. It counts as no index, and as nothing that this
    /// program wrote.
    Unusable(Unusable),
}

/// Content that a registry served with the digest that it states, and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    digest: Digest,
    /// The expected kind of content.
    kind: &'static str,
    reason: String,
}

impl TagContent {
    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Manifest(manifest) => manifest.digest(),
            Self::Unusable(unusable) => &unusable.digest,
        }
    }

    /// The manifest, if it is one.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Manifest(manifest) => Some(manifest),
            Self::Unusable(_) => None,
        }
    }
}

impl From<Manifest> for TagContent {
    fn from(manifest: Manifest) -> Self {
        Self::Manifest(manifest)
    }
}

impl Unusable {
    /// Makes unusable content with `error` as its reason.
    #[must_use]
    pub fn new(digest: Digest, error: &(dyn Error + 'static)) -> Self {
        Self::because(digest, "manifest", chain_text(error))
    }

    /// Makes unusable content that is not a list, for this reason.
    #[must_use]
    pub fn no_list(digest: Digest, reason: impl Into<String>) -> Self {
        Self::because(digest, "list", reason.into())
    }

    fn because(digest: Digest, kind: &'static str, mut reason: String) -> Self {
        if let Some((end, _)) = reason.char_indices().nth(REASON_MAX_LETTERS) {
            reason.truncate(end);
            reason.push('…');
        }
        Self {
            digest,
            kind,
            reason,
        }
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The reason why it cannot be used, as part of a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        format!("it is not a usable {}: {}", self.kind, self.reason)
    }
}
