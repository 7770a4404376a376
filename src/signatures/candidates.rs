//! Candidates for signatures: read and verified, the newest first, until one counts.
//!
//! SECURITY: anyone with push access can list anything, with any date. Content that was read and is no signature is
//! refused, and hides no other candidate. Content that could not be read may be the signature that counts: unless
//! another is found, the result is an error.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::Future;
use std::pin::pin;

use futures_util::StreamExt as _;

use super::SignatureError;
use super::one_at_first::one_at_first;
use super::refused::{RefusalSummary, RefusedCandidate};
use crate::context::ReadContext;
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, PREDICATE_TYPE, Reference, Repository,
    SIGN_PREDICATE, SignatureFormat, Tag, Unusable, chain_text, is_bundle_type, other_predicate,
};
use crate::outcome::{SignatureLocation, Subject};
use crate::referrers::{
    ListError, ListKeeper, ReadOrder, ReferrerList, ReferrerReader, SeenList, SeenReferrers,
};
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
    /// Verified signatures: the newest one of each format.
    pub verified: Vec<FoundSignature>,
    /// Candidates that do not count, with the reasons.
    pub refused: RefusalSummary,
    /// Digests that are listed but reported as absent; only the first of them.
    pub dangling: Vec<Digest>,
    /// The number of all listed but absent digests.
    pub dangling_count: usize,
    /// True if the verified bundle was passed over, since its entry states something else.
    pub is_misstated: bool,
    /// Verified signatures that exist but are not listed, or not as signatures.
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

/// The meaning of a listed candidate that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// The candidate may only be late.
    MayEnd,
    /// No signature is expected there.
    Ignored,
}

/// The candidates for a signature of `subject`.
pub(super) struct Candidates<'a> {
    context: &'a ReadContext,
    repository: &'a Repository,
    subject: &'a Digest,
    verifier: &'a CandidateVerifier<'a>,
    /// The digests that were read: each is verified once, however often it is listed.
    known: BTreeSet<Digest>,
    /// Entries of a list that clients keep, which state that they are something else than signatures.
    passed_over: Vec<Referrer>,
    /// The number of listed candidates.
    count: usize,
    /// The number of candidates that may still be opened.
    left: usize,
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

    /// Moves a bundle whose entry states something else to the unlisted signatures: other verifiers may not find it.
    pub(super) fn unlist_misstated(&mut self) {
        if std::mem::take(&mut self.is_misstated) {
            let is_bundle =
                |held: &mut FoundSignature| held.location.format == SignatureFormat::Bundle;
            let misstated = self.verified.extract_if(.., is_bundle);
            self.unlisted.extend(misstated);
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
            passed_over: Vec::new(),
            count: 0,
            left: REFERRERS_MAX,
            first_error: None,
            errors: 0,
            lookup: Lookup::default(),
        }
    }

    /// Opens at most `most` of them: anyone with push access can list any number of useless ones.
    pub(super) fn with_limit(mut self, most: usize) -> Self {
        self.left = most;
        self
    }

    /// Reads the lists of referrers, and opens the entries that may be signatures, until one counts.
    pub(super) async fn open_listed(&mut self, order: ReadOrder) {
        let mut reader = ReferrerReader::new(self.context, self.repository, self.subject, order);
        while !self.is_over()
            && let Some(list) = reader.next().await
        {
            if let Some(unusable) = &list.unusable {
                let tag = self.subject.referrers_tag();
                self.lookup.refuse_list(&tag, unusable);
            }
            // Boxed, since its state machine is large and many others contain this one.
            Box::pin(self.open_list(list)).await;
        }
        self.lookup.referrers = reader.into_seen();
    }

    /// Opens the entries of a list that may be signatures, until one counts. An entry that states something else is
    /// passed over. If the registry keeps the list, the referrer itself states that, and its writer hides nothing else.
    /// Otherwise the entry is kept for later.
    async fn open_list(&mut self, list: ReferrerList<Referrer>) {
        let Entries {
            listed,
            broken,
            omitted,
        } = list.entries;
        self.count += listed.len() + omitted;
        self.lookup.refused.add_unreadable_entries(broken);
        let mut candidates = Vec::new();
        for entry in listed {
            if entry.may_be_signature() {
                candidates.push(entry);
            } else if list.keeper == ListKeeper::Clients {
                self.passed_over.push(entry);
            } else if let Some(predicate) = other_predicate(entry.predicate.as_deref()) {
                let refused = RefusedCandidate::statement(&entry.digest, predicate);
                self.lookup.refused.add(refused);
            }
        }
        self.open(newest_first(candidates), Absence::MayEnd).await;
        if omitted > 0 {
            let error = self.too_many();
            self.fail(error);
        }
        if let Some(error) = list.error {
            self.fail(error.into());
        }
    }

    /// Opens the entries that were passed over, until one counts.
    ///
    /// SECURITY: anyone with push access can write into a list that a signature is something else.
    pub(super) async fn open_passed_over(&mut self) {
        let passed_over = std::mem::take(&mut self.passed_over);
        let was_verified = self.lookup.has_verified();
        self.open(newest_first(passed_over), Absence::Ignored).await;
        self.lookup.is_misstated = self.lookup.has_verified() && !was_verified;
    }

    /// Opens these candidates in order, until one counts.
    pub(super) async fn open(
        &mut self,
        candidates: impl IntoIterator<Item = Digest>,
        absence: Absence,
    ) {
        let mut new: Vec<Digest> = candidates.into_iter().collect();
        new.retain(|digest| self.known.insert(digest.clone()));
        let is_cut = new.len() > self.left;
        new.truncate(self.left);
        self.left -= new.len();
        let (context, repository, subject) = (self.context, self.repository, self.subject);
        let verifier = self.verifier;
        let results = new
            .iter()
            .map(|digest| verify_one(context, repository, subject, digest, verifier));
        let mut results = pin!(one_at_first(results));
        while !self.is_over()
            && let Some(result) = results.next().await
        {
            match result {
                Ok(CandidateResult::Dangling(_)) if absence == Absence::Ignored => (),
                Ok(result) => self.lookup.note(result),
                Err(error) => self.fail(error),
            }
        }
        if is_cut && !self.is_over() {
            let error = self.too_many();
            self.fail(error);
            // No more may be opened.
            self.errors = ERRORS_MAX;
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

    fn too_many(&self) -> SignatureError {
        let error = ListError::TooMany {
            subject: Box::new(self.subject()),
            count: self.count,
        };
        error.into()
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

/// Returns the digests of these entries. Those that state a signature come first, as every signature of this program
/// does. Among them the newest come first: by the stated time, else from the end of the list, since writers append.
fn newest_first(entries: Vec<Referrer>) -> impl Iterator<Item = Digest> {
    let mut entries: Vec<(usize, Referrer)> = entries.into_iter().enumerate().collect();
    entries.sort_by_key(|(position, entry)| {
        let states_signature = entry.predicate.as_deref() == Some(SIGN_PREDICATE);
        Reverse((states_signature, entry.created, *position))
    });
    entries.into_iter().map(|(_, entry)| entry.digest)
}

/// Opens one referrer. Its artifact type is not checked: writers that are still in use list a wrong one
/// (<https://github.com/sigstore/cosign/issues/4641>). The bundle of a manifest that states something else than a
/// signature is not read. A writer who states that falsely hides only their own referrer.
async fn verify_one(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    digest: &Digest,
    verifier: &CandidateVerifier<'_>,
) -> Result<CandidateResult, SignatureError> {
    let refused = |refused| Ok(CandidateResult::Refused(refused));
    let reference = Reference::Digest(digest.clone());
    let manifest = match context.registry.manifest(repository, &reference).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(CandidateResult::Dangling(digest.clone())),
        // The bytes match the digest and contain no signature: someone pushed them.
        Err(error) if error.is_about_content() => {
            return refused(RefusedCandidate::broken(digest, &chain_text(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(predicate) = other_predicate(manifest.annotation(PREDICATE_TYPE)) {
        return refused(RefusedCandidate::statement(digest, predicate));
    }
    let Some(bundle) = bundle_of(&manifest).cloned() else {
        return Ok(CandidateResult::Unrelated);
    };
    // Only the needed values are kept while the bundle is fetched: the bytes may be as long as any manifest.
    drop(manifest);
    let location = SignatureLocation {
        format: SignatureFormat::Bundle,
        manifest: digest.clone(),
        signature: None,
    };
    let bytes = match read_layer(context, repository, &bundle).await? {
        LayerRead::Content(bytes) => bytes,
        LayerRead::Missing => return Ok(CandidateResult::Dangling(bundle.digest)),
        LayerRead::WrongSize { why, .. } | LayerRead::Broken(why) => {
            return refused(RefusedCandidate::broken(digest, &why));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_signatures_and_newer_entries_come_first() {
        let entry = |name: &str, predicate: Option<&str>, created: Option<&str>| Referrer {
            digest: Digest::of(name.as_bytes()),
            is_image: true,
            predicate: predicate.map(str::to_owned),
            created: created.and_then(|text| text.parse().ok()),
        };
        let [old, new] = ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+00:30"].map(Some);
        let sign = Some(SIGN_PREDICATE);
        let entries = vec![
            entry("undated", None, None),
            entry("undated signature", sign, None),
            entry("old", None, old),
            entry("new signature", sign, new),
            entry("old signature", sign, old),
            entry("last", None, None),
        ];
        let wanted = [
            "new signature",
            "old signature",
            "undated signature",
            "old",
            "last",
            "undated",
        ];
        let wanted = wanted.map(|name| Digest::of(name.as_bytes()));
        assert_eq!(newest_first(entries).collect::<Vec<_>>(), wanted);
    }
}
