//! Finds missing signatures: looks up everything that is to be signed, before anything is signed.

use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::lookup::{FoundSignature, Lookup, Search, look_up};
use super::recorded::{self, Recorded};
use super::signable::check_signable;
use super::signing_context::SigningContext;
use super::storable_signature::StorableSignature;
use super::{SignatureError, legacy};
use crate::context::{Context, REQUESTS_PARALLEL};
use crate::domain::{Descriptor, Digest, Policy, Repository, SignatureFormat, chain_text};
use crate::inputs::{Formats, Mode, OnSigningFailure, Signing};
use crate::outcome::{Outcome, SignatureLocation, SignatureOutcome, SignatureSource, Subject};
use crate::plan::Vouched;
use crate::referrers::{SeenList, SeenReferrers, SharedTag, SubjectAge, remove_dead_entries};
use crate::sigstore::{Trust, Verified};

/// The maximum number of listed but absent digests that are named in warnings.
const LOST_SHOWN: usize = 5;

/// A digest whose signatures are looked up in its repository.
#[derive(Debug)]
pub(crate) struct SignatureQuery {
    /// The repository.
    pub repository: Repository,
    /// The digest.
    pub digest: Digest,
    /// The expected result.
    pub expectation: Expectation,
    /// The locations of signatures in the record.
    pub recorded: Vec<Recorded>,
}

/// A digest that must have a signature in its repository. It gets one if it has none, so it must be vouched for.
#[derive(Debug)]
pub(crate) struct ToSign {
    /// The lookup of its signature.
    pub query: SignatureQuery,
    /// The descriptor to sign.
    pub subject: Vouched<Descriptor>,
}

/// A signature that some repositories lack. It is made once, however many these are.
#[derive(Debug)]
pub(crate) struct Unsigned {
    /// The descriptor to sign.
    pub subject: Vouched<Descriptor>,
    /// The format.
    pub format: SignatureFormat,
    /// The signature that another repository has; it is made if there is none.
    pub copy_of: Option<StorableSignature>,
    /// The repositories that lack it; never empty.
    pub missing: Vec<MissingSignature>,
}

/// A repository that lacks a signature.
#[derive(Debug)]
pub(crate) struct MissingSignature {
    /// The repository.
    pub repository: Repository,
    /// The lists of referrers there.
    pub referrers: SeenReferrers,
    /// The content of the tag for the older format.
    pub legacy: Option<SeenList>,
    /// Says whether others may have listed signatures that the lookup did not find.
    pub age: SubjectAge,
}

/// The expected result of a lookup. It decides the order of the search, never the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// No signature: all places are requested concurrently, so that the second one costs no time.
    Unsigned,
    /// A signature of an earlier run: if it is there, the other places need not be requested.
    Signed,
}

/// The required identity, or the reason why it cannot be determined or met.
pub(crate) type RequiredPolicy = Result<Policy, SignatureError>;

/// Returns the error of a policy that cannot be determined or met, unless the inputs excuse it.
pub(crate) fn check_policy(
    policy: RequiredPolicy,
    on_failure: OnSigningFailure,
) -> Result<RequiredPolicy, SignatureError> {
    match policy {
        Err(error) if !is_excused(on_failure, &error) => Err(error),
        policy => Ok(policy),
    }
}

/// Reports whether the inputs excuse that nothing is signed because of this error.
pub(super) fn is_excused(on_failure: OnSigningFailure, error: &SignatureError) -> bool {
    on_failure == OnSigningFailure::Warn && error.is_signing_outage()
}

impl SignatureQuery {
    /// Reports whether both are the same digest in the same repository.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.repository == other.repository
    }

    /// Returns its repository and digest.
    pub(crate) fn name(&self) -> Subject {
        Subject {
            repository: self.repository.clone(),
            digest: self.digest.clone(),
        }
    }
}

impl Unsigned {
    /// Notes that this run stores `digest` in `repository` for the first time.
    pub(crate) fn note_new(&mut self, repository: &Repository, digest: &Digest) {
        if self.subject.digest == *digest {
            let missing = self.missing.iter_mut();
            let there = missing.filter(|missing| missing.repository == *repository);
            there.for_each(|missing| missing.age = SubjectAge::New);
        }
    }

    /// Returns each unsigned digest, with the repository that will get its signature.
    pub(crate) fn names(&self) -> impl Iterator<Item = (Subject, &MissingSignature)> {
        self.missing.iter().map(|missing| {
            let subject = Subject {
                repository: missing.repository.clone(),
                digest: self.subject.digest.clone(),
            };
            (subject, missing)
        })
    }
}

impl SigningContext {
    /// Returns the signature of `subject` in `repository` that counts, if there is one. If the policy cannot be
    /// determined there is none: nothing is signed then either.
    pub(crate) async fn signature_of(
        &self,
        context: &Context,
        policy: Result<&Policy, &SignatureError>,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Verified>, SignatureError> {
        let Ok(policy) = policy else {
            return Ok(None);
        };
        let verifier = self.verifier(policy);
        let search = Search::First(SignatureFormat::Bundle);
        let lookup = look_up(context, repository, subject, &verifier, search).await?;
        Ok(lookup.first_signer())
    }

    /// Looks up the signatures of each subject, notes existing ones, and returns the missing ones. A signature in either
    /// format suffices, unless both are requested. If the policy cannot be determined, which the inputs excuse, all
    /// subjects stay unsigned.
    pub(crate) async fn find_unsigned(
        &self,
        context: &Context,
        subjects: Vec<ToSign>,
        signing: &Signing,
        policy: Result<&Policy, &SignatureError>,
        outcome: &mut Outcome,
    ) -> Result<Vec<Unsigned>, SignatureError> {
        for ToSign { subject, .. } in &subjects {
            check_signable(&subject.digest)?;
        }
        let policy = match policy {
            Ok(policy) => policy,
            // Without a token the required identity is not known, so no signature can be made either.
            Err(error) => {
                outcome.continue_unsigned(
                    &context.events,
                    subjects.iter().map(|one| one.query.name()),
                    &chain_text(error),
                );
                return Ok(Vec::new());
            }
        };
        let lookups = subjects.into_iter().map(async |subject| {
            let search = search(signing.formats, subject.query.expectation);
            let mut lookup = self
                .look_up_signatures(context, &subject.query, policy, search)
                .await?;
            if signing.formats.each().contains(&SignatureFormat::Bundle) {
                lookup.unlist_misstated();
            }
            let mut missing = missing(signing.formats, &lookup);
            check_lists(context, &subject.query, &lookup, &missing)?;
            for held in &lookup.unlisted {
                warn_of_misstated(context, &subject.query, &held.location);
                missing.retain(|format| *format != held.location.format);
            }
            let recorded = self.find_recorded(context, &subject.query, policy, missing);
            lookup.unlisted.extend(recorded.await?);
            Ok::<_, SignatureError>((subject, lookup))
        });
        let mut found = Vec::new();
        let mut lookups = stream::iter(lookups).buffered(REQUESTS_PARALLEL);
        while let Some((subject, lookup)) = lookups.try_next().await? {
            note_found(context, &subject.query, &lookup, outcome);
            found.push((subject, lookup));
        }
        let unsigned = unsigned(signing.formats, &found, &self.trust);
        if context.mode == Mode::Apply {
            remove_dead_entries_of(context, signing.formats, &found).await?;
            match self.check_certificate(policy, &unsigned).await {
                // Signing will fail in the same way, and the inputs decide about that failure.
                Err(error) if error.is_signing_outage() => (),
                checked => checked?,
            }
        }
        for one in &unsigned {
            let (digest, format) = (&one.subject.digest, one.format);
            let is_held = |(wanted, lookup): &(ToSign, Lookup)| {
                wanted.subject.digest == *digest && lookup.any_in_format(format).is_some()
            };
            let text = match &one.copy_of {
                None if found.iter().any(is_held) => format!(
                    "`{digest}`: to be signed ({format}), because the existing signature contains more than verification reads and is not copied elsewhere"
                ),
                None => format!("`{digest}`: to be signed ({format})"),
                Some(_) => {
                    format!(
                        "`{digest}`: its signature ({format}) is to be stored where it is missing"
                    )
                }
            };
            context.events.info(text);
        }
        Ok(unsigned)
    }

    /// Returns missing signatures that the record names and that exist.
    async fn find_recorded(
        &self,
        context: &Context,
        wanted: &SignatureQuery,
        policy: &Policy,
        missing: Vec<SignatureFormat>,
    ) -> Result<Vec<FoundSignature>, SignatureError> {
        let (repository, subject) = (&wanted.repository, &wanted.digest);
        let verifier = self.verifier(policy);
        let mut held = Vec::new();
        for format in missing {
            let locations = &wanted.recorded;
            let found =
                recorded::look_up(context, repository, subject, locations, format, &verifier)
                    .await?;
            if found.is_some() {
                context.events.warn(format!(
                    "`{}` has the signature ({format}) that the record names, but its list lacks the entry: the entry is added again",
                    wanted.name()
                ));
            }
            held.extend(found);
        }
        Ok(held)
    }

    /// Looks up signatures of `subject` that count. Retries while a listed one is absent, so a slow registry does not
    /// pass as one without a signature.
    async fn look_up_signatures(
        &self,
        context: &Context,
        wanted: &SignatureQuery,
        policy: &Policy,
        search: Search,
    ) -> Result<Lookup, SignatureError> {
        let subject = &wanted.digest;
        let mut attempt = 1;
        loop {
            let verifier = self.verifier(policy);
            let lookup = look_up(context, &wanted.repository, subject, &verifier, search).await?;
            let enough = match search {
                Search::First(_) | Search::Either => !lookup.verified.is_empty(),
                Search::Both => missing(Formats::Both, &lookup).is_empty(),
            };
            if enough || lookup.dangling_count == 0 {
                return Ok(lookup);
            }
            if !lookup.may_be_late() || attempt >= context.retry_policy.max_attempts {
                warn_of_lost(context, wanted, &lookup);
                return Ok(lookup);
            }
            attempt += 1;
            let why = "a listed signature is not visible yet";
            context.pause(&wanted.name().to_string(), why).await;
        }
    }
}

/// Checks that signatures of these formats can be listed. Other content is not overwritten, and nothing must be signed
/// in vain.
fn check_lists(
    context: &Context,
    wanted: &SignatureQuery,
    lookup: &Lookup,
    missing: &[SignatureFormat],
) -> Result<(), SignatureError> {
    for format in missing {
        if let Some(obstacle) = lookup.obstacle(*format) {
            let (repository, subject) = (&wanted.repository, &wanted.digest);
            let list = match format {
                SignatureFormat::Bundle => {
                    Some(SharedTag::of_referrers(context, repository, subject))
                }
                SignatureFormat::Legacy => legacy::tag(context, repository, subject),
            };
            return Err(match list {
                Some(list) => list.unusable(obstacle).into(),
                None => SignatureError::UnsupportedDigest(subject.clone()),
            });
        }
    }
    Ok(())
}

/// Makes room for signatures in lists that the registry refuses because of entries whose manifests are gone.
async fn remove_dead_entries_of(
    context: &Context,
    formats: Formats,
    found: &[(ToSign, Lookup)],
) -> Result<(), SignatureError> {
    let lacks_bundle =
        |lookup: &Lookup| missing(formats, lookup).contains(&SignatureFormat::Bundle);
    let with_lost = found
        .iter()
        .filter(|(_, lookup)| lookup.dangling_count > 0 && lacks_bundle(lookup));
    let removals = with_lost.map(|(wanted, lookup)| {
        let SignatureQuery {
            repository, digest, ..
        } = &wanted.query;
        remove_dead_entries::<SignatureError>(context, repository, digest, &lookup.referrers)
    });
    try_join_all(removals).await.map(drop)
}

fn warn_of_misstated(context: &Context, wanted: &SignatureQuery, location: &SignatureLocation) {
    let (name, signature) = (wanted.name(), &location.manifest);
    context.events.warn(format!(
        "the referrers tag of `{name}` lists its signature `{signature}` as something else: the entry is replaced"
    ));
}

fn warn_of_lost(context: &Context, wanted: &SignatureQuery, lookup: &Lookup) {
    let subject = &wanted.digest;
    let shown = lookup.dangling.iter().take(LOST_SHOWN);
    for digest in shown.clone() {
        let listed = wanted.repository.at(digest);
        context.events.warn(format!(
            "`{listed}` is listed as a referrer of `{subject}` but was not found"
        ));
    }
    let more = lookup.dangling_count - shown.count();
    if more > 0 {
        context.events.warn(format!(
            "{more} more are listed as referrers of `{subject}` but were not found"
        ));
    }
}

fn search(formats: Formats, expectation: Expectation) -> Search {
    match (formats, expectation) {
        (Formats::Both, _) => Search::Both,
        (Formats::Bundle | Formats::Legacy, Expectation::Unsigned) => Search::Either,
        (Formats::Bundle, Expectation::Signed) => Search::First(SignatureFormat::Bundle),
        (Formats::Legacy, Expectation::Signed) => Search::First(SignatureFormat::Legacy),
    }
}

/// Returns the missing formats.
fn missing(formats: Formats, lookup: &Lookup) -> Vec<SignatureFormat> {
    let enough = formats != Formats::Both && !lookup.verified.is_empty();
    let wanted = formats.each().iter().copied();
    wanted
        .filter(|format| !enough && lookup.verified_as(*format).is_none())
        .collect()
}

/// Returns each missing signature once, with a copy of it if another repository has one that may be stored.
fn unsigned(formats: Formats, found: &[(ToSign, Lookup)], trust: &Trust) -> Vec<Unsigned> {
    let mut unsigned: Vec<Unsigned> = Vec::new();
    let age = SubjectAge::Unknown(Some(Instant::now()));
    for (wanted, lookup) in found {
        let subject = &wanted.subject;
        for format in missing(formats, lookup) {
            let missing = MissingSignature {
                repository: wanted.query.repository.clone(),
                referrers: lookup.referrers.clone(),
                legacy: lookup.legacy.clone(),
                age,
            };
            let same =
                |one: &&mut Unsigned| one.subject.digest == subject.digest && one.format == format;
            if let Some(known) = unsigned.iter_mut().find(same) {
                known.missing.push(missing);
                continue;
            }
            let lookups = found
                .iter()
                .filter(|(other, _)| other.subject.digest == subject.digest);
            let held = lookups.filter_map(|(_, lookup)| lookup.any_in_format(format));
            let mut plain = held.filter_map(|held| StorableSignature::found(&held.content, trust));
            unsigned.push(Unsigned {
                subject: subject.clone(),
                format,
                copy_of: plain.next(),
                missing: vec![missing],
            });
        }
    }
    unsigned
}

/// Notes one existing signature of each format, and warns about candidates that cannot be signatures.
fn note_found(context: &Context, wanted: &SignatureQuery, lookup: &Lookup, outcome: &mut Outcome) {
    if let Some(warning) = lookup.refused.warning(&wanted.name()) {
        context.events.warn(warning);
    }
    for format in Formats::Both.each() {
        if let Some(held) = lookup.verified_as(*format) {
            let signature = SignatureOutcome {
                subject: wanted.name(),
                signer: held.content.signer().clone(),
                location: held.location.clone(),
                source: SignatureSource::Found,
            };
            outcome.note_signature(&context.events, signature);
        }
    }
}
