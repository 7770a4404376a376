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
    let mut shown: Vec<String> = images
        .iter()
        .take(IMAGES_SHOWN)
        .map(|image| format!("`{image}`"))
        .collect();
    if images.len() > shown.len() {
        shown.push(format!("and {} more", images.len() - shown.len()));
    }
    if shown.is_empty() {
        "; it has none".to_owned()
    } else {
        format!("; it has {}", shown.join(", "))
    }
}

impl LayoutError {
    /// True if the error is in one piece of content, not in the folder. No reader can use that content.
    #[must_use]
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::OtherContent { .. } | Self::Malformed { .. } => true,
            Self::NoLayout { .. }
            | Self::Unreadable { .. }
            | Self::NoFile(_)
            | Self::TooMany { .. }
            | Self::NoImage { .. }
            | Self::ManyImages { .. } => false,
        }
    }
}
