//! Looks for signatures where cosign and others leave them: the referrers API and the fallback tag for bundles, the tag
//! `sha256-….sig` for the older format.
//!
//! Three answers, kept apart: signed by whom it must be, not signed so, or an error. "Could not look" is always an error.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::legacy;
use super::settle::Shared;
use crate::apply::children::PARALLEL;
use crate::apply::receipt::{Place, Subject};
use crate::apply::{ApplyError, Context};
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, Reference, Repository, SignatureFormat,
};
use crate::registry::Referrers;
use crate::signing::{LegacySignature, Refusal, Signature, Verified};

/// What holds a Sigstore bundle has one layer whose type begins so. Source: cosign, `pkg/oci/remote/signatures.go`.
const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// No signature is as long as this.
pub(in crate::apply) const SIGNATURE_MAX_BYTES: u64 = 1 << 20;
/// What refers to one digest, at most.
pub(in crate::apply) const REFERRERS_MAX: usize = 1000;

/// A signature that holds, with all that it takes to store it.
#[derive(Debug, Clone)]
pub(in crate::apply) enum Content {
    /// A Sigstore bundle.
    Bundle(Signature),
    /// A layer of the older format.
    Legacy(LegacySignature),
}

/// A signature that holds, and where it is.
#[derive(Debug, Clone)]
pub(in crate::apply) struct Held {
    pub place: Place,
    pub content: Content,
}

impl Content {
    /// Who signed.
    pub(in crate::apply) fn signer(&self) -> &Verified {
        match self {
            Self::Bundle(signature) => &signature.verified,
            Self::Legacy(signature) => &signature.verified,
        }
    }
}

/// Something that may be a signature.
pub(in crate::apply) enum Candidate<'a> {
    /// A Sigstore bundle.
    Bundle(&'a [u8]),
    /// A layer of the older format: its content and its annotations.
    Legacy(&'a [u8], &'a BTreeMap<String, String>),
}

/// Says whether something is a signature of a digest that counts.
pub(in crate::apply) type Judge<'a> =
    dyn Fn(&Candidate<'_>, &Digest) -> Result<Verified, Refusal> + Sync + 'a;

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

/// What was found of a digest, judged.
#[derive(Debug)]
pub(in crate::apply) struct Lookup {
    /// Signatures that hold: of each format the first that is listed.
    pub verified: Vec<Held>,
    /// Signatures that do not hold, and attestations, which are none, with their places.
    pub refused: Vec<(Place, Refusal)>,
    /// What is listed, but the registry says it does not have.
    pub dangling: Vec<Digest>,
    /// Signatures that hold and are there, but are not listed.
    pub unlisted: Vec<Held>,
    /// Whether the registry has the referrers API; as far as is known, which it is where bundles were looked for.
    pub api: Api,
    /// What the fallback tag holds, as far as it was looked at.
    pub fallback: Option<Manifest>,
    /// What the tag for the older format holds.
    pub legacy: Option<Manifest>,
}

/// Whether a registry has the referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::apply) enum Api {
    /// It lists referrers itself.
    Listed,
    /// They are listed under the fallback tag.
    FallbackTag,
}

/// What became of one candidate.
pub(in crate::apply) enum Judged {
    /// A signature that counts.
    Verified(Box<Held>),
    /// Something that does not.
    Refused(Place, Refusal),
    /// It, or part of it, is not there.
    Dangling(Digest),
    /// It has nothing to do with signatures.
    Unrelated,
}

/// Looks up every signature of `subject` and has each judged.
pub(in crate::apply) async fn look_up(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
    search: Search,
) -> Result<Lookup, ApplyError> {
    let bundles = look_up_bundles(context, repository, subject, judge, search);
    let legacy = legacy::look_up(context, repository, subject, judge);
    match search {
        Search::First(SignatureFormat::Bundle) => {
            let bundles = bundles.await?;
            if bundles.holds_any() {
                return Ok(bundles);
            }
            Ok(bundles.and(legacy.await?))
        }
        Search::First(SignatureFormat::Legacy) => {
            let legacy = legacy.await?;
            if legacy.holds_any() {
                return Ok(legacy);
            }
            Ok(bundles.await?.and(legacy))
        }
        Search::Tagged => {
            let mut tagged = Lookup::of(Api::FallbackTag);
            let shared = fallback(context, repository, subject);
            let held = shared.read().await?;
            tagged.judge_tagged(&shared, held, &[], judge).await?;
            if tagged.holds_any() {
                return Ok(tagged);
            }
            Ok(bundles.await?.and(legacy.await?))
        }
        Search::Either => match tokio::join!(bundles, legacy) {
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if found.holds_any() => Ok(found),
            (bundles, legacy) => Ok(bundles?.and(legacy?)),
        },
        Search::Both => {
            let (bundles, legacy) = tokio::try_join!(bundles, legacy)?;
            Ok(bundles.and(legacy))
        }
    }
}

async fn look_up_bundles(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    judge: &Judge<'_>,
    search: Search,
) -> Result<Lookup, ApplyError> {
    let shared = fallback(context, repository, subject);
    let list = context.registry.referrers(repository, subject);
    let (list, tagged) = match search {
        Search::Either => {
            let (list, tagged) = tokio::join!(list, shared.read());
            (list, Some(tagged))
        }
        Search::First(_) | Search::Tagged | Search::Both => (list.await, None),
    };
    let (listed, api) = match list? {
        Referrers::Listed(listed) => (listed, Api::Listed),
        Referrers::NoApi => (Vec::new(), Api::FallbackTag),
    };
    let mut lookup = Lookup::of(api);
    lookup
        .judge_all(context, repository, subject, &listed, judge)
        .await?;
    // Some registries answer the API and list nothing; what was written to the fallback tag because of that is there.
    if lookup.verified.is_empty() {
        let tagged = match tagged {
            Some(tagged) => tagged?,
            None => shared.read().await?,
        };
        lookup.judge_tagged(&shared, tagged, &listed, judge).await?;
    }
    Ok(lookup)
}

impl Lookup {
    /// One in which nothing was found yet.
    pub(in crate::apply) fn of(api: Api) -> Self {
        Self {
            verified: Vec::new(),
            refused: Vec::new(),
            dangling: Vec::new(),
            unlisted: Vec::new(),
            api,
            fallback: None,
            legacy: None,
        }
    }

    /// What was seen of the tag that lists signatures of this format.
    pub(in crate::apply) fn list(&self, format: SignatureFormat) -> Option<&Manifest> {
        match format {
            SignatureFormat::Bundle => self.fallback.as_ref(),
            SignatureFormat::Legacy => self.legacy.as_ref(),
        }
    }

    /// The first signature that holds, in this format.
    pub(in crate::apply) fn verified_as(&self, format: SignatureFormat) -> Option<&Held> {
        let mut verified = self.verified.iter();
        verified.find(|held| held.place.format == format)
    }

    /// The same, listed or not.
    pub(in crate::apply) fn held_as(&self, format: SignatureFormat) -> Option<&Held> {
        let unlisted = || {
            self.unlisted
                .iter()
                .find(|held| held.place.format == format)
        };
        self.verified_as(format).or_else(unlisted)
    }

    /// Adds what became of one candidate.
    pub(in crate::apply) fn note(&mut self, judged: Judged) {
        match judged {
            // Anybody can list the same one a thousand times.
            Judged::Verified(held) if self.verified_as(held.place.format).is_some() => {}
            Judged::Verified(held) => self.verified.push(*held),
            Judged::Refused(place, refusal) => self.refused.push((place, refusal)),
            Judged::Dangling(digest) => self.dangling.push(digest),
            Judged::Unrelated => {}
        }
    }

    /// The signer of the first signature that holds.
    pub(in crate::apply) fn first_signer(&self) -> Option<Verified> {
        let first = self.verified.first();
        first.map(|held| held.content.signer().clone())
    }

    fn holds_any(&self) -> bool {
        !self.verified.is_empty()
    }

    /// What was found of bundles, and what of the other format.
    fn and(mut self, legacy: Self) -> Self {
        self.verified.extend(legacy.verified);
        self.refused.extend(legacy.refused);
        self.dangling.extend(legacy.dangling);
        self.legacy = legacy.legacy;
        self
    }

    /// Adds what became of the entries of the fallback tag, which holds `tagged`, but for those that are `known`.
    async fn judge_tagged(
        &mut self,
        shared: &Shared<'_>,
        tagged: Option<Manifest>,
        known: &[Descriptor],
        judge: &Judge<'_>,
    ) -> Result<(), ApplyError> {
        let entries = tagged.as_ref().map_or(&[][..], entries);
        let is_new = |entry: &&Descriptor| !known.iter().any(|known| known.digest == entry.digest);
        let new: Vec<Descriptor> = entries.iter().filter(is_new).cloned().collect();
        let (context, repository, subject) = (shared.context, shared.repository, shared.subject);
        self.judge_all(context, repository, subject, &new, judge)
            .await?;
        for held in &mut self.verified {
            held.place.is_tagged = true;
        }
        self.fallback = tagged;
        Ok(())
    }

    /// Adds what became of each of these.
    pub(super) async fn judge_all(
        &mut self,
        context: &Context,
        repository: &Repository,
        subject: &Digest,
        entries: &[Descriptor],
        judge: &Judge<'_>,
    ) -> Result<(), ApplyError> {
        if entries.len() > REFERRERS_MAX {
            return Err(ApplyError::TooManyReferrers {
                subject: Box::new(Subject {
                    repository: repository.clone(),
                    digest: subject.clone(),
                }),
                count: entries.len(),
            });
        }
        let judged = entries
            .iter()
            .map(|entry| judge_one(context, repository, subject, entry, judge));
        let mut judged = stream::iter(judged).buffered(PARALLEL);
        while let Some(one) = judged.try_next().await? {
            self.note(one);
        }
        Ok(())
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
            [layer] if layer.media_type.as_str().starts_with(BUNDLE_TYPE_PREFIX) => layer.clone(),
            _ => return Ok(Judged::Unrelated),
        },
        ManifestKind::Index { .. } => return Ok(Judged::Unrelated),
    };
    // What it says goes on, not its bytes, while the bundle is waited for: it may be as long as any manifest.
    drop(manifest);
    let place = Place {
        format: SignatureFormat::Bundle,
        manifest: entry.digest.clone(),
        signature: None,
        is_tagged: false,
    };
    if bundle.size > SIGNATURE_MAX_BYTES {
        return Ok(Judged::Refused(
            place,
            Refusal::TooLarge { size: bundle.size },
        ));
    }
    let Some(bytes) = context
        .registry
        .blob(repository, &bundle.digest, SIGNATURE_MAX_BYTES)
        .await?
    else {
        return Ok(Judged::Dangling(bundle.digest.clone()));
    };
    Ok(match judge(&Candidate::Bundle(&bytes), subject) {
        Ok(verified) => Judged::Verified(Box::new(Held {
            place,
            content: Content::Bundle(Signature {
                bundle: bytes,
                verified,
            }),
        })),
        Err(refusal) => Judged::Refused(place, refusal),
    })
}
