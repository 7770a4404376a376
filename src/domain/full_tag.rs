//! A tag by its full name. The bare name is ambiguous in a run with several repositories.

use std::fmt;

use super::{ImageReference, Reference, Repository, Tag};

/// A tag of a repository: `ghcr.io/octo-org/app:v1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullTag {
    /// The repository.
    pub repository: Repository,
    /// The tag itself.
    pub tag: Tag,
}

impl FullTag {
    /// The reference to this tag within its repository.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference::Tag(self.tag.clone())
    }
}

impl TryFrom<ImageReference> for FullTag {
    /// The unchanged reference, if it names no tag.
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
