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
use crate::outcome::Subject;
use crate::referrers::{ReadOrder, ReferrerReader};
use crate::registry::Referrer;

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
    let mut candidates = Candidates::new(context, repository, subject, verifier);
    let legacy = legacy::look_up(context, repository, subject, verifier);
    let legacy = match search {
        Search::First(SignatureFormat::Bundle) => {
            candidates.open_listed(ReadOrder::OneByOne).await;
            if candidates.lookup.has_verified() {
                return candidates.end();
            }
            legacy.await
        }
        Search::First(SignatureFormat::Legacy) => {
            let legacy = legacy.await;
            if has_verified(&legacy) {
                return legacy;
            }
            candidates.open_listed(ReadOrder::OneByOne).await;
            legacy
        }
        Search::Either => {
            let bundles = candidates.open_listed(ReadOrder::AtOnce);
            let ((), legacy) = tokio::join!(bundles, legacy);
            legacy
        }
        Search::Both => {
            let bundles = candidates.open_listed(ReadOrder::OneByOne);
            let ((), legacy) = tokio::join!(bundles, legacy);
            legacy
        }
    };
    if search == Search::Both {
        candidates.open_passed_over().await;
        return Ok(candidates.end()?.and(legacy?));
    }
    if !has_verified(&legacy) {
        candidates.open_passed_over().await;
    }
    either(candidates.end(), legacy)
}

/// Reports whether a repository lists this referrer of a subject as one that may be a signature. An error is not an answer:
/// only [`look_up`] can report what it prevents.
pub(crate) async fn is_listed(context: &ReadContext, subject: &Subject, referrer: &Digest) -> bool {
    let Subject { repository, digest } = subject;
    let mut reader = ReferrerReader::new(context, repository, digest, ReadOrder::AtOnce);
    while let Some(list) = reader.next().await {
        let mut listed: std::slice::Iter<'_, Referrer> = list.entries.listed.iter();
        if listed.any(|entry| entry.digest == *referrer && entry.may_be_signature()) {
            return true;
        }
    }
    false
}

fn has_verified(found: &Result<Lookup, SignatureError>) -> bool {
    found.as_ref().is_ok_and(Lookup::has_verified)
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
    let mut candidates =
        Candidates::new(context, repository, subject, verifier).with_limit(OPENED_MAX);
    candidates.open_listed(ReadOrder::OneByOne).await;
    if candidates.lookup.has_verified() {
        return Ok(true);
    }
    let legacy = legacy::look_up(context, repository, subject, verifier).await;
    if has_verified(&legacy) {
        return Ok(true);
    }
    candidates.open_passed_over().await;
    let bundles = candidates.end();
    if has_verified(&bundles) {
        return Ok(true);
    }
    let mut errors = [bundles.err(), legacy.err()].into_iter().flatten();
    errors
        .find(|error| !error.shows_no_signature())
        .map_or(Ok(false), Err)
}
