//! The record: what a run found, meant to do and did, in one JSON file that the next step, job or rerun reads.
//!
//! It is written before and after each change, so that a run which is killed still tells what it was at. This room
//! knows the file's shape, how to replace it in one step, and which of the files that lie there may decide something; it
//! refuses to know why anything in it happened.

mod file;
mod job;
mod run;
mod vouched;

use serde::{Deserialize, Serialize};

use crate::domain::{Digest, MediaType};

pub use file::{RecordError, RecordFile};
pub use job::{Announce, Announcement, Job, export_name};
pub use run::WorkflowRun;
pub use vouched::{KnownDigests, Loaded, Unvouched, VouchedImages, VouchedRecord};

/// The version of the shape below. A reader refuses any other, since it could only guess.
pub const SCHEMA: u32 = 1;

/// A whole record. It may hold several images, each with its platforms and its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of this shape.
    pub schema: u32,
    /// The run that wrote it last; none outside of Actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<WorkflowRun>,
    /// The images, in the order in which they came.
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
    /// What kind of index it is.
    pub media_type: MediaType,
    /// Whether the run only found it under a tag, and nothing vouches for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Whether the repository did not have the index before the first run that pushed it. Where that is not known, as in
    /// the record of an older version, it is false: nothing is deleted that may have been there before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
    /// What runs where, in the order of the index.
    pub platforms: Vec<PlatformRecord>,
    /// Everything else in the index: attestations.
    #[serde(default)]
    pub attestations: Vec<Digest>,
    /// Every tag that the run was to write.
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
    /// The tag.
    pub tag: String,
    /// Whether it may move.
    pub moving: bool,
    /// What it held before the first run that wrote it; `null` when it did not exist.
    pub before: Option<Digest>,
    /// What it holds, or is to hold.
    pub after: Digest,
    /// How far it got.
    pub state: TagState,
}

/// How far a tag got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagState {
    /// It is to be written; whether it was, only the registry knows.
    Intended,
    /// It was written.
    Written,
    /// It held the right content already.
    Kept,
}

/// A signature that a run found or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureRecord {
    /// What is signed.
    pub subject: Digest,
    /// `bundle` or `legacy`.
    pub format: String,
    /// The manifest that holds the signature, once it was pushed.
    pub manifest: Option<Digest>,
    /// What tells it from the others in that manifest, where it shares one (`legacy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Digest>,
    /// Whether it is listed under the fallback tag, and not by the registry itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tagged: bool,
    /// Who signed.
    pub identity: String,
    /// Who vouches for that.
    pub issuer: String,
    /// Where the transparency log has it.
    pub log_index: Option<u64>,
    /// Whether this run made it.
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
    /// The bytes that stand in the file.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Puts what a run says about an image in place of what an earlier one said about the same index.
    ///
    /// What a tag held before the first run that wrote it is kept from the earlier record: a rerun finds the tag holding
    /// its own digest and would otherwise forget what cleaning up must restore.
    pub fn put(&mut self, mut image: ImageRecord) {
        let Some(earlier) = self
            .images
            .iter_mut()
            .find(|known| known.image == image.image && known.digest == image.digest)
        else {
            self.images.push(image);
            return;
        };
        // What a run vouched for stays so, whatever a later one finds.
        image.observed &= earlier.observed;
        // A rerun finds what the first one created.
        image.created |= earlier.created;
        for tag in &mut image.tags {
            let known = earlier
                .tags
                .iter()
                .find(|known| known.tag == tag.tag && known.after == tag.after);
            if let Some(known) = known.filter(|known| known.state != TagState::Kept) {
                let found_as_left = tag.before.as_ref() == Some(&tag.after);
                if found_as_left {
                    tag.before.clone_from(&known.before);
                    tag.state = TagState::Written;
                }
            }
        }
        let told = |tag: &TagRecord| !image.tags.iter().any(|known| known.tag == tag.tag);
        let others: Vec<_> = earlier
            .tags
            .iter()
            .filter(|tag| told(tag))
            .cloned()
            .collect();
        image.tags.extend(others);
        let told = |signature: &SignatureRecord| {
            !image
                .signatures
                .iter()
                .any(|known| known.subject == signature.subject && known.id() == signature.id())
        };
        let others: Vec<_> = earlier
            .signatures
            .iter()
            .filter(|signature| told(signature))
            .cloned()
            .collect();
        image.signatures.extend(others);
        *earlier = image;
    }

    /// Adds signatures to what is known of an image; what else is known of it stays.
    pub fn add_signatures(&mut self, image: ImageRecord) {
        let holds = |known: &ImageRecord| {
            known.image == image.image
                && image.signatures.iter().any(|signature| {
                    let platforms = known.platforms.iter().map(|platform| &platform.digest);
                    platforms
                        .chain([&known.digest])
                        .any(|digest| *digest == signature.subject)
                })
        };
        match self.images.iter().find(|known| holds(known)).cloned() {
            Some(known) => self.put(ImageRecord {
                signatures: image.signatures,
                ..known
            }),
            None => self.put(image),
        }
    }

    /// Whether the record says that a signature of `subject` in `image` is listed under the fallback tag.
    #[must_use]
    pub fn is_tagged(&self, image: &str, subject: &Digest) -> bool {
        let mut images = self.images.iter().filter(|known| known.image == image);
        images.any(|known| {
            let mut signatures = known.signatures.iter();
            signatures.any(|signature| signature.tagged && signature.subject == *subject)
        })
    }

    /// What the signatures are known by that the record says were pushed for `subject` in `image`.
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
}

impl Record {
    /// The manifests in which `image` had signatures of `subject` in this format.
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
    /// What it is known by: its own digest where it shares a manifest, which others change, else the manifest's.
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
