//! Adds signatures in cosign's older format to the manifest that all signers share.

use super::SignatureError;
use super::legacy::{layers, location_of, tag};
use super::legacy_manifest::{SignatureConfig, append, begin, config_of, contains_signature};
use crate::context::{Context, ReadContext};
use crate::domain::{Digest, Manifest, Repository};
use crate::outcome::SignatureLocation;
use crate::referrers::{PendingSettle, SeenList, SharedTagWriter, SubjectAge, TagSnapshot};
use crate::sigstore::LegacySignature;

/// The maximum length of the config of a signature manifest.
const SIGNATURE_CONFIG_MAX_BYTES: u64 = 4 << 20;

/// Adds `signature` to those of `subject`. Returns its location, and the remaining work until its entry is stable.
pub(crate) async fn attach<'a>(
    context: &'a Context,
    repository: &'a Repository,
    subject: &'a Digest,
    signature: &LegacySignature,
    seen: Option<SeenList>,
    age: SubjectAge,
) -> Result<(SignatureLocation, PendingSettle<'a, SignatureError>), SignatureError> {
    let ours = signature.clone();
    let shared = || {
        let tag = tag(context, repository, subject);
        tag.ok_or_else(|| SignatureError::UnsupportedDigest(subject.clone()))
    };
    let add = async move |current: Option<&Manifest>| {
        let Some(manifest) = current else {
            return begin(&ours).map(Some);
        };
        let tag = shared()?;
        let layers = layers(manifest).map_err(|unusable| tag.unusable(&unusable))?;
        if contains_signature(layers, &ours) {
            return Ok(None);
        }
        let config = read_config(context, repository, manifest).await?;
        append(manifest, config, &ours).map(Some)
    };
    // The parts are uploaded first, and the tag is looked at just before the write.
    let writer = SharedTagWriter::new(context, shared()?.seen(seen.clone()));
    let snapshot = match (&seen, age) {
        (None, SubjectAge::Unknown(_)) => writer.read_snapshot_of(age).await?.for_long_merge(),
        (Some(_), _) | (None, SubjectAge::New) => TagSnapshot::from_earlier_read(seen),
    };
    let (manifest, pending_settle) = writer.update_from(snapshot, add).await?;
    // The tag had the signature already, or it was just written.
    let tag = shared()?;
    let manifest =
        manifest.ok_or_else(|| tag.occupied("does not point to the signature that was written"))?;
    Ok((
        location_of(&manifest, &signature.annotations),
        pending_settle,
    ))
}

/// Reads the config of a signature manifest, if that is possible.
pub(crate) async fn read_config(
    context: &ReadContext,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<SignatureConfig, SignatureError> {
    Ok(match config_of(manifest) {
        None => SignatureConfig::Foreign,
        Some(config) if config.size > SIGNATURE_CONFIG_MAX_BYTES => SignatureConfig::Missing,
        Some(config) => {
            let registry = &context.registry;
            let blob = registry.blob(repository, &config.digest, SIGNATURE_CONFIG_MAX_BYTES);
            match blob.await {
                Ok(known) => known.map_or(SignatureConfig::Missing, SignatureConfig::Known),
                Err(error) if error.is_about_content() => SignatureConfig::Missing,
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Returns the name that cosign uses for a repository in a signed payload.
pub(crate) fn docker_reference(repository: &Repository) -> String {
    let host = repository.host();
    let host = if host.is_docker_hub() {
        "index.docker.io"
    } else {
        host.as_str()
    };
    format!("{host}/{}", repository.path())
}
