//! The errors of lists of referrers and of digest tags.

use std::borrow::Cow;

use crate::domain::{Digest, FullTag};
use crate::outcome::Subject;

/// The reason why a list of what refers to an image cannot be read or extended.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The referrers tag `sha256-…` or the digest tag `sha256-….sig` contains no list of signatures.
    #[error(
        "the tag `{tag}`, which is for the signatures of `{subject}`, {why}; it is left unchanged"
    )]
    Occupied {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
        /// The content that it has.
        why: Cow<'static, str>,
    },
    /// A tag pointed to a list, which the registry now reports as absent.
    #[error(
        "the tag `{tag}`, which is for the signatures of `{subject}`, pointed to a list a moment ago and is now absent; it is left unchanged"
    )]
    Vanished {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
    },
    /// A list of signatures accepts no more entries.
    #[error(
        "the tag `{tag}`, which lists the referrers of `{subject}`, is full: with one more entry it would have {bytes} bytes, and registries accept {limit}"
    )]
    Full {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
        /// The length of the list with the new entry.
        bytes: usize,
        /// The length up to which registries must accept manifests.
        limit: usize,
    },
    /// A list of signatures could not be built.
    #[error("could not list a signature")]
    Unwritable(#[source] serde_json::Error),
    /// A signature was pushed, but other writers overwrote the list each time.
    #[error(
        "the signature of `{subject}` was pushed, but other writers repeatedly overwrote its entry in the tag `{tag}`"
    )]
    Contended {
        /// The signed digest.
        subject: Digest,
        /// The tag.
        tag: FullTag,
    },
    /// A digest has more referrers than can be read.
    #[error("{count} manifests or signatures refer to `{subject}`; at most 10000 are read")]
    TooMany {
        /// The digest and its repository.
        subject: Box<Subject>,
        /// The number of its referrers.
        count: usize,
    },
}

impl ListError {
    /// Reports whether the content of a tag for lists prevents one more entry. Anyone with push access can cause that.
    #[must_use]
    pub(crate) fn is_about_list(&self) -> bool {
        matches!(self, Self::Occupied { .. } | Self::Full { .. })
    }
}
