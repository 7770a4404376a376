//! The media type of a document in the folder, and its subject.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::{Descriptor, Digest, MediaType};

/// The fields that identify the type of a document.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionMarker {
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
    artifact_type: Option<String>,
    config: Option<LayoutConfig>,
    subject: Option<SubjectDescriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutConfig {
    media_type: String,
}

#[derive(Deserialize)]
struct SubjectDescriptor {
    digest: Digest,
}

/// Returns the media type of a document. OCI documents may omit it, so their fields decide then.
pub(super) fn media_type(bytes: &[u8]) -> MediaType {
    match serde_json::from_slice::<VersionMarker>(bytes) {
        Ok(VersionMarker {
            media_type: Some(media_type),
            ..
        }) => media_type,
        Ok(VersionMarker {
            manifests: Some(_), ..
        }) => MediaType::OciIndex,
        Ok(_) | Err(_) => MediaType::OciManifest,
    }
}

/// Returns the subject of the document `digest` and a descriptor of the document. `None` if it is no manifest with a subject.
pub(super) fn referrer(bytes: &[u8], digest: Digest) -> Option<(Digest, Descriptor)> {
    let document: VersionMarker = serde_json::from_slice(bytes).ok()?;
    let media_type = document
        .media_type
        .filter(|own| own.is_index() || own.is_image())?;
    let size = u64::try_from(bytes.len()).ok()?;
    let mut entry = Descriptor::new(media_type, size, digest);
    let config_type = document.config.map(|config| config.media_type);
    entry.artifact_type = document.artifact_type.or(config_type);
    entry.annotations = document.annotations.unwrap_or_default();
    Some((document.subject?.digest, entry))
}
