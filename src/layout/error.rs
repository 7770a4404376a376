//! The errors of a folder with images.

use std::io;

use crate::domain::{Digest, ManifestError};

/// The reason why an image cannot be read from a folder.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder is no OCI image layout.
    #[error("`{folder}` is not an OCI image layout: {why}")]
    NoLayout {
        /// The folder.
        folder: String,
        /// The reason.
        why: String,
    },
    /// The place of the folder is a file.
    #[error(
        "`{0}` is a file, not a folder; an archive must be unpacked: `mkdir FOLDER && tar -xf ARCHIVE -C FOLDER`, then give `oci:FOLDER`"
    )]
    Archive(String),
    /// An index is there without some of its images.
    #[error("`{folder}` lacks images of the index `{index}`: {}", .missing.join(", "))]
    Incomplete {
        /// The folder.
        folder: String,
        /// The index.
        index: Digest,
        /// The platforms and digests of the missing images.
        missing: Vec<String>,
    },
    /// A file cannot be read.
    #[error("could not read `{path}`")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A path that must be a file in the folder is no file, or a link out of the folder.
    #[error("`{0}` is not a file in this folder")]
    NoFile(String),
    /// A file is longer than its limit.
    #[error("`{path}` has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// A folder contains too many files.
    #[error("`{path}` contains more than {limit} files")]
    TooMany {
        /// The folder.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The content of a file does not match its name.
    #[error("the digest of `{path}` is `{computed}`")]
    OtherContent {
        /// The file.
        path: String,
        /// The digest of its content.
        computed: Digest,
    },
    /// A file that must be a manifest is none.
    #[error("`{path}` cannot be used")]
    Malformed {
        /// The file.
        path: String,
        /// The problem.
        #[source]
        source: ManifestError,
    },
    /// No image has this name.
    #[error("`{folder}` has no image `{tag}`{}", names_text(.images))]
    NoImage {
        /// The folder.
        folder: String,
        /// The name.
        tag: String,
        /// The existing images.
        images: Vec<String>,
    },
    /// The folder does not contain exactly one image, and no name was given.
    #[error("`{folder}` does not contain exactly one image: name one (`oci:{folder}:…`){}", names_text(.images))]
    ManyImages {
        /// The folder.
        folder: String,
        /// The existing images.
        images: Vec<String>,
    },
}

const IMAGES_SHOWN: usize = 20;

fn names_text(images: &[String]) -> String {
    if images.is_empty() {
        return "; it has none".to_owned();
    }
    let images = images.iter().map(|image| format!("`{image}`"));
    format!("; it has {}", first_of(images).join(", "))
}

/// Returns the first of `texts`, and the number of the others.
pub(super) fn first_of(texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = texts.len().saturating_sub(IMAGES_SHOWN);
    let mut shown: Vec<String> = texts.take(IMAGES_SHOWN).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

impl LayoutError {
    /// True if the error is in one piece of content, not in the folder. No reader can use that content.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::OtherContent { .. } | Self::Malformed { .. } => true,
            Self::NoLayout { .. }
            | Self::Archive(_)
            | Self::Incomplete { .. }
            | Self::Unreadable { .. }
            | Self::NoFile(_)
            | Self::TooMany { .. }
            | Self::NoImage { .. }
            | Self::ManyImages { .. } => false,
        }
    }
}
