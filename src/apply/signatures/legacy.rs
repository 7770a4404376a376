//! Signatures in cosign's older format: layers of one manifest under the tag `sha256-….sig`, which all signers share.
//!
//! Source: cosign 2, `pkg/oci/remote/write.go`, `pkg/oci/internal/signature/layer.go`.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::legacy_manifest::{Config, append, begin, config_of, holds, is_signature};
use super::lookup::{
    Api, Candidate, Content, Held, Judge, Judged, Lookup, REFERRERS_MAX, SIGNATURE_MAX_BYTES,
};
use super::settle::{Settling, Shared};
use crate::apply::children::PARALLEL;
use crate::apply::receipt::Place;
use crate::apply::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Repository, SignatureFormat};
use crate::signing::{LegacySignature, Refusal};

/// The annotation that holds the signature itself.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What is wrong with a tag that holds anything else.
const OTHERS: &str = "holds something else than signatures";
const CONFIG_MAX_BYTES: u64 = 4 << 20;

/// The tag that holds the signatures of `subject`.
fn tag<'a>(context: &'a Context, repository: &'a Repository, subject: &'a Digest) -> Shared<'a> {
    Shared::new(context, repository, subject, subject.legacy_tag())
}

/// Looks up every signature of `subject` under the tag and has each judged. A tag that holds anything but signatures is an
/// error: what it should say is not known.
pub(in crate::apply) async fn look_up(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
) -> Result<Lookup, ApplyError> {
    let tag = tag(context, repository, subject);
    let Some(manifest) = tag.read().await? else {
        return Ok(Lookup::of(Api::FallbackTag));
    };
    let mut lookup = judge_all(context, repository, subject, &manifest, judge).await?;
    lookup.legacy = Some(manifest);
    Ok(lookup)
}

/// Has every signature in such a manifest judged.
pub(super) async fn judge_all(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    manifest: &Manifest,
    judge: &Judge<'_>,
) -> Result<Lookup, ApplyError> {
    let mut lookup = Lookup::of(Api::FallbackTag);
    let tag = tag(context, repository, subject);
    let signatures: Vec<&Descriptor> = layers(manifest, &tag)?
        .iter()
        .filter(|layer| is_signature(layer))
        .collect();
    let mut payloads: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
    for (number, layer) in signatures.iter().enumerate() {
        payloads.entry(&layer.digest).or_default().push(number);
    }
    // All signatures of one image under one name have the same payload. It is read once, and kept only while they are judged.
    let judged = payloads.into_iter().map(|(digest, numbers)| {
        let signatures = &signatures;
        async move {
            let registry = &context.registry;
            let small = |number: &usize| signatures[*number].size <= SIGNATURE_MAX_BYTES;
            let payload = if numbers.iter().any(small) {
                let blob = registry.blob(repository, digest, SIGNATURE_MAX_BYTES);
                blob.await?
            } else {
                None
            };
            let judged = numbers.into_iter().map(|number| {
                let layer = signatures[number];
                let judged = judge_one(manifest, subject, layer, payload.as_deref(), judge);
                (number, judged)
            });
            Ok::<Vec<_>, ApplyError>(judged.collect())
        }
    });
    let judged: Vec<_> = stream::iter(judged)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let in_order: BTreeMap<usize, Judged> = judged.into_iter().flatten().collect();
    for one in in_order.into_values() {
        lookup.note(one);
    }
    Ok(lookup)
}

fn judge_one(
    manifest: &Manifest,
    subject: &Digest,
    layer: &Descriptor,
    payload: Option<&[u8]>,
    judge: &Judge<'_>,
) -> Judged {
    let place = place(manifest.digest(), &layer.annotations);
    let Some(payload) = payload else {
        return if layer.size > SIGNATURE_MAX_BYTES {
            Judged::Refused(place, Refusal::TooLarge { size: layer.size })
        } else {
            Judged::Dangling(layer.digest.clone())
        };
    };
    match judge(&Candidate::Legacy(payload, &layer.annotations), subject) {
        Ok(verified) => Judged::Verified(Box::new(Held {
            place,
            content: Content::Legacy(LegacySignature {
                payload: payload.to_vec(),
                annotations: layer.annotations.clone(),
                verified,
            }),
        })),
        Err(refusal) => Judged::Refused(place, refusal),
    }
}

/// Adds `signature` to those of `subject`. Returns where it is, and what is left to do for it to stay there.
pub(in crate::apply) async fn attach<'a>(
    context: &'a Context,
    repository: &'a Repository,
    subject: &'a Digest,
    signature: &LegacySignature,
    seen: Option<Manifest>,
) -> Result<(Place, Settling<'a>), ApplyError> {
    let ours = signature.clone();
    let shared = || tag(context, repository, subject);
    let add = async move |current: Option<&Manifest>| {
        let Some(manifest) = current else {
            return begin(&ours).map(Some);
        };
        if holds(layers(manifest, &shared())?, &ours) {
            return Ok(None);
        }
        let config = read_config(context, repository, manifest).await?;
        append(manifest, config, &ours).map(Some)
    };
    let (manifest, settling) = shared().seen(seen).begin(add).await?;
    // Either it was there, or it was written.
    let manifest = manifest.ok_or_else(|| shared().occupied(OTHERS))?;
    Ok((place(&manifest, &signature.annotations), settling))
}

/// The config of a manifest of signatures, as far as it is known.
pub(in crate::apply) async fn read_config(
    context: &Context,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Config, ApplyError> {
    Ok(match config_of(manifest) {
        None => Config::Foreign,
        Some(config) if config.size > CONFIG_MAX_BYTES => Config::Lost,
        Some(config) => {
            let registry = &context.registry;
            let blob = registry.blob(repository, &config.digest, CONFIG_MAX_BYTES);
            blob.await?.map_or(Config::Lost, Config::Known)
        }
    })
}

/// The name by which cosign calls a repository in what it signs.
pub(in crate::apply) fn docker_reference(repository: &Repository) -> String {
    let host = repository.host();
    let host = if host.is_docker_hub() {
        "index.docker.io"
    } else {
        host.as_str()
    };
    format!("{host}/{}", repository.path())
}

/// The layers of what a tag for signatures holds. A manifest without any signature is somebody's image, or no image at all.
fn layers<'a>(manifest: &'a Manifest, tag: &Shared<'_>) -> Result<&'a [Descriptor], ApplyError> {
    match manifest.kind() {
        ManifestKind::Image { layers, .. } if layers.len() > REFERRERS_MAX => {
            Err(ApplyError::TooManyReferrers {
                subject: Box::new(tag.subject()),
                count: layers.len(),
            })
        }
        ManifestKind::Image { layers, .. } if layers.iter().any(is_signature) => Ok(layers),
        ManifestKind::Image { .. } | ManifestKind::Index { .. } => Err(tag.occupied(OTHERS)),
    }
}

fn place(manifest: &Digest, annotations: &BTreeMap<String, String>) -> Place {
    let signature = annotations.get(SIGNATURE).map_or("", String::as_str);
    Place {
        format: SignatureFormat::Legacy,
        is_tagged: false,
        manifest: manifest.clone(),
        signature: Some(Digest::of(signature.as_bytes())),
    }
}
