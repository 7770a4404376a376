//! What can be wrong with a folder that is to hold images.

use std::io;

use crate::domain::{Digest, ManifestError};

/// Why an image cannot be read from a folder.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder is something else.
    #[error("`{folder}` is no OCI image layout: {why}")]
    NoLayout {
        /// The folder.
        folder: String,
        /// What tells.
        why: String,
    },
    /// A file cannot be read.
    #[error("could not read `{path}`")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What should be a file of the folder is none, or is a link that leads out of it.
    #[error("`{0}` is no file in this folder")]
    NoFile(String),
    /// A file is longer than what it should hold can be.
    #[error("`{path}` has more than {limit} bytes")]
    TooLong {
        /// The file.
        path: String,
        /// The limit.
        limit: u64,
    },
    /// A folder has more files than can be looked through.
    #[error("`{path}` holds more than {limit} files")]
    TooMany {
        /// The folder.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// A file does not hold what its name says.
    #[error("the digest of `{path}` is `{computed}`")]
    OtherContent {
        /// The file.
        path: String,
        /// What it holds.
        computed: Digest,
    },
    /// A file should be a manifest.
    #[error("`{path}` cannot be used")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// No image of that name.
    #[error("`{folder}` has no image `{tag}`{}", images_text(.images))]
    NoImage {
        /// The folder.
        folder: String,
        /// The name.
        tag: String,
        /// What there is.
        images: Vec<String>,
    },
    /// Not just one image, and no name was given.
    #[error("`{folder}` does not hold just one image: name one (`oci:{folder}:…`){}", images_text(.images))]
    ManyImages {
        /// The folder.
        folder: String,
        /// What there is.
        images: Vec<String>,
    },
}

const IMAGES_SHOWN: usize = 20;

fn images_text(images: &[String]) -> String {
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
    /// Whether one piece of content is the fault, and not the folder: it cannot be used, whoever reads it.
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
