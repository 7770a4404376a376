//! What may be a signature: read, one after the other, and judged, until one counts.
//!
//! SECURITY: whoever may push can list whatever he likes. What was read and is no signature is refused, and hides no
//! other. What could not be read may be the one that counts: unless another is found, the answer is an error.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use super::refused::{AllRefused, Refused};
use super::seen_list::SeenList;
use crate::apply::children::PARALLEL;
use crate::apply::receipt::{Place, Subject};
use crate::apply::{ApplyError, Context};
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, Reference, Repository, SignatureFormat, Tag,
    Unusable,
};
use crate::failure::chain_text;
use crate::registry::{Entries, REFERRERS_MAX, Referrer, RegistryError};
use crate::signing::{LegacySignature, Refusal, SIGN_PREDICATE, Signature, Verified};

/// What holds a Sigstore bundle has one layer whose type begins so. Source: cosign, `pkg/oci/remote/signatures.go`.
const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The annotation that says what a bundle states.
pub(in crate::apply) const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// No signature is as long as this.
pub(in crate::apply) const SIGNATURE_MAX_BYTES: u64 = 1 << 20;
/// After so many candidates that cannot be read, no more are tried.
const FAULTS_MAX: usize = 32;
/// So many that are listed and not there are told by name. More of them than that are not late but lost.
const LOST_MAX: usize = 100;

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

/// What was found of a digest, judged.
#[derive(Debug)]
pub(in crate::apply) struct Lookup {
    /// Signatures that hold: of each format the first that is listed.
    pub verified: Vec<Held>,
    /// What does not count, and why.
    pub refused: AllRefused,
    /// What is listed, but the registry says it does not have; the first of them.
    pub dangling: Vec<Digest>,
    /// How many of those there are.
    pub dangling_count: usize,
    /// Signatures that hold and are there, but are not listed.
    pub unlisted: Vec<Held>,
    /// Whether the registry has the referrers API; as far as is known, which it is where bundles were looked for.
    pub api: Api,
    /// What the fallback tag holds, as far as it was looked at.
    pub fallback: Option<SeenList>,
    /// What the tag for the older format holds.
    pub legacy: Option<SeenList>,
    /// What is no list and is where signatures of this format are listed.
    pub in_the_way: Vec<(SignatureFormat, Unusable)>,
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
    Refused(Refused),
    /// It, or part of it, is not there.
    Dangling(Digest),
    /// It has nothing to do with signatures.
    Unrelated,
}

/// The candidates for a signature of `subject`.
pub(super) struct Candidates<'a> {
    context: &'a Context,
    repository: &'a Repository,
    pub(super) subject: &'a Digest,
    judge: &'a Judge<'a>,
    /// Each is judged once, however often it is listed.
    known: BTreeSet<Digest>,
    count: usize,
    /// How many more may be opened, where that is bounded.
    left: Option<usize>,
    fault: Option<ApplyError>,
    faults: usize,
    pub(super) lookup: Lookup,
}

impl Lookup {
    /// One in which nothing was found yet.
    pub(in crate::apply) fn of(api: Api) -> Self {
        Self {
            verified: Vec::new(),
            refused: AllRefused::default(),
            dangling: Vec::new(),
            dangling_count: 0,
            unlisted: Vec::new(),
            api,
            fallback: None,
            legacy: None,
            in_the_way: Vec::new(),
        }
    }

    /// Notes that the tag that lists signatures of this format holds no list, and so no signature.
    pub(super) fn refuse_list(&mut self, format: SignatureFormat, tag: &Tag, unusable: Unusable) {
        self.refused.add(Refused::list(tag, &unusable));
        self.in_the_way.push((format, unusable));
    }

    /// What is no list and is where a signature of this format must be listed.
    pub(super) fn obstacle(&self, format: SignatureFormat) -> Option<&Unusable> {
        // Where the registry lists bundles itself, the tag is not written.
        let is_written = format == SignatureFormat::Legacy || self.api == Api::FallbackTag;
        let mut found = self.in_the_way.iter();
        let found = found.find(|(of, _)| *of == format && is_written);
        found.map(|(_, unusable)| unusable)
    }

    /// What was seen of the tag that lists signatures of this format.
    pub(in crate::apply) fn list(&self, format: SignatureFormat) -> Option<&SeenList> {
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

    /// Whether what is missing may only be late.
    pub(in crate::apply) fn may_be_late(&self) -> bool {
        (1..=LOST_MAX).contains(&self.dangling_count)
    }

    /// The signer of the first signature that holds.
    pub(in crate::apply) fn first_signer(&self) -> Option<Verified> {
        let first = self.verified.first();
        first.map(|held| held.content.signer().clone())
    }

    /// Whether any signature counts.
    pub(in crate::apply) fn holds_any(&self) -> bool {
        !self.verified.is_empty()
    }

    /// Adds what became of one candidate.
    pub(in crate::apply) fn note(&mut self, judged: Judged) {
        match judged {
            // Anybody can list the same one a thousand times.
            Judged::Verified(held) if self.verified_as(held.place.format).is_some() => {}
            Judged::Verified(held) => self.verified.push(*held),
            Judged::Refused(refused) => self.refused.add(refused),
            Judged::Dangling(digest) => {
                self.dangling_count += 1;
                if self.dangling.len() < LOST_MAX {
                    self.dangling.push(digest);
                }
            }
            Judged::Unrelated => {}
        }
    }

    /// What was found of bundles, and what of the other format.
    pub(super) fn and(mut self, legacy: Self) -> Self {
        self.verified.extend(legacy.verified);
        self.refused.append(legacy.refused);
        self.dangling.extend(legacy.dangling);
        self.dangling.truncate(LOST_MAX);
        self.dangling_count += legacy.dangling_count;
        self.legacy = legacy.legacy;
        self.in_the_way.extend(legacy.in_the_way);
        self
    }
}

impl<'a> Candidates<'a> {
    /// None yet.
    pub(super) fn new(
        context: &'a Context,
        repository: &'a Repository,
        subject: &'a Digest,
        judge: &'a Judge<'a>,
    ) -> Self {
        Self {
            context,
            repository,
            subject,
            judge,
            known: BTreeSet::new(),
            count: 0,
            left: None,
            fault: None,
            faults: 0,
            lookup: Lookup::of(Api::FallbackTag),
        }
    }

    /// Opens `most` of them at most: whoever may push can list any number that lead nowhere.
    pub(super) fn up_to(mut self, most: usize) -> Self {
        self.left = Some(most);
        self
    }

    /// Judges these in their order, until one counts.
    pub(super) async fn judge(&mut self, entries: Entries<Referrer>) {
        let Entries { mut listed, broken } = entries;
        self.count += listed.len() + broken;
        if self.count > REFERRERS_MAX {
            return self.give_up();
        }
        self.lookup.refused.add_unreadable_entries(broken);
        // What is passed over unread is not known: it may be listed a second time, by somebody who says what it is.
        let is_read = |entry: &Referrer| {
            entry.is_image && other_statement(entry.predicate.as_deref()).is_none()
        };
        listed.retain(|entry| !is_read(entry) || self.known.insert(entry.digest.clone()));
        let mut is_cut = false;
        if let Some(left) = &mut self.left {
            // What says of itself that it is a signature comes first: everything that this program signs says so.
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
        let judge = self.judge;
        let judged = listed
            .iter()
            .map(|entry| judge_one(context, repository, subject, entry, judge));
        let mut judged = stream::iter(judged).buffered(PARALLEL);
        while let Some(one) = judged.next().await {
            match one {
                Ok(one) => self.lookup.note(one),
                Err(error) => self.fail(error),
            }
            if self.is_over() {
                break;
            }
        }
        drop(judged);
        if is_cut {
            self.give_up();
        }
    }

    /// Notes that something could not be read, which may be the one that counts. What did not come outweighs what came and
    /// is of no use: as long as it is not known, nothing follows.
    pub(super) fn fail(&mut self, error: ApplyError) {
        self.faults += 1;
        let known = self.fault.as_ref();
        if known.is_none_or(|known| known.shows_no_signature() && !error.shows_no_signature()) {
            self.fault = Some(error);
        }
    }

    /// Looks no further: there are too many.
    fn give_up(&mut self) {
        let error = ApplyError::TooManyReferrers {
            subject: Box::new(self.subject()),
            count: self.count,
        };
        self.fail(error);
        self.faults = FAULTS_MAX;
    }

    /// Whether there is no use in looking further.
    pub(super) fn is_over(&self) -> bool {
        self.lookup.holds_any() || self.faults >= FAULTS_MAX
    }

    /// What was found. Where that is nothing that counts, everything must have been read.
    pub(super) fn end(self) -> Result<Lookup, ApplyError> {
        match self.fault {
            Some(error) if !self.lookup.holds_any() => Err(error),
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

/// Opens one referrer. Its artifact type is not asked: writers that are still in use put the wrong one into the list
/// (<https://github.com/sigstore/cosign/issues/4641>). What says that it states something else than a signature is passed
/// over unread: whoever says so of what is his own hides that alone.
async fn judge_one(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    entry: &Referrer,
    judge: &Judge<'_>,
) -> Result<Judged, ApplyError> {
    let refused = |refused| Ok(Judged::Refused(refused));
    if !entry.is_image {
        return Ok(Judged::Unrelated);
    }
    if let Some(predicate) = other_statement(entry.predicate.as_deref()) {
        return refused(Refused::statement(&entry.digest, predicate));
    }
    let reference = Reference::Digest(entry.digest.clone());
    let manifest = match context.registry.manifest(repository, &reference).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Judged::Dangling(entry.digest.clone())),
        // The bytes are the right ones, and nothing that holds a signature: somebody put them there.
        Err(error) if error.is_about_content() => {
            return refused(Refused::broken(&entry.digest, &chain_text(&error)));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(predicate) = other_statement(manifest.annotation(PREDICATE)) {
        return refused(Refused::statement(&entry.digest, predicate));
    }
    let Some(bundle) = bundle_of(&manifest).cloned() else {
        return Ok(Judged::Unrelated);
    };
    // What it says goes on, not its bytes, while the bundle is waited for: it may be as long as any manifest.
    drop(manifest);
    let place = Place {
        format: SignatureFormat::Bundle,
        manifest: entry.digest.clone(),
        signature: None,
        is_tagged: false,
    };
    let bytes = match read_layer(context, repository, &bundle).await? {
        Layer::Is(bytes) => bytes,
        Layer::Lost => return Ok(Judged::Dangling(bundle.digest)),
        Layer::Unlike { why, .. } | Layer::Broken(why) => {
            return refused(Refused::broken(&entry.digest, &why));
        }
    };
    Ok(match judge(&Candidate::Bundle(&bytes), subject) {
        Ok(verified) => Judged::Verified(Box::new(Held {
            place,
            content: Content::Bundle(Signature {
                bundle: bytes,
                verified,
            }),
        })),
        Err(refusal) => Judged::Refused(Refused::by_judge(&place, &refusal)),
    })
}

/// What something states, where it says itself that this is no signature.
pub(in crate::apply) fn other_statement(predicate: Option<&str>) -> Option<&str> {
    predicate.filter(|predicate| *predicate != SIGN_PREDICATE)
}

/// The layer that holds a bundle, where that is all there is.
pub(in crate::apply) fn bundle_of(manifest: &Manifest) -> Option<&Descriptor> {
    let ManifestKind::Image { layers, .. } = manifest.kind() else {
        return None;
    };
    let is_bundle = |layer: &Descriptor| layer.media_type.as_str().starts_with(BUNDLE_TYPE_PREFIX);
    match layers.as_slice() {
        [layer] => Some(layer).filter(|layer| is_bundle(layer)),
        _ => None,
    }
}

/// The content of a layer that may be a signature.
pub(in crate::apply) enum Layer {
    /// It is this, and as long as it is said to be.
    Is(Vec<u8>),
    /// It is this, and of another length than its manifest says.
    Unlike { bytes: Vec<u8>, why: String },
    /// It is not there.
    Lost,
    /// It is nothing that could be a signature.
    Broken(String),
}

/// Reads a layer that may be a signature. A registry that does not give it is an error; what is too long, or of another
/// length than its manifest says, is broken.
pub(in crate::apply) async fn read_layer(
    context: &Context,
    repository: &Repository,
    layer: &Descriptor,
) -> Result<Layer, RegistryError> {
    if layer.size > SIGNATURE_MAX_BYTES {
        let refusal = Refusal::TooLarge { size: layer.size };
        return Ok(Layer::Broken(refusal.to_string()));
    }
    let registry = &context.registry;
    let blob = registry.blob(repository, &layer.digest, SIGNATURE_MAX_BYTES);
    Ok(match blob.await {
        Ok(Some(bytes)) => match unlike(&bytes, layer) {
            Some(why) => Layer::Unlike { bytes, why },
            None => Layer::Is(bytes),
        },
        Ok(None) => Layer::Lost,
        Err(error) if error.is_about_content() => Layer::Broken(chain_text(&error)),
        Err(error) => return Err(error),
    })
}

/// Why `bytes` are not what `layer` says, where they are of another length.
pub(in crate::apply) fn unlike(bytes: &[u8], layer: &Descriptor) -> Option<String> {
    let (arrived, said, digest) = (bytes.len(), layer.size, &layer.digest);
    let is_alike = u64::try_from(arrived) == Ok(said);
    (!is_alike).then(|| format!("its layer `{digest}` has {arrived} bytes, not {said} as it says"))
}
