//! A tag by its full name. A bare one says nothing where a run has several repositories.

use std::fmt;

use super::{ImageReference, Reference, Repository, Tag};

/// A tag of a repository: `ghcr.io/octo-org/app:v1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullTag {
    /// Where.
    pub repository: Repository,
    /// The tag itself.
    pub tag: Tag,
}

impl FullTag {
    /// What asks a registry for it.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference::Tag(self.tag.clone())
    }
}

impl TryFrom<ImageReference> for FullTag {
    /// The reference as it was, which names no tag.
    type Error = ImageReference;

    fn try_from(image: ImageReference) -> Result<Self, ImageReference> {
        match image {
            ImageReference {
                repository,
                reference: Some(Reference::Tag(tag)),
            } => Ok(Self { repository, tag }),
            other => Err(other),
        }
    }
}

impl fmt::Display for FullTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.repository, self.tag)
    }
}
