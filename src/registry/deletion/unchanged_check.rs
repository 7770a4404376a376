//! Checks that a tag still has the content that is to be removed from it.

use std::cell::Cell;

use super::undeleted::TagDeletion;
use crate::domain::{Reference, Tag};
use crate::registry::TagRead;
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;

/// The check before each attempt to delete a tag. A deletion that is repeated after an error would otherwise remove what
/// another run wrote in the meantime.
pub(super) struct UnchangedCheck<'a> {
    registry: &'a Registry,
    deletion: TagDeletion<'a>,
    tag: &'a Tag,
    read: Cell<TagRead>,
}

impl<'a> UnchangedCheck<'a> {
    /// Returns each tag of `deletion` with its check. The caller has read all of them just now, and the deletion of the
    /// first takes time.
    pub(super) fn each(
        registry: &'a Registry,
        deletion: TagDeletion<'a>,
    ) -> impl Iterator<Item = (&'a Tag, Self)> {
        deletion.tags.iter().enumerate().map(move |(number, tag)| {
            let read = if number == 0 {
                TagRead::JustNow
            } else {
                TagRead::Earlier
            };
            let current = Self {
                registry,
                deletion,
                tag,
                read: Cell::new(read),
            };
            (tag, current)
        })
    }

    /// Reads the tag, unless this is the first attempt after the caller's read.
    pub(super) async fn check(&self) -> Result<(), RegistryErrorKind> {
        if self.read.replace(TagRead::Earlier) == TagRead::JustNow {
            return Ok(());
        }
        let reference = Reference::Tag(self.tag.clone());
        let current = self
            .registry
            .manifest_digest(self.deletion.repository, &reference)
            .await
            .map_err(|error| error.kind)?;
        if current.as_ref() == Some(self.deletion.digest) {
            return Ok(());
        }
        Err(RegistryErrorKind::Moved {
            digest: self.deletion.digest.clone(),
        })
    }
}
