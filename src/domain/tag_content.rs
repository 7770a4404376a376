//! What a tag holds: a manifest, or something else that somebody has put there.

use std::error::Error;

use super::{Digest, Manifest};

/// The words of a parser quote what it could not read, to any length.
const REASON_MAX_LETTERS: usize = 300;

/// The content of a tag, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagContent {
    /// A manifest.
    Manifest(Manifest),
    /// No manifest that this program can use, whoever reads it: it is nobody's index, and nothing of ours.
    Unusable(Unusable),
}

/// Content that came, under the digest that the registry states, and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    digest: Digest,
    /// What it is not.
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
    /// Content that cannot be used because of `error`.
    #[must_use]
    pub fn new(digest: Digest, error: &dyn Error) -> Self {
        let mut reason = error.to_string();
        if let Some(cause) = error.source() {
            reason = format!("{reason}: {cause}");
        }
        Self::because(digest, "manifest", reason)
    }

    /// Content that is no list, for this reason.
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

    /// Why it cannot be used, as part of a sentence about it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("it is no {} that can be used: {}", self.kind, self.reason)
    }
}
