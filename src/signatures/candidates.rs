//! Candidates for signatures: read one after the other, and verified, until one counts.
//!
//! SECURITY: anyone with push access can list anything. Content that was read and is no signature is refused, and hides
//! no other candidate. Content that could not be read may be the signature that counts: unless another is found, the
//! result is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::SignatureError;
use super::refused::{RefusalSummary, RefusedCandidate};
use crate::context::{REQUESTS_PARALLEL, ReadContext};
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, PREDICATE_TYPE, Reference, Repository,
    SIGN_PREDICATE, SignatureFormat, Tag, Unusable, chain_text, is_bundle_type, other_predicate,
};
use crate::outcome::{SignatureLocation, Subject};
use crate::referrers::{ListError, SeenList, SeenReferrers};
use crate::registry::{Entries, REFERRERS_MAX, Referrer, RegistryError};
use crate::sigstore::{
    LegacySignature, Signature, Trust, VerificationError, Verified, check_nothing_extra_in_bundle,
    check_nothing_extra_in_legacy,
};

/// The maximum length of a signature.
pub(crate) const SIGNATURE_MAX_BYTES: u64 = 1 << 20;
/// The number of unreadable candidates after which no more are tried.
const ERRORS_MAX: usize = 32;
/// The maximum number of listed but absent candidates that are kept by digest. More of them than that are not late but
/// lost.
const LOST_MAX: usize = 100;

/// A verified signature, with everything that is needed to store it.
#[derive(Debug, Clone)]
pub(crate) enum SignatureContent {
    /// A Sigstore bundle.
    Bundle(Signature),
    /// A layer of the older format.
    Legacy(LegacySignature),
}

/// A verified signature, and its location.
#[derive(Debug, Clone)]
pub(crate) struct FoundSignature {
    pub location: SignatureLocation,
    pub content: SignatureContent,
}

impl SignatureContent {
    /// Returns the signer.
    pub(crate) fn signer(&self) -> &Verified {
        match self {
            Self::Bundle(signature) => &signature.verified,
            Self::Legacy(signature) => &signature.verified,
        }
    }

    /// Returns the content as it is verified.
    pub(super) fn candidate(&self) -> Candidate<'_> {
        match self {
            Self::Bundle(signature) => Candidate::Bundle(&signature.bundle),
            Self::Legacy(signature) => {
                Candidate::Legacy(&signature.payload, &signature.annotations)
            }
        }
    }
}

/// Content that may be a signature.
pub(crate) enum Candidate<'a> {
    /// A Sigstore bundle.
    Bundle(&'a [u8]),
    /// A layer of the older format: its content and its annotations.
    Legacy(&'a [u8], &'a BTreeMap<String, String>),
}

impl Candidate<'_> {
    /// Checks that a verified candidate contains nothing that verification does not read.
    pub(crate) fn check_nothing_extra(&self, trust: &Trust) -> Result<(), VerificationError> {
        match self {
            Self::Bundle(bundle) => check_nothing_extra_in_bundle(bundle),
            Self::Legacy(_, annotations) => check_nothing_extra_in_legacy(annotations, trust),
        }
    }
}

/// A function that verifies a candidate as a signature of a digest, under a policy.
pub(crate) type CandidateVerifier<'a> =
    dyn Fn(&Candidate<'_>, &Digest) -> Result<Verified, VerificationError> + Sync + 'a;

/// The candidates that were found for a digest, with their verdicts.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// Verified signatures: the first listed one of each format.
    pub verified: Vec<FoundSignature>,
    /// Candidates that do not count, with the reasons.
    pub refused: RefusalSummary,
    /// Digests that are listed but reported as absent; only the first of them.
    pub dangling: Vec<Digest>,
    /// The number of all listed but absent digests.
    pub dangling_count: usize,
    /// Verified signatures that exist but are not listed.
    pub unlisted: Vec<FoundSignature>,
    /// The lists of referrers, if bundles were looked up.
    pub referrers: SeenReferrers,
    /// The content of the tag for the older format.
    pub legacy: Option<SeenList>,
    /// The content of the tag for the older format, if that is no list.
    pub legacy_obstacle: Option<Unusable>,
}

/// The verdict on one candidate.
pub(crate) enum CandidateResult {
    /// A signature that counts.
    Verified(Box<FoundSignature>),
    /// A candidate that does not count.
    Refused(RefusedCandidate),
    /// A candidate that is absent, or lacks this part.
    Dangling(Digest),
    /// Content unrelated to signatures.
    Unrelated,
}

/// The candidates for a signature of `subject`.
pub(super) struct Candidates<'a> {
    context: &'a ReadContext,
    repository: &'a Repository,
    pub(super) subject: &'a Digest,
    verifier: &'a CandidateVerifier<'a>,
    /// The digests that were read: each is verified once, however often it is listed.
    known: BTreeSet<Digest>,
    count: usize,
    /// The number of candidates that may still be opened, if that is limited.
    left: Option<usize>,
    first_error: Option<SignatureError>,
    errors: usize,
    pub(super) lookup: Lookup,
}

impl Lookup {
    /// Notes that a tag for lists contains no list, and so no signature.
    pub(super) fn refuse_list(&mut self, tag: &Tag, unusable: &Unusable) {
        self.refused.add(RefusedCandidate::list(tag, unusable));
    }

    /// Returns the unusable content of the tag that must list a signature of this format.
    pub(super) fn obstacle(&self, format: SignatureFormat) -> Option<&Unusable> {
        match format {
            SignatureFormat::Bundle => self.referrers.obstacle(),
            SignatureFormat::Legacy => self.legacy_obstacle.as_ref(),
        }
    }

    /// Returns the first verified signature in this format.
    pub(crate) fn verified_as(&self, format: SignatureFormat) -> Option<&FoundSignature> {
        let mut verified = self.verified.iter();
        verified.find(|held| held.location.format == format)
    }

    /// Returns the first verified signature in this format, listed or not.
    pub(crate) fn any_in_format(&self, format: SignatureFormat) -> Option<&FoundSignature> {
        let unlisted = || {
            self.unlisted
                .iter()
                .find(|held| held.location.format == format)
        };
        self.verified_as(format).or_else(unlisted)
    }

    /// Reports whether missing candidates may only be late.
    pub(crate) fn may_be_late(&self) -> bool {
        (1..=LOST_MAX).contains(&self.dangling_count)
    }

    /// Returns the signer of the first verified signature.
    pub(crate) fn first_signer(&self) -> Option<Verified> {
        let first = self.verified.first();
        first.map(|held| held.content.signer().clone())
    }

    /// Reports whether any signature counts.
    pub(crate) fn has_verified(&self) -> bool {
        !self.verified.is_empty()
    }

    /// Adds the verdict on one candidate.
    pub(crate) fn note(&mut self, result: CandidateResult) {
        match result {
            // Anyone can list the same signature a thousand times.
            CandidateResult::Verified(held) if self.verified_as(held.location.format).is_some() => {
            }
            CandidateResult::Verified(held) => self.verified.push(*held),
            CandidateResult::Refused(refused) => self.refused.add(refused),
            CandidateResult::Dangling(digest) => {
                self.dangling_count += 1;
                if self.dangling.len() < LOST_MAX {
                    self.dangling.push(digest);
                }
            }
            CandidateResult::Unrelated => {}
        }
    }

    /// Combines the lookup of bundles with that of the other format.
    pub(super) fn and(mut self, legacy: Self) -> Self {
        self.verified.extend(legacy.verified);
        self.refused.append(legacy.refused);
        self.dangling.extend(legacy.dangling);
        self.dangling.truncate(LOST_MAX);
        self.dangling_count += legacy.dangling_count;
        self.legacy = legacy.legacy;
        self.legacy_obstacle = legacy.legacy_obstacle;
        self
    }
}

impl<'a> Candidates<'a> {
    /// Creates a search without candidates.
    pub(super) fn new(
        context: &'a ReadContext,
        repository: &'a Repository,
        subject: &'a Digest,
        verifier: &'a CandidateVerifier<'a>,
    ) -> Self {
        Self {
            context,
            repository,
            subject,
            verifier,
            known: BTreeSet::new(),
            count: 0,
            left: None,
            first_error: None,
            errors: 0,
            lookup: Lookup::default(),
        }
    }

    /// Opens at most `most` of them: anyone with push access can list any number of useless ones.
    pub(super) fn with_limit(mut self, most: usize) -> Self {
        self.left = Some(most);
        self
    }

    /// Verifies these entries in order, until one counts.
    pub(super) async fn verify_candidates(&mut self, entries: Entries<Referrer>) {
        let Entries { mut listed, broken } = entries;
        self.count += listed.len() + broken;
        if self.count > REFERRERS_MAX {
            return self.stop_at_limit();
        }
        self.lookup.refused.add_unreadable_entries(broken);
        // Entries that are skipped unread are not noted as read: someone may list the same digest again with its true
        // predicate type.
        let is_read = Referrer::may_be_signature;
        listed.retain(|entry| !is_read(entry) || self.known.insert(entry.digest.clone()));
        let mut is_cut = false;
        if let Some(left) = &mut self.left {
            // Entries that call themselves signatures come first: every signature of this program does so.
            listed.sort_by_key(|entry| entry.predicate.as_deref() != Some(SIGN_PREDICATE));
            let mut opened = 0;
            listed.retain(|entry| {
                opened += usize::from(is_read(entry));
                !is_read(entry) || opened <= *left
            });
            is_cut = opened > *left;
            *left = left.saturating_sub(opened);
        }
        let (context, repository, subject) = (self.context, self.repository, self.subject);
        let verifier = self.verifier;
        let results = listed
            .iter()
            .map(|entry| verify_one(context, repository, subject, entry, verifier));
        let mut results = stream::iter(results).buffered(REQUESTS_PARALLEL);
        while let Some(one) = results.next().await {
            match one {
                Ok(one) => self.lookup.note(one),
                Err(error) => self.fail(error),
            }
            if self.is_over() {
                break;
            }
        }
        drop(results);
        if is_cut {
            self.stop_at_limit();
        }
    }

    /// Notes that a candidate could not be read, which may be the one that counts. A failed request outweighs useless
    /// content: no conclusion is possible without its response.
    pub(super) fn fail(&mut self, error: SignatureError) {
        self.errors += 1;
        let known = self.first_error.as_ref();
        if known.is_none_or(|known| known.shows_no_signature() && !error.shows_no_signature()) {
            self.first_error = Some(error);
        }
    }

    /// Ends the search, because there are too many candidates.
    fn stop_at_limit(&mut self) {
        let error = ListError::TooMany {
            subject: Box::new(self.subject()),
            count: self.count,
        };
        self.fail(error.into());
        self.errors = ERRORS_MAX;
    }

    /// Reports whether a further search is useless.
    pub(super) fn is_over(&self) -> bool {
        self.lookup.has_verified() || self.errors >= ERRORS_MAX
    }

    /// Returns the result. If nothing in it counts, every candidate must have been read.
    pub(super) fn end(self) -> Result<Lookup, SignatureError> {
        match self.first_error {
            Some(error) if !self.lookup.has_verified() => Err(error),
            Some(_) | None => Ok(self.lookup),
        }
    }

    fn subject(&self) -> Subject {
        Subject {
            repository: self.repository.clone(),
            digest: self.subject.clone(),
        }
    }
}

/// Opens one referrer. Its artifact type is not checked: writers that are still in use list a wrong one
/// (<https://github.com/sigstore/cosign/issues/4641>). A referrer that states something else than a signature is
/// skipped unread. A writer who states that falsely hides only their own referrer.
async fn verify_one(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    entry: &Referrer,
    verifier: &CandidateVerifier<'_>,
) -> Result<CandidateResult, SignatureError> {
    let refused = |refused| Ok(CandidateResult::Refused(refused));
    if !entry.is_image {
        return Ok(CandidateResult::Unrelated);
    }
    if let Some(predicate) = other_predicate(entry.predicate.as_deref()) {
        return refused(RefusedCandidate::statement(&entry.digest, predicate));
    }
    let reference = Reference::Digest(entry.digest.clone());
    let manifest = match context.registry.manifest(repository, &reference).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(CandidateResult::Dangling(entry.digest.clone())),
        // The bytes match the digest and contain no signature: someone pushed them.
        Err(error) if error.is_about_content() => {
            return refused(RefusedCandidate::broken(&entry.digest, &chain_text(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(predicate) = other_predicate(manifest.annotation(PREDICATE_TYPE)) {
        return refused(RefusedCandidate::statement(&entry.digest, predicate));
    }
    let Some(bundle) = bundle_of(&manifest).cloned() else {
        return Ok(CandidateResult::Unrelated);
    };
    // Only the needed values are kept while the bundle is fetched: the bytes may be as long as any manifest.
    drop(manifest);
    let location = SignatureLocation {
        format: SignatureFormat::Bundle,
        manifest: entry.digest.clone(),
        signature: None,
    };
    let bytes = match read_layer(context, repository, &bundle).await? {
        LayerRead::Content(bytes) => bytes,
        LayerRead::Missing => return Ok(CandidateResult::Dangling(bundle.digest)),
        LayerRead::WrongSize { why, .. } | LayerRead::Broken(why) => {
            return refused(RefusedCandidate::broken(&entry.digest, &why));
        }
    };
    Ok(match verifier(&Candidate::Bundle(&bytes), subject) {
        Ok(signer) => CandidateResult::Verified(Box::new(FoundSignature {
            location,
            content: SignatureContent::Bundle(Signature {
                bundle: bytes,
                verified: signer,
            }),
        })),
        Err(refusal) => CandidateResult::Refused(RefusedCandidate::from_error(&location, &refusal)),
    })
}

/// Returns the layer with the bundle, if it is the only layer.
pub(crate) fn bundle_of(manifest: &Manifest) -> Option<&Descriptor> {
    let ManifestKind::Image { layers, .. } = manifest.kind() else {
        return None;
    };
    let is_bundle = |layer: &Descriptor| is_bundle_type(layer.media_type.as_str());
    match layers.as_slice() {
        [layer] => Some(layer).filter(|layer| is_bundle(layer)),
        _ => None,
    }
}

/// The content of a layer that may be a signature.
pub(crate) enum LayerRead {
    /// These bytes, with the stated length.
    Content(Vec<u8>),
    /// These bytes, with another length than the manifest states.
    WrongSize { bytes: Vec<u8>, why: String },
    /// A layer that is not there.
    Missing,
    /// Content that cannot be a signature.
    Broken(String),
}

/// Reads a layer that may be a signature from a registry, as [`read_layer_with`].
pub(crate) async fn read_layer(
    context: &ReadContext,
    repository: &Repository,
    layer: &Descriptor,
) -> Result<LayerRead, RegistryError> {
    let registry = &context.registry;
    let blob = registry.blob(repository, &layer.digest, SIGNATURE_MAX_BYTES);
    read_layer_with(layer, blob, RegistryError::is_about_content).await
}

/// Reads a layer that may be a signature. A failed request is an error. A layer that is too long is broken; one of
/// another length than its manifest states is returned with the reason. `is_about_content` tells errors of the content
/// from failed requests.
pub(crate) async fn read_layer_with<E: Error + 'static>(
    layer: &Descriptor,
    blob: impl Future<Output = Result<Option<Vec<u8>>, E>>,
    is_about_content: impl Fn(&E) -> bool,
) -> Result<LayerRead, E> {
    if layer.size > SIGNATURE_MAX_BYTES {
        let refusal = VerificationError::TooLarge { size: layer.size };
        return Ok(LayerRead::Broken(refusal.to_string()));
    }
    Ok(match blob.await {
        Ok(Some(bytes)) => match size_mismatch(&bytes, layer) {
            Some(why) => LayerRead::WrongSize { bytes, why },
            None => LayerRead::Content(bytes),
        },
        Ok(None) => LayerRead::Missing,
        Err(error) if is_about_content(&error) => LayerRead::Broken(chain_text(&error)),
        Err(error) => return Err(error),
    })
}

/// Returns the reason why `bytes` do not match `layer`, if their length is different.
pub(super) fn size_mismatch(bytes: &[u8], layer: &Descriptor) -> Option<String> {
    let (arrived, said, digest) = (bytes.len(), layer.size, &layer.digest);
    let is_alike = u64::try_from(arrived) == Ok(said);
    (!is_alike).then(|| format!("its layer `{digest}` has {arrived} bytes, not {said} as stated"))
}
