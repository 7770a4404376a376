//! Media types of manifests, as the `Content-Type` of a registry and the `mediaType` of a descriptor spell them.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

const SHOWN_MAX_LETTERS: usize = 100;

/// The media type of something a descriptor points to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum MediaType {
    /// An OCI image index.
    OciIndex,
    /// An OCI image manifest.
    OciManifest,
    /// A Docker manifest list, version 2.
    DockerList,
    /// A Docker image manifest, version 2, schema 2.
    DockerManifest,
    /// Anything else, as it was spelled.
    Other(String),
}

impl MediaType {
    /// Every media type that a request for a manifest accepts.
    pub const MANIFESTS: [Self; 4] = [
        Self::OciIndex,
        Self::OciManifest,
        Self::DockerList,
        Self::DockerManifest,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Other(text) => text,
        }
    }

    /// True if it is an index or a manifest list.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// True if it is the manifest of a single image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }
}

impl From<&str> for MediaType {
    /// Reads a media type. Parameters such as `; charset=utf-8` are dropped and case is folded.
    fn from(text: &str) -> Self {
        let bare = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        Self::MANIFESTS
            .into_iter()
            .find(|known| known.as_str() == bare)
            .unwrap_or(Self::Other(bare))
    }
}

impl From<String> for MediaType {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.as_str().to_owned()
    }
}

impl fmt::Display for MediaType {
    /// Writes the media type for people, shortened if it is long: its author may have written any text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = self.as_str().chars();
        for letter in letters.by_ref().take(SHOWN_MAX_LETTERS) {
            formatter.write_char(letter)?;
        }
        if letters.next().is_some() {
            formatter.write_char('…')?;
        }
        Ok(())
    }
}
