//! Reads possible Sigstore bundles from any source of a copy, and finds signatures in folders.

use super::CopyError;
use super::bundle_manifest::strict_entry;
use super::source::{KnownSource, Source};
use crate::context::Context;
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, PREDICATE_TYPE, SignatureFormat, chain_text,
    other_predicate,
};
use crate::outcome::SignatureLocation;
use crate::signatures::candidates::{
    Candidate, CandidateResult, CandidateVerifier, FoundSignature, LayerRead, SIGNATURE_MAX_BYTES,
    SignatureContent, bundle_of, read_layer_with,
};
use crate::signatures::legacy::location_of;
use crate::signatures::legacy_layer::is_signature;
use crate::signatures::lookup::Lookup;
use crate::signatures::refused::RefusedCandidate;
use crate::sigstore::{LegacySignature, Signature, VerificationError};

/// The needed contents of a referrer's manifest. Its bytes may be as long as those of any manifest.
pub(super) struct ReferrerManifest {
    /// The digest that it refers to.
    pub(super) subject: Option<Digest>,
    /// The predicate type that it states.
    pub(super) predicate: Option<String>,
    /// The entry for it in a list of referrers; or the part of it that its bundle does not cover.
    pub(super) entry: Result<Descriptor, String>,
    /// Its artifact type.
    kind: String,
    /// The layer with the bundle.
    bundle: Option<Descriptor>,
}

/// The result of reading a referrer.
pub(super) enum BundleRead {
    /// The bytes of a bundle.
    Bundle(Vec<u8>),
    /// An artifact of this type, which is no bundle.
    Other(String),
    /// A bundle that cannot be read, whose manifest names this predicate type.
    Statement(String),
    /// Content that cannot be read, with the reason.
    Broken(String),
    /// A bundle that is absent.
    Missing,
}

/// The verdict on one layer of a signature manifest.
pub(super) enum LayerResult<T> {
    /// A signature that counts.
    Signature(T),
    /// A layer that does not count, with the reason.
    Refused(RefusedCandidate),
    /// A layer that is no signature.
    Unrelated,
}

impl ReferrerManifest {
    /// Reads the manifest of a referrer. `subject` is the manifest that it should refer to, if that was read.
    pub(super) fn of(manifest: &Manifest, subject: Option<&Descriptor>) -> Self {
        let bundle = bundle_of(manifest).cloned();
        let entry = match (&bundle, subject) {
            (Some(bundle), Some(subject)) => strict_entry(manifest, bundle, subject),
            (Some(_) | None, _) => Err("subject".to_owned()),
        };
        Self {
            subject: manifest.subject().map(|subject| subject.digest.clone()),
            predicate: manifest.annotation(PREDICATE_TYPE).map(str::to_owned),
            entry,
            kind: type_of(manifest),
            bundle,
        }
    }
}

/// Reads the bundle of a referrer. A failed request is an error; invalid content is not an error but broken.
pub(super) async fn read_bundle(
    context: &Context,
    source: &Source,
    manifest: &ReferrerManifest,
) -> Result<BundleRead, CopyError> {
    let Some(bundle) = &manifest.bundle else {
        return Ok(BundleRead::Other(manifest.kind.clone()));
    };
    let predicate = other_predicate(manifest.predicate.as_deref()).map(str::to_owned);
    let read = read_content(context, source, bundle).await?;
    Ok(match (read, predicate) {
        (LayerRead::Content(bytes), _) => BundleRead::Bundle(bytes),
        (
            LayerRead::WrongSize { .. } | LayerRead::Broken(_) | LayerRead::Missing,
            Some(predicate),
        ) => BundleRead::Statement(predicate),
        (LayerRead::WrongSize { why, .. } | LayerRead::Broken(why), None) => {
            BundleRead::Broken(why)
        }
        (LayerRead::Missing, None) => BundleRead::Missing,
    })
}

async fn read_content(
    context: &Context,
    source: &Source,
    layer: &Descriptor,
) -> Result<LayerRead, CopyError> {
    let read = source.content(context, &layer.digest, SIGNATURE_MAX_BYTES);
    read_layer_with(layer, read, CopyError::is_about_content).await
}

/// The artifact type of a manifest.
fn type_of(manifest: &Manifest) -> String {
    match manifest.kind() {
        ManifestKind::Image {
            artifact_type,
            config,
            ..
        } => {
            let own = artifact_type.clone().filter(|own| !own.is_empty());
            own.unwrap_or_else(|| config.media_type.to_string())
        }
        ManifestKind::Index { .. } => manifest.media_type().to_string(),
    }
}

/// Looks up the signatures of `subject` in a folder. The content of a folder does not change, so nothing is retried.
pub(crate) async fn look_up(
    context: &Context,
    source: &Source,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
) -> Result<Lookup, CopyError> {
    let mut lookup = Lookup::default();
    let known = KnownSource::read(context, source.clone()).await;
    for entry in known.referrers(context, subject).await?.entries.listed {
        let predicate = entry.annotations.get(PREDICATE_TYPE).map(String::as_str);
        let result = match other_predicate(predicate) {
            Some(predicate) => {
                CandidateResult::Refused(RefusedCandidate::statement(&entry.digest, predicate))
            }
            None => match read_listed(context, source, &entry.digest).await? {
                // A signature counts, whatever else its manifest contains.
                BundleRead::Bundle(bundle) => {
                    verify_bundle(bundle, &entry.digest, subject, verifier)
                }
                BundleRead::Broken(why) => {
                    CandidateResult::Refused(RefusedCandidate::broken(&entry.digest, &why))
                }
                BundleRead::Other(_) | BundleRead::Statement(_) | BundleRead::Missing => {
                    CandidateResult::Unrelated
                }
            },
        };
        lookup.note(result);
        if lookup.has_verified() {
            return Ok(lookup);
        }
    }
    if let Source::Layout(layout) = source
        && let Some(tag) = subject.legacy_tag()
        && let Some(signatures) = layout.digest_tag(&tag)
        && let Some(manifest) = layout.manifest(&signatures.digest)?
    {
        let verifier = |payload: Vec<u8>, layer: &Descriptor| {
            let annotations = layer.annotations.clone();
            let signer = verifier(&Candidate::Legacy(&payload, &annotations), subject)?;
            let signature = LegacySignature {
                payload,
                annotations,
                verified: signer,
            };
            Ok(Box::new(FoundSignature {
                location: location_of(manifest.digest(), &layer.annotations),
                content: SignatureContent::Legacy(signature),
            }))
        };
        for layer in verify_layers(context, source, &manifest, &verifier).await? {
            lookup.note(match layer {
                LayerResult::Signature(held) => CandidateResult::Verified(held),
                LayerResult::Refused(refused) => CandidateResult::Refused(refused),
                LayerResult::Unrelated => CandidateResult::Unrelated,
            });
        }
    }
    Ok(lookup)
}

async fn read_listed(
    context: &Context,
    source: &Source,
    digest: &Digest,
) -> Result<BundleRead, CopyError> {
    match source.manifest(context, digest).await {
        Ok(Some(manifest)) => {
            let manifest = ReferrerManifest::of(&manifest, None);
            read_bundle(context, source, &manifest).await
        }
        Ok(None) => Ok(BundleRead::Missing),
        Err(error) if error.is_about_content() => Ok(BundleRead::Broken(chain_text(&error))),
        Err(error) => Err(error),
    }
}

fn verify_bundle(
    bundle: Vec<u8>,
    manifest: &Digest,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
) -> CandidateResult {
    let location = SignatureLocation {
        format: SignatureFormat::Bundle,
        manifest: manifest.clone(),
        signature: None,
    };
    match verifier(&Candidate::Bundle(&bundle), subject) {
        Ok(signer) => CandidateResult::Verified(Box::new(FoundSignature {
            location,
            content: SignatureContent::Bundle(Signature {
                bundle,
                verified: signer,
            }),
        })),
        Err(refusal) => CandidateResult::Refused(RefusedCandidate::from_error(&location, &refusal)),
    }
}

/// Verifies a layer by its content and its descriptor.
type LayerVerifier<'a, T> =
    dyn Fn(Vec<u8>, &Descriptor) -> Result<T, VerificationError> + Sync + 'a;

/// Verifies every layer of a signature manifest in order, by its content and its descriptor.
pub(super) async fn verify_layers<T>(
    context: &Context,
    source: &Source,
    manifest: &Manifest,
    verifier: &LayerVerifier<'_, T>,
) -> Result<Vec<LayerResult<T>>, CopyError> {
    let ManifestKind::Image { layers, .. } = manifest.kind() else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for layer in layers {
        if !is_signature(layer) {
            all.push(LayerResult::Unrelated);
            continue;
        }
        let location = location_of(manifest.digest(), &layer.annotations);
        let broken = |why: &str| LayerResult::Refused(RefusedCandidate::broken(location.id(), why));
        let result = match read_content(context, source, layer).await? {
            LayerRead::Content(payload) => match verifier(payload, layer) {
                Ok(signature) => LayerResult::Signature(signature),
                Err(refusal) => {
                    LayerResult::Refused(RefusedCandidate::from_error(&location, &refusal))
                }
            },
            LayerRead::WrongSize { why, .. } | LayerRead::Broken(why) => broken(&why),
            LayerRead::Missing => broken("its layer was not found"),
        };
        all.push(result);
    }
    Ok(all)
}
