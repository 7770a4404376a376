//! Looks up signatures where cosign and others store them: bundles are referrers of the image, older signatures are under
//! the tag `sha256-….sig`.
//!
//! There are three results: signed by the required identity, not signed so, or an error. A failed lookup is always an
//! error, unless a signature that counts was found elsewhere.

use super::candidates::Candidates;
pub(crate) use super::candidates::{
    Candidate, CandidateVerifier, FoundSignature, Lookup, SignatureContent,
};
use super::signable::check_signable;
use super::{SignatureError, legacy};
use crate::context::ReadContext;
use crate::domain::{Digest, Repository, SignatureFormat};
use crate::referrers::{ReadOrder, ReferrerBatch, ReferrerBatches};

/// The maximum number of referrers that are opened to check if a moving tag's content is signed.
const OPENED_MAX: usize = 100;

/// The formats to search, and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// Searches this format, and the other only if this one has no verified signature. Needs the fewest requests if
    /// there is one.
    First(SignatureFormat),
    /// Searches both formats concurrently, which is fastest if there is no signature. If one format has a verified
    /// signature, the result of the other does not matter.
    Either,
    /// Searches both formats; both lookups must succeed.
    Both,
}

/// Looks up signatures of `subject`, until one counts in each requested format.
pub(crate) async fn look_up(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
    search: Search,
) -> Result<Lookup, SignatureError> {
    // Nothing counts as a signature of such a digest, so nothing is requested.
    if check_signable(subject).is_err() {
        return Ok(Lookup::default());
    }
    // Boxed, since their state machines are large and many others contain this one.
    let bundles = Box::pin(look_up_bundles(
        context, repository, subject, verifier, search,
    ));
    let legacy = Box::pin(legacy::look_up(context, repository, subject, verifier));
    let has_verified =
        |found: &Result<Lookup, SignatureError>| found.as_ref().is_ok_and(Lookup::has_verified);
    match search {
        Search::First(SignatureFormat::Bundle) => {
            let bundles = bundles.await;
            if has_verified(&bundles) {
                return bundles;
            }
            either(bundles, legacy.await)
        }
        Search::First(SignatureFormat::Legacy) => {
            let legacy = legacy.await;
            if has_verified(&legacy) {
                return legacy;
            }
            either(bundles.await, legacy)
        }
        Search::Either => {
            let (bundles, legacy) = tokio::join!(bundles, legacy);
            either(bundles, legacy)
        }
        Search::Both => {
            let (bundles, legacy) = tokio::try_join!(bundles, legacy)?;
            Ok(bundles.and(legacy))
        }
    }
}

/// Combines the results of both formats. If one has a signature that counts, an error of the other is ignored.
fn either(
    bundles: Result<Lookup, SignatureError>,
    legacy: Result<Lookup, SignatureError>,
) -> Result<Lookup, SignatureError> {
    match (bundles, legacy) {
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if found.has_verified() => Ok(found),
        (bundles, legacy) => Ok(bundles?.and(legacy?)),
    }
}

/// Reports whether `subject` has a signature that counts and is easy to find. At most [`OPENED_MAX`] referrers are
/// opened.
///
/// Content that was fetched and proves no signature counts as none: anyone with push access can add any amount of it. A
/// failed request is an error, since its content may be the signature that counts.
pub(crate) async fn is_signed_within_limit(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
) -> Result<bool, SignatureError> {
    if check_signable(subject).is_err() {
        return Ok(false);
    }
    let search = Search::First(SignatureFormat::Bundle);
    let candidates = Candidates::new(context, repository, subject, verifier).with_limit(OPENED_MAX);
    let bundles = look_up_bundles_among(candidates, context, repository, subject, search).await;
    if bundles.as_ref().is_ok_and(Lookup::has_verified) {
        return Ok(true);
    }
    let legacy = legacy::look_up(context, repository, subject, verifier).await;
    if legacy.as_ref().is_ok_and(Lookup::has_verified) {
        return Ok(true);
    }
    let mut errors = [bundles.err(), legacy.err()].into_iter().flatten();
    errors
        .find(|error| !error.shows_no_signature())
        .map_or(Ok(false), Err)
}

async fn look_up_bundles(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    verifier: &CandidateVerifier<'_>,
    search: Search,
) -> Result<Lookup, SignatureError> {
    let candidates = Candidates::new(context, repository, subject, verifier);
    look_up_bundles_among(candidates, context, repository, subject, search).await
}

async fn look_up_bundles_among(
    mut candidates: Candidates<'_>,
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    search: Search,
) -> Result<Lookup, SignatureError> {
    let order = match search {
        Search::Either => ReadOrder::AtOnce,
        Search::First(_) | Search::Both => ReadOrder::OneByOne,
    };
    let mut batches = ReferrerBatches::new(context, repository, subject, order);
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(ReferrerBatch::Entries(entries)) => candidates.verify_candidates(entries).await,
            Ok(ReferrerBatch::Unusable(unusable)) => {
                let tag = subject.referrers_tag();
                candidates.lookup.refuse_list(&tag, &unusable);
            }
            Err(error) => candidates.fail(error.into()),
        }
        if candidates.is_over() {
            break;
        }
    }
    candidates.lookup.referrers = batches.into_seen();
    candidates.end()
}
