//! Looks for signatures where cosign and others leave them: the referrers API and the fallback tag for bundles, the tag
//! `sha256-….sig` for the older format.
//!
//! Three answers, kept apart: signed by whom it must be, not signed so, or an error. "Could not look" is always an error,
//! unless a signature that counts was found elsewhere.

use super::candidates::Candidates;
pub(in crate::apply) use super::candidates::{Api, Candidate, Content, Held, Judge, Lookup};
use super::legacy;
use super::settle::Shared;
use crate::apply::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Repository, SignatureFormat};
use crate::registry::{Referrer, Referrers, Tagged};

/// So many are opened to see whether what a moving tag holds is signed.
const GLANCE_MAX: usize = 100;

/// In which formats to look, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apply) enum Search {
    /// In this one, and only where it has no signature that holds, in the other: the fewest requests where there is one.
    First(SignatureFormat),
    /// For bundles, first under the fallback tag, where an earlier run says that it left one: whether there is an API need
    /// not be asked then.
    Tagged,
    /// In both at once: the least waiting where there is none. When one has a signature that holds, the other need not even
    /// be known.
    Either,
    /// In both; both must be known.
    Both,
}

/// Looks up signatures of `subject`, until one counts in each format that is asked for.
pub(in crate::apply) async fn look_up(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
    search: Search,
) -> Result<Lookup, ApplyError> {
    // Boxed, since their state machines are large and this one is held in many.
    let bundles = Box::pin(look_up_bundles(context, repository, subject, judge, search));
    let legacy = Box::pin(legacy::look_up(context, repository, subject, judge));
    let holds_any =
        |found: &Result<Lookup, ApplyError>| found.as_ref().is_ok_and(Lookup::holds_any);
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
        Search::Tagged => {
            let mut candidates = Candidates::new(context, repository, subject, judge);
            let shared = fallback(context, repository, subject);
            judge_tagged(&mut candidates, shared.list().await).await;
            let tagged = candidates.end();
            if holds_any(&tagged) {
                return tagged;
            }
            // What could not be read is asked for once more: an API may have it.
            either(bundles.await, legacy.await)
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

/// What was found in both formats. Where one has a signature that counts, the other need not be known.
fn either(
    bundles: Result<Lookup, ApplyError>,
    legacy: Result<Lookup, ApplyError>,
) -> Result<Lookup, ApplyError> {
    match (bundles, legacy) {
        (Ok(found), Err(_)) | (Err(_), Ok(found)) if found.holds_any() => Ok(found),
        (bundles, legacy) => Ok(bundles?.and(legacy?)),
    }
}

/// Whether a signature of `subject` counts that is easily found: of what refers to it, [`GLANCE_MAX`] are opened at most.
///
/// What came and shows none, whatever it is, is none as far as anybody can show: whoever may push can put it there, as much
/// as they like. What did not come is an error: it may be the one.
pub(in crate::apply) async fn is_plainly_signed(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
) -> Result<bool, ApplyError> {
    let search = Search::First(SignatureFormat::Bundle);
    let candidates = Candidates::new(context, repository, subject, judge).up_to(GLANCE_MAX);
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
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
    search: Search,
) -> Result<Lookup, ApplyError> {
    let candidates = Candidates::new(context, repository, subject, judge);
    look_up_bundles_among(candidates, context, repository, subject, search).await
}

async fn look_up_bundles_among(
    mut candidates: Candidates<'_>,
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    search: Search,
) -> Result<Lookup, ApplyError> {
    let shared = fallback(context, repository, subject);
    let mut pages = context.registry.referrer_pages(repository, subject);
    let (mut page, tagged) = match search {
        Search::Either => {
            let (page, tagged) = tokio::join!(pages.next(), shared.list());
            (page, Some(tagged))
        }
        Search::First(_) | Search::Tagged | Search::Both => (pages.next().await, None),
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
    // Some registries answer the API and list nothing; what was written to the fallback tag because of that is there.
    let tagged = match tagged {
        Some(tagged) => tagged,
        None => shared.list().await,
    };
    judge_tagged(&mut candidates, tagged).await;
    candidates.end()
}

/// Judges the entries of the fallback tag, but for those that are known.
async fn judge_tagged(
    candidates: &mut Candidates<'_>,
    list: Result<Option<Tagged<Referrer>>, ApplyError>,
) {
    match list {
        Ok(Some(Tagged::List(mut list))) => {
            let entries = std::mem::take(&mut list.entries);
            candidates.judge(entries).await;
            for held in &mut candidates.lookup.verified {
                held.place.is_tagged = true;
            }
            candidates.lookup.fallback = Some(list.into());
        }
        Ok(Some(Tagged::Unusable(unusable))) => {
            let (lookup, tag) = (&mut candidates.lookup, candidates.subject.fallback_tag());
            lookup.refuse_list(SignatureFormat::Bundle, &tag, unusable);
        }
        Ok(None) => (),
        Err(error) => candidates.fail(error),
    }
}

/// The fallback tag of `subject`.
pub(in crate::apply) fn fallback<'a>(
    context: &'a Context,
    repository: &'a Repository,
    subject: &'a Digest,
) -> Shared<'a> {
    Shared::new(context, repository, subject, subject.fallback_tag())
}

/// The entries of a fallback index.
pub(in crate::apply) fn entries(manifest: &Manifest) -> &[Descriptor] {
    match manifest.kind() {
        ManifestKind::Index { manifests, .. } => manifests,
        ManifestKind::Image { .. } => &[],
    }
}
