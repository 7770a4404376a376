//! The errors of a record that should supply the images of a run.

use super::{RecordError, Unvouched};
use crate::domain::Digest;

/// The reason why a record supplies no image.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// No record exists to take the digests from.
    #[error("no tag and no digest is named, and there is no record `{0}`")]
    NoRecord(String),
    /// The record that is named as the source does not exist.
    #[error("there is no record `{0}`")]
    NoSuchRecord(String),
    /// Nothing vouches for a record that should supply digests.
    #[error("the record `{name}` is not trusted: {why}")]
    Unvouched {
        /// The record.
        name: String,
        /// The reason.
        why: Box<Unvouched>,
    },
    /// A vouched record names an image that its run only found under a tag.
    #[error(
        "the run of the record `{name}` found `{image}` under a tag and did not make it: it is not verified"
    )]
    Observed {
        /// The record.
        name: String,
        /// The image, as the record names it.
        image: String,
    },
    /// A record has several images, and the inputs do not select one for the tags.
    #[error("the record contains several images, and a tag can point to only one: omit `tags` and `moving-tags` (`image` names the destination), or name one image as the `source`: {}", digests_text(.0))]
    Several(Vec<Digest>),
    /// The record names no digest to sign.
    #[error("the record `{0}` names nothing to sign{1}")]
    Empty(String, String),
    /// The record cannot be read.
    #[error(transparent)]
    Unreadable(#[from] RecordError),
    /// The record names an invalid repository.
    #[error("the record names `{0}`, which is not a repository")]
    OddRepository(String),
}

fn digests_text(digests: &[Digest]) -> String {
    let digests: Vec<String> = digests.iter().map(|digest| format!("`{digest}`")).collect();
    digests.join(", ")
}
