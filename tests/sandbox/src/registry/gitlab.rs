//! The differences of GitLab's registry in what it takes for a manifest's name, and in which referrers it accepts.

use super::routes::{Refusal, refuse};
use super::store::Store;
use serde_json::Value;

/// Artifact types that GitLab's registry accepts. Sources: distribution#4927 (the first), `config.md` of image-spec.
const KNOWN_ARTIFACT_TYPES: [&str; 3] = [
    "application/vnd.in-toto+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Returns the digest `sha256:HEX` of a manifest that exists, for the reference `sha256-HEX`.
pub(crate) fn image_of_dash(store: &Store, name: &str, reference: &str) -> Option<String> {
    let digest = reference.replacen("sha256-", "sha256:", 1);
    let manifest = store.manifest(name, &digest)?;
    (digest != reference).then(|| manifest.digest.clone())
}

/// Checks the artifact type of a manifest, and that its subject exists and has no media type of Docker's.
pub(crate) fn check_artifact(store: &Store, name: &str, manifest: &Value) -> Result<(), Refusal> {
    let own = manifest["artifactType"]
        .as_str()
        .filter(|own| !own.is_empty());
    if let Some(artifact_type) = own.or_else(|| manifest["config"]["mediaType"].as_str())
        && !KNOWN_ARTIFACT_TYPES.contains(&artifact_type)
    {
        let detail = format!("unknown media type: {artifact_type}");
        return refuse(400, "MANIFEST_INVALID", "manifest invalid").map_err(with_detail(detail));
    }
    let Some(subject) = manifest["subject"]["digest"].as_str() else {
        return Ok(());
    };
    let is_docker = |media_type: &str| media_type.starts_with("application/vnd.docker.");
    match store.manifest(name, subject) {
        Some(held) if !is_docker(&held.media_type) => Ok(()),
        _ => refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
            .map_err(with_detail(subject)),
    }
}

fn with_detail(detail: impl Into<String>) -> impl FnOnce(Refusal) -> Refusal {
    move |refusal| refusal.detail(detail)
}
