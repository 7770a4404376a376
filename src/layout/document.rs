//! What a document in the folder is, and what it refers to.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::{Descriptor, Digest, MediaType};

/// The fields that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<MediaType>,
    manifests: Option<IgnoredAny>,
    artifact_type: Option<String>,
    config: Option<Config>,
    subject: Option<Subject>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}

/// What a document is: what it says, or, since OCI's may leave that out, what it has.
pub(super) fn media_type(bytes: &[u8]) -> MediaType {
    match serde_json::from_slice::<Kind>(bytes) {
        Ok(Kind {
            media_type: Some(media_type),
            ..
        }) => media_type,
        Ok(Kind {
            manifests: Some(_), ..
        }) => MediaType::OciIndex,
        Ok(_) | Err(_) => MediaType::OciManifest,
    }
}

/// A descriptor of the document `digest`, and what it refers to; `None` if it is no manifest that refers to anything.
pub(super) fn referrer(bytes: &[u8], digest: Digest) -> Option<(Digest, Descriptor)> {
    let document: Kind = serde_json::from_slice(bytes).ok()?;
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
