//! Signatures in cosign's older format: layers of one manifest under the tag `sha256-….sig`, which all signers share.
//!
//! Source: cosign 2, `pkg/oci/remote/write.go`, `pkg/oci/internal/signature/layer.go`.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt as _;

use super::SignatureError;
use super::candidates::{
    Candidate, CandidateResult, CandidateVerifier, FoundSignature, LayerRead, Lookup,
    SIGNATURE_MAX_BYTES, SignatureContent, read_layer, size_mismatch,
};
use super::legacy_layer::is_signature;
use super::one_at_first::one_at_first;
use super::refused::RefusedCandidate;
use crate::context::ReadContext;
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, Repository, SignatureFormat, TagContent, Unusable,
};
use crate::outcome::SignatureLocation;
use crate::referrers::{SeenList, SharedTag};
use crate::sigstore::{LegacySignature, SIGNATURE_ANNOTATION};

/// Returns the tag with the signatures of `subject`, if there can be one.
pub(super) fn tag<'a>(
    context: &'a ReadContext,
    repository: &'a Repository,
    subject: &'a Digest,
) -> Option<SharedTag<'a>> {
    let tag = subject.legacy_tag()?;
    Some(SharedTag::of_digest_tag(context, repository, &tag))
}

/// Looks up the signatures of `subject` under the tag, and verifies them until one counts. A tag with any other content
/// has no signatures: anyone with push access can write that.
pub(crate) async fn look_up(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
) -> Result<Lookup, SignatureError> {
    let Some(tag) = tag(context, repository, subject) else {
        return Ok(Lookup::default());
    };
    let (manifest, _permit) = tag.read_with_permit().await?;
    let manifest = match manifest {
        Some(TagContent::Manifest(manifest)) => manifest,
        Some(TagContent::Unusable(unusable)) => return Ok(no_signatures(subject, unusable)),
        None => return Ok(Lookup::default()),
    };
    let mut lookup = verify_layers(context, repository, subject, &manifest, verifier).await?;
    lookup.legacy = Some(SeenList::of(manifest));
    Ok(lookup)
}

/// Verifies the signatures in such a manifest until one counts. The last ones come first, since writers append. A payload
/// that cannot be read is an error, unless another signature counts.
pub(super) async fn verify_layers(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    manifest: &Manifest,
    verifier: &CandidateVerifier<'_>,
) -> Result<Lookup, SignatureError> {
    let layers = match layers(manifest) {
        Ok(layers) => layers,
        Err(unusable) => return Ok(no_signatures(subject, unusable)),
    };
    let mut lookup = Lookup::default();
    let signatures: Vec<&Descriptor> = layers.iter().filter(|layer| is_signature(layer)).collect();
    let mut payloads: BTreeMap<&Digest, Vec<usize>> = BTreeMap::new();
    for (number, layer) in signatures.iter().enumerate().rev() {
        payloads.entry(&layer.digest).or_default().push(number);
    }
    let mut payloads: Vec<Vec<usize>> = payloads.into_values().collect();
    payloads.sort_unstable_by(|one, other| other.cmp(one));
    // All signatures of one image under one name have the same payload. It is read once, and kept only while they are
    // verified.
    let results = payloads.into_iter().map(|numbers| {
        let signatures = &signatures;
        async move {
            let is_small = |number: &&usize| signatures[**number].size <= SIGNATURE_MAX_BYTES;
            // If every stated size is too large, the first one gives the verdict.
            let Some(first) = numbers.iter().find(is_small).or(numbers.first()) else {
                return Ok(Vec::new());
            };
            let payload = read_payload(context, repository, signatures[*first]).await?;
            let mut results = Vec::new();
            for number in numbers {
                let result = verify_one(manifest, subject, signatures[number], &payload, verifier);
                let counts = matches!(result, CandidateResult::Verified(_));
                results.push(result);
                if counts {
                    break;
                }
            }
            Ok::<_, SignatureError>(results)
        }
    });
    let mut results = pin!(one_at_first(results));
    let mut first_error = None;
    while !lookup.has_verified()
        && let Some(group) = results.next().await
    {
        match group {
            Ok(group) => group.into_iter().for_each(|one| lookup.note(one)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if !lookup.has_verified() => Err(error),
        Some(_) | None => Ok(lookup),
    }
}

/// Reads the content of a layer, whatever length it states: other layers may state it correctly.
async fn read_payload(
    context: &ReadContext,
    repository: &Repository,
    layer: &Descriptor,
) -> Result<LayerRead, SignatureError> {
    Ok(match read_layer(context, repository, layer).await? {
        LayerRead::WrongSize { bytes, .. } => LayerRead::Content(bytes),
        read @ (LayerRead::Content(_) | LayerRead::Missing | LayerRead::Broken(_)) => read,
    })
}

fn verify_one(
    manifest: &Manifest,
    subject: &Digest,
    layer: &Descriptor,
    payload: &LayerRead,
    verifier: &CandidateVerifier<'_>,
) -> CandidateResult {
    let location = location_of(manifest.digest(), &layer.annotations);
    let broken = |why: &str| CandidateResult::Refused(RefusedCandidate::broken(location.id(), why));
    let payload = match payload {
        LayerRead::Content(payload) => payload,
        LayerRead::WrongSize { why, .. } | LayerRead::Broken(why) => return broken(why),
        LayerRead::Missing => return CandidateResult::Dangling(layer.digest.clone()),
    };
    if let Some(why) = size_mismatch(payload, layer) {
        return broken(&why);
    }
    match verifier(&Candidate::Legacy(payload, &layer.annotations), subject) {
        Ok(signer) => CandidateResult::Verified(Box::new(FoundSignature {
            content: SignatureContent::Legacy(LegacySignature {
                payload: payload.clone(),
                annotations: layer.annotations.clone(),
                verified: signer,
            }),
            location,
        })),
        Err(refusal) => CandidateResult::Refused(RefusedCandidate::from_error(&location, &refusal)),
    }
}

/// Reports whether a manifest has any signature in this format.
pub(crate) fn has_signatures(manifest: &Manifest) -> bool {
    matches!(manifest.kind(), ManifestKind::Image { layers, .. } if layers.iter().any(is_signature))
}

/// Returns the layers of a signature tag's manifest. A manifest without any signature is some other image, or no image.
pub(super) fn layers(manifest: &Manifest) -> Result<&[Descriptor], Unusable> {
    let what = match manifest.kind() {
        ManifestKind::Image { layers, .. } if layers.iter().any(is_signature) => return Ok(layers),
        ManifestKind::Image { .. } => "none of its layers is a signature",
        ManifestKind::Index { .. } => "it is an index",
    };
    Err(Unusable::no_list(manifest.digest().clone(), what))
}

/// Creates a lookup that found no signatures of `subject`, because the tag has this content.
fn no_signatures(subject: &Digest, unusable: Unusable) -> Lookup {
    let mut lookup = Lookup::default();
    if let Some(tag) = subject.legacy_tag() {
        lookup.refuse_list(&tag.tag, &unusable);
    }
    lookup.legacy_obstacle = Some(unusable);
    lookup
}

/// Returns the location of the signature whose layer has these annotations.
pub(crate) fn location_of(
    manifest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> SignatureLocation {
    let signature = annotations
        .get(SIGNATURE_ANNOTATION)
        .map_or("", String::as_str);
    SignatureLocation {
        format: SignatureFormat::Legacy,
        manifest: manifest.clone(),
        signature: Some(Digest::of(signature.as_bytes())),
    }
}
