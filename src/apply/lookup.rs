//! Looks for signatures where cosign and others leave them: the referrers API and the fallback tag.
//!
//! Three answers, kept apart: signed by whom it must be, not signed so, or an error. "Could not look" is always an error.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::children::PARALLEL;
use super::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Reference, Repository};
use crate::registry::Referrers;
use crate::signing::{Refusal, Verified};

/// What holds a Sigstore bundle has one layer whose type begins so. Source: cosign, `pkg/oci/remote/signatures.go`.
const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
const BUNDLE_MAX_BYTES: u64 = 1 << 20;
/// What refers to one digest, at most.
const REFERRERS_MAX: usize = 1000;

/// Says of a bundle whether it is a signature of a digest that counts.
pub(super) type Judge<'a> = dyn Fn(&[u8], &Digest) -> Result<Verified, Refusal> + Sync + 'a;

/// What refers to a digest, judged.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Signatures that hold, with the manifest of each; the first that was listed comes first.
    pub verified: Vec<(Digest, Verified)>,
    /// Signatures that do not hold, and attestations, which are none, with the manifest of each.
    pub refused: Vec<(Digest, Refusal)>,
    /// Manifests or bundles that are listed, but that the registry says it does not have.
    pub dangling: Vec<Digest>,
    /// Whether the registry has the referrers API.
    pub api: Api,
}

/// Whether a registry has the referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// It lists referrers itself.
    Listed,
    /// They are listed under the fallback tag.
    FallbackTag,
}

enum Judged {
    Verified(Digest, Box<Verified>),
    Refused(Digest, Refusal),
    Dangling(Digest),
    Unrelated,
}

/// Looks up every signature of `subject` and has each judged.
pub(super) async fn look_up(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
) -> Result<Lookup, ApplyError> {
    let (listed, api) = match context.registry.referrers(repository, subject).await? {
        Referrers::Listed(listed) => (listed, Api::Listed),
        Referrers::NoApi => (Vec::new(), Api::FallbackTag),
    };
    let mut lookup = Lookup {
        verified: Vec::new(),
        refused: Vec::new(),
        dangling: Vec::new(),
        api,
    };
    lookup
        .judge_all(context, repository, subject, &listed, judge)
        .await?;
    // Some registries answer the API and list nothing; what was written to the fallback tag because of that is there.
    if lookup.verified.is_empty() {
        let tagged = fallback(context, repository, subject).await?;
        let entries = tagged.as_ref().map_or(&[][..], entries);
        let new: Vec<Descriptor> = entries
            .iter()
            .filter(|entry| !listed.iter().any(|known| known.digest == entry.digest))
            .cloned()
            .collect();
        lookup
            .judge_all(context, repository, subject, &new, judge)
            .await?;
    }
    Ok(lookup)
}

impl Lookup {
    async fn judge_all(
        &mut self,
        context: &Context,
        repository: &Repository,
        subject: &Digest,
        entries: &[Descriptor],
        judge: &Judge<'_>,
    ) -> Result<(), ApplyError> {
        if entries.len() > REFERRERS_MAX {
            return Err(ApplyError::TooManyReferrers {
                subject: subject.clone(),
                count: entries.len(),
            });
        }
        let judged = entries
            .iter()
            .map(|entry| judge_one(context, repository, subject, entry, judge));
        let judged: Vec<Judged> = stream::iter(judged)
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        for one in judged {
            match one {
                Judged::Verified(manifest, verified) => self.verified.push((manifest, *verified)),
                Judged::Refused(manifest, refusal) => self.refused.push((manifest, refusal)),
                Judged::Dangling(digest) => self.dangling.push(digest),
                Judged::Unrelated => {}
            }
        }
        Ok(())
    }
}

/// The manifest under the fallback tag of `subject`. One that is the subject itself is none: some registries resolve the
/// tag so.
pub(super) async fn fallback(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
) -> Result<Option<Manifest>, ApplyError> {
    let tag = Reference::Tag(subject.fallback_tag());
    let found = context.registry.manifest(repository, &tag).await?;
    Ok(found.filter(|manifest| manifest.digest() != subject))
}

/// The entries of a fallback index.
pub(super) fn entries(manifest: &Manifest) -> &[Descriptor] {
    match manifest.kind() {
        ManifestKind::Index { manifests, .. } => manifests,
        ManifestKind::Image { .. } => &[],
    }
}

/// Opens one referrer. Its artifact type is not asked: writers that are still in use put the wrong one into the list
/// (<https://github.com/sigstore/cosign/issues/4641>).
async fn judge_one(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    entry: &Descriptor,
    judge: &Judge<'_>,
) -> Result<Judged, ApplyError> {
    if !entry.media_type.is_image() {
        return Ok(Judged::Unrelated);
    }
    let reference = Reference::Digest(entry.digest.clone());
    let manifest = match context.registry.manifest(repository, &reference).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Judged::Dangling(entry.digest.clone())),
        // The bytes are the right ones, and nothing that holds a signature: somebody put them there.
        Err(error) if error.is_malformed() => return Ok(Judged::Unrelated),
        Err(error) => return Err(error.into()),
    };
    let bundle = match manifest.kind() {
        ManifestKind::Image { layers, .. } => match layers.as_slice() {
            [layer] if layer.media_type.as_str().starts_with(BUNDLE_TYPE_PREFIX) => layer,
            _ => return Ok(Judged::Unrelated),
        },
        ManifestKind::Index { .. } => return Ok(Judged::Unrelated),
    };
    if bundle.size > BUNDLE_MAX_BYTES {
        let refusal = Refusal::TooLarge { size: bundle.size };
        return Ok(Judged::Refused(entry.digest.clone(), refusal));
    }
    let Some(bytes) = context
        .registry
        .blob(repository, &bundle.digest, BUNDLE_MAX_BYTES)
        .await?
    else {
        return Ok(Judged::Dangling(bundle.digest.clone()));
    };
    Ok(match judge(&bytes, subject) {
        Ok(verified) => Judged::Verified(entry.digest.clone(), Box::new(verified)),
        Err(refusal) => Judged::Refused(entry.digest.clone(), refusal),
    })
}
