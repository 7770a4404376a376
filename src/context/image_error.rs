//! The errors of images that cannot be used: absent, incomplete, or not an image.

use crate::domain::{ContradictedPlatform, Digest, ImageReference};

/// The reason why an image, or a part of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A child is absent after all tries of the retry policy.
    #[error("`{image}` was not found")]
    MissingChild {
        /// The child.
        image: Box<ImageReference>,
    },
    /// An image to sign or verify does not exist.
    #[error("`{0}` was not found")]
    MissingImage(Box<ImageReference>),
    /// A tag that approves its content to be signed or copied is answered by another host.
    #[error("the registry redirects `{image}` to another host, which answers with `{digest}`")]
    AnsweredElsewhere {
        /// The image, by its tag.
        image: Box<ImageReference>,
        /// The digest of the content there.
        digest: Digest,
    },
    /// An image's config is not in the repository.
    #[error("the config of the image `{image}` was not found: `{config}`")]
    MissingConfig {
        /// The image.
        image: Box<ImageReference>,
        /// Its config.
        config: Digest,
    },
    /// Content to copy is in none of its possible sources.
    #[error("`{digest}`{} {}", part_text(.parent.as_ref()), sources_text(.sources))]
    NotAtSource {
        /// The missing content.
        digest: Digest,
        /// The manifest that points to it.
        parent: Option<Digest>,
        /// The places that were searched.
        sources: Vec<String>,
    },
    /// No source has the image.
    #[error("no `source` has the image: it was not found in `{}`", .0.join("`, `"))]
    NoSource(Vec<String>),
    /// A config names no platform: the manifest is an artifact, not an image.
    #[error("`{image}`{} names no platform: its config is a `{config}`", index_text(.index.as_ref()))]
    NoPlatform {
        /// The manifest.
        image: Digest,
        /// The given index that lists it.
        index: Option<Digest>,
        /// The media type of its config.
        config: String,
        /// The part that the config lacks.
        #[source]
        source: serde_json::Error,
    },
    /// A child of an index is neither an image, nor an index, nor an attestation.
    #[error("`{digest}`{} is a `{is}`, which cannot be part of an image index", index_text(.index.as_ref()))]
    NotAnImage {
        /// The child.
        digest: Digest,
        /// The given index that lists it.
        index: Option<Digest>,
        /// Its media type.
        is: String,
    },
    /// An index and an image state different platforms.
    #[error(transparent)]
    ContradictedPlatform(Box<ContradictedPlatform>),
    /// An attestation is for an image that its index does not contain.
    #[error(
        "the index `{index}` contains the attestation `{digest}` of an image that is not in the index"
    )]
    LostAttestation {
        /// The index.
        index: Digest,
        /// The attestation.
        digest: Digest,
    },
    /// An index without children, or with too many.
    #[error("the index `{digest}` has {children} children; 1 to 1000 are supported")]
    OddIndex {
        /// The index.
        digest: Digest,
        /// The number of its children.
        children: usize,
    },
    /// The nesting of indexes exceeds the limit.
    #[error("`{digest}` nests indexes more than {limit} deep")]
    TooDeep {
        /// The outermost index.
        digest: Digest,
        /// The limit.
        limit: usize,
    },
}

impl ImageError {
    /// Returns this error about a child of the given index `index`.
    #[must_use]
    pub(crate) fn listed_by(mut self, by: &Digest) -> Self {
        if let Self::NoPlatform { index, .. } | Self::NotAnImage { index, .. } = &mut self {
            *index = Some(by.clone());
        }
        self
    }

    /// Reports whether fetched content is the cause: no reader can use the content of that digest.
    #[must_use]
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(
            self,
            Self::NotAtSource { .. } | Self::TooDeep { .. } | Self::OddIndex { .. }
        )
    }

    /// Reports whether absent content is the cause, which may change by the next try.
    #[must_use]
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::MissingChild { .. } | Self::MissingImage(_))
    }
}

fn index_text(index: Option<&Digest>) -> String {
    index.map_or(String::new(), |index| format!(", part of `{index}`,"))
}

fn part_text(parent: Option<&Digest>) -> String {
    parent.map_or(String::new(), |parent| format!(", part of `{parent}`,"))
}

fn sources_text(sources: &[String]) -> String {
    match sources {
        [] => "was not found".to_owned(),
        [place] => format!("was not found in `{place}`"),
        sources => format!("was not found in any of `{}`", sources.join("`, `")),
    }
}
