//! The record: a run's findings, plans and actions, in one JSON file for the next step, job or rerun.
//!
//! It is written before each change, and when the results of changes are known, so that even a killed run leaves a record of
//! its last action. This room
//! defines the format of the file, its replacement in one step, and which records are vouched for. It must not depend on
//! the reasons for the recorded actions.

mod file;
mod record_export;
mod run;
mod selection_error;
mod vouched;

use serde::{Deserialize, Serialize};

use crate::domain::{Digest, MediaType};

pub use file::{RecordError, RecordFile};
pub use record_export::{Export, ExportedDigests, RecordExport, ReplacedRecord, export_name};
pub use run::WorkflowRun;
pub use selection_error::SelectionError;
pub use vouched::{KnownDigests, Loaded, Unvouched, VouchedImages, VouchedRecord};

/// The version of the format below. A reader refuses any other version, because it could only guess.
pub const SCHEMA: u32 = 1;

/// A whole record. It may contain several images, each with its platforms and its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of the format.
    pub schema: u32,
    /// The last run that wrote the record; `None` outside of Actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<WorkflowRun>,
    /// The images, in the order in which they were added.
    #[serde(default)]
    pub images: Vec<ImageRecord>,
}

/// One index in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// The repository.
    pub image: String,
    /// The index.
    pub digest: Digest,
    /// The media type of the index.
    pub media_type: MediaType,
    /// True if the run only found the index under a tag and nothing vouches for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// True if the repository did not contain the index before the first run that pushed it.
    ///
    /// It is false if that is unknown, as in the record of an older version. Nothing is deleted that may have existed before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// The images of the index by platform, in the order of the index.
    pub platforms: Vec<PlatformRecord>,
    /// The other manifests of the index: attestations.
    #[serde(default)]
    pub attestations: Vec<Digest>,
    /// Every tag that the run had to write.
    #[serde(default)]
    pub tags: Vec<TagRecord>,
    /// Every signature that the run found or made.
    #[serde(default)]
    pub signatures: Vec<SignatureRecord>,
}

/// An image in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformRecord {
    /// `linux/arm64/v8`.
    pub platform: String,
    /// The image.
    pub digest: Digest,
}

/// A tag, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagRecord {
    /// The tag's name.
    pub tag: String,
    /// True if the tag may move.
    pub moving: bool,
    /// Its digest before the first run that wrote it; `null` if it did not exist.
    pub before: Option<Digest>,
    /// Its present or intended digest.
    pub after: Digest,
    /// The progress of the tag.
    pub state: TagState,
}

/// The progress of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagState {
    /// A step of the plan: no write was sent, or the registry refused it.
    Planned,
    /// A write that was sent. Only the registry can answer whether it happened.
    Intended,
    /// Written by the run.
    Written,
    /// Unchanged: the tag already had the right digest.
    Kept,
}

impl TagState {
    /// True if the run wrote the tag, or may have written it.
    ///
    /// SECURITY: another run may write the same digest. What a run has not written is not its own to revert.
    #[must_use]
    pub fn may_be_written(self) -> bool {
        matches!(self, Self::Intended | Self::Written)
    }
}

/// A signature that a run found or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureRecord {
    /// The signed digest.
    pub subject: Digest,
    /// `bundle` or `legacy`.
    pub format: String,
    /// The manifest with the signature, once pushed.
    pub manifest: Option<Digest>,
    /// The digest of the signature itself, if several share one manifest (`legacy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Digest>,
    /// The signer's identity.
    pub identity: String,
    /// The issuer that vouches for the identity.
    pub issuer: String,
    /// The index of its entry in the transparency log.
    pub log_index: Option<u64>,
    /// True if this run made it.
    pub made: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run: None,
            images: Vec::new(),
        }
    }
}

impl Record {
    /// Returns the bytes of the file.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Replaces the entry of an earlier run for the same index.
    ///
    /// The previous digest of a tag stays as recorded by the first run that wrote the tag. A rerun finds its own digest
    /// under the tag, and would otherwise lose the digest that a cleanup must restore.
    pub fn put(&mut self, mut image: ImageRecord) {
        let Some(earlier) = self
            .images
            .iter_mut()
            .find(|known| known.image == image.image && known.digest == image.digest)
        else {
            self.images.push(image);
            return;
        };
        // An index that one run vouched for stays vouched for.
        image.observed &= earlier.observed;
        // A rerun finds the index that the first run created.
        image.created |= earlier.created;
        for tag in &mut image.tags {
            let known = earlier
                .tags
                .iter()
                .find(|known| known.tag == tag.tag && known.after == tag.after);
            if let Some(known) = known.filter(|known| known.state.may_be_written()) {
                let is_unchanged = tag.before.as_ref() == Some(&tag.after);
                if is_unchanged {
                    tag.before.clone_from(&known.before);
                    tag.state = TagState::Written;
                }
            }
        }
        let is_missing_in_new =
            |tag: &TagRecord| !image.tags.iter().any(|known| known.tag == tag.tag);
        let others: Vec<_> = earlier
            .tags
            .iter()
            .filter(|tag| is_missing_in_new(tag))
            .cloned()
            .collect();
        image.tags.extend(others);
        let is_missing_in_new = |signature: &SignatureRecord| {
            !image
                .signatures
                .iter()
                .any(|known| known.subject == signature.subject && known.id() == signature.id())
        };
        let others: Vec<_> = earlier
            .signatures
            .iter()
            .filter(|signature| is_missing_in_new(signature))
            .cloned()
            .collect();
        image.signatures.extend(others);
        *earlier = image;
    }

    /// Adds signatures to an image and keeps its other fields.
    pub fn add_signatures(&mut self, image: ImageRecord) {
        let names_a_subject = |known: &ImageRecord| {
            known.image == image.image
                && image.signatures.iter().any(|signature| {
                    let platforms = known.platforms.iter().map(|platform| &platform.digest);
                    platforms
                        .chain([&known.digest])
                        .any(|digest| *digest == signature.subject)
                })
        };
        match self
            .images
            .iter()
            .find(|known| names_a_subject(known))
            .cloned()
        {
            Some(known) => self.put(ImageRecord {
                signatures: image.signatures,
                ..known
            }),
            None => self.put(image),
        }
    }

    /// Returns the ids of the signatures of `subject` in `image`.
    pub fn signatures_of<'a>(
        &'a self,
        image: &'a str,
        subject: &'a Digest,
    ) -> impl Iterator<Item = &'a Digest> {
        let images = self.images.iter().filter(move |known| known.image == image);
        let signatures = images
            .flat_map(|known| &known.signatures)
            .filter(move |known| known.subject == *subject);
        signatures.filter_map(SignatureRecord::id)
    }

    /// Returns the manifests in which `image` had signatures of `subject` in this format.
    pub fn manifests_of(&self, image: &str, subject: &Digest, format: &str) -> Vec<Digest> {
        let images = self.images.iter().filter(|known| known.image == image);
        let signatures = images
            .flat_map(|known| &known.signatures)
            .filter(|known| known.subject == *subject && known.format == format);
        signatures
            .filter_map(|known| known.manifest.clone())
            .collect()
    }
}

impl SignatureRecord {
    /// Returns its id: its own digest if it shares a manifest, which others change; else the manifest's digest.
    #[must_use]
    pub fn id(&self) -> Option<&Digest> {
        self.signature.as_ref().or(self.manifest.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: Vec<TagRecord>) -> ImageRecord {
        ImageRecord {
            image: "ghcr.io/o/r".to_owned(),
            digest: Digest::of(b"index"),
            media_type: MediaType::OciIndex,
            observed: false,
            created: false,
            platforms: Vec::new(),
            attestations: Vec::new(),
            tags,
            signatures: Vec::new(),
        }
    }

    fn tag(before: Option<&[u8]>, state: TagState) -> TagRecord {
        let before = before.map(Digest::of);
        TagRecord {
            tag: "v1".to_owned(),
            moving: false,
            before,
            after: Digest::of(b"index"),
            state,
        }
    }

    #[test]
    fn a_rerun_does_not_forget_what_a_tag_held_first() {
        for before in [None, Some(b"earlier".as_slice())] {
            for state in [TagState::Intended, TagState::Written] {
                let mut record = Record::default();
                record.put(image(vec![tag(before, state)]));
                record.put(image(vec![tag(Some(b"index"), TagState::Kept)]));
                assert_eq!(record.images, [image(vec![tag(before, TagState::Written)])]);
            }
        }
    }

    #[test]
    fn a_tag_that_somebody_else_wrote_is_not_claimed() {
        let mut record = Record::default();
        record.put(image(vec![tag(Some(b"index"), TagState::Kept)]));
        record.put(image(vec![tag(Some(b"index"), TagState::Kept)]));
        assert_eq!(
            record.images,
            [image(vec![tag(Some(b"index"), TagState::Kept)])]
        );
    }

    #[test]
    fn image_that_was_vouched_for_once_stays_so() {
        for (first, second) in [(true, false), (false, true), (true, true)] {
            let mut record = Record::default();
            for observed in [first, second] {
                record.put(ImageRecord {
                    observed,
                    ..image(Vec::new())
                });
            }
            let observed = record.images.first().map(|image| image.observed);
            assert_eq!(observed, Some(first && second));
        }
    }

    #[test]
    fn image_that_a_run_created_stays_so() {
        for (first, second) in [(true, false), (false, true), (false, false)] {
            let mut record = Record::default();
            for created in [first, second] {
                record.put(ImageRecord {
                    created,
                    ..image(Vec::new())
                });
            }
            let created = record.images.first().map(|image| image.created);
            assert_eq!(created, Some(first || second));
        }
    }

    #[test]
    fn images_stand_beside_each_other() {
        let mut record = Record::default();
        record.put(image(Vec::new()));
        record.put(ImageRecord {
            image: "ghcr.io/o/other".to_owned(),
            ..image(Vec::new())
        });
        assert_eq!(record.images.len(), 2);
    }
}
