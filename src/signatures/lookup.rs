//! Looks up signatures in the places that cosign and others use. Bundles are in the referrers API or under the
//! referrers tag, older signatures under the tag `sha256-….sig`.
//!
//! There are three results: signed by the required identity, not signed so, or an error. A failed lookup is always an
//! error, unless a signature that counts was found elsewhere.

use super::candidates::Candidates;
pub(crate) use super::candidates::{
    Api, Candidate, CandidateVerifier, Content, FoundSignature, Lookup,
};
use super::shared_tag::SharedTag;
use super::{SignatureError, legacy};
use crate::context::ReadContext;
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Repository, SignatureFormat};
use crate::registry::{Referrer, Referrers, Tagged};

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
    judge: &CandidateVerifier<'_>,
    search: Search,
) -> Result<Lookup, SignatureError> {
    // Boxed, since their state machines are large and many others contain this one.
    let bundles = Box::pin(look_up_bundles(context, repository, subject, judge, search));
    let legacy = Box::pin(legacy::look_up(context, repository, subject, judge));
    let holds_any =
        |found: &Result<Lookup, SignatureError>| found.as_ref().is_ok_and(Lookup::holds_any);
    match search {
        Search::First(SignatureFormat::Bundle) => {
            let bundles = bundles.await;
            if holds_any(&bundles) {
                return bundles;
            }
            either(bundles, legacy.await)
        }
        Search::First(SignatureFormat::Legacy) => {
            let legacy = legacy.await;
            if holds_any(&legacy) {
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
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if found.holds_any() => Ok(found),
        (bundles, legacy) => Ok(bundles?.and(legacy?)),
    }
}

/// Reports whether `subject` has a signature that counts and is easy to find. At most [`OPENED_MAX`] referrers are
/// opened.
///
/// Content that was fetched and proves no signature counts as none: anyone with push access can add any amount of it. A
/// failed request is an error, since its content may be the signature that counts.
pub(crate) async fn is_plainly_signed(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    judge: &CandidateVerifier<'_>,
) -> Result<bool, SignatureError> {
    let search = Search::First(SignatureFormat::Bundle);
    let candidates = Candidates::new(context, repository, subject, judge).up_to(OPENED_MAX);
    let bundles = look_up_bundles_among(candidates, context, repository, subject, search).await;
    if bundles.as_ref().is_ok_and(Lookup::holds_any) {
        return Ok(true);
    }
    let legacy = legacy::look_up(context, repository, subject, judge).await;
    if legacy.as_ref().is_ok_and(Lookup::holds_any) {
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
    judge: &CandidateVerifier<'_>,
    search: Search,
) -> Result<Lookup, SignatureError> {
    let candidates = Candidates::new(context, repository, subject, judge);
    look_up_bundles_among(candidates, context, repository, subject, search).await
}

async fn look_up_bundles_among(
    mut candidates: Candidates<'_>,
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    search: Search,
) -> Result<Lookup, SignatureError> {
    let shared = referrers_tag(context, repository, subject);
    let mut pages = context.registry.referrer_pages(repository, subject);
    let (mut page, tagged) = match search {
        Search::Either => {
            let (page, tagged) = tokio::join!(pages.next(), shared.list());
            (page, Some(tagged))
        }
        Search::First(_) | Search::Both => (pages.next().await, None),
    };
    loop {
        match page {
            Ok(Some(Referrers::Listed(entries))) => {
                candidates.lookup.api = Api::Listed;
                candidates.judge(entries).await;
            }
            Ok(Some(Referrers::NoApi) | None) => break,
            Err(error) => {
                candidates.fail(error.into());
                break;
            }
        }
        if candidates.is_over() {
            return candidates.end();
        }
        page = pages.next().await;
    }
    // Some registries answer the API with an empty list. Entries that were written under the referrers tag for that
    // reason are there.
    let tagged = match tagged {
        Some(tagged) => tagged,
        None => shared.list().await,
    };
    judge_tagged(&mut candidates, tagged).await;
    candidates.end()
}

/// Verifies the entries of the referrers tag, except those already read.
async fn judge_tagged(
    candidates: &mut Candidates<'_>,
    list: Result<Option<Tagged<Referrer>>, SignatureError>,
) {
    match list {
        Ok(Some(Tagged::List(mut list))) => {
            let entries = std::mem::take(&mut list.entries);
            candidates.judge(entries).await;
            candidates.lookup.referrers_list = Some(list.into());
        }
        Ok(Some(Tagged::Unusable(unusable))) => {
            let (lookup, tag) = (&mut candidates.lookup, candidates.subject.referrers_tag());
            lookup.refuse_list(SignatureFormat::Bundle, &tag, unusable);
        }
        Ok(None) => (),
        Err(error) => candidates.fail(error),
    }
}

/// Returns the referrers tag of `subject`.
pub(crate) fn referrers_tag<'a>(
    context: &'a ReadContext,
    repository: &'a Repository,
    subject: &'a Digest,
) -> SharedTag<'a> {
    SharedTag::new(context, repository, subject, subject.referrers_tag())
}

/// Returns the entries of the index under a referrers tag.
pub(crate) fn entries(manifest: &Manifest) -> &[Descriptor] {
    match manifest.kind() {
        ManifestKind::Index { manifests, .. } => manifests,
        ManifestKind::Image { .. } => &[],
    }
}
