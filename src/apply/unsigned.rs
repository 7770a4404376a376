//! What lacks a signature: looks at everything that is to be signed, before anything is.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::children::PARALLEL;
use super::lookup::{Api, Lookup, Search, look_up};
use super::receipt::{Receipt, SignatureReceipt, Subject};
use super::signer::Authority;
use super::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Policy, Repository, SignatureFormat};
use crate::inputs::{Formats, OnSigningFailure, Signing};

/// A signature that is to be made.
#[derive(Debug)]
pub(super) struct Unsigned {
    /// Of what.
    pub subject: Descriptor,
    /// In which format.
    pub format: SignatureFormat,
    /// Where a bundle will be listed.
    pub api: Api,
}

/// What is likely to be found, which decides in which order to look: never what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// Nothing: all places are asked at once, so that asking the second costs no time.
    Unsigned,
    /// What an earlier run left: where that is, the other places need not be asked.
    Signed,
}

impl Authority {
    /// Looks for the signature of each subject, notes those that are there, and returns what is to be made. A signature of
    /// either format will do, unless both are wanted.
    pub(super) async fn find_unsigned(
        &self,
        context: &Context,
        repository: &Repository,
        subjects: Vec<Descriptor>,
        signing: &Signing,
        expectation: Expectation,
        receipt: &mut Receipt,
    ) -> Result<Vec<Unsigned>, ApplyError> {
        let policy = match self.policy(&signing.policy).await {
            Ok(policy) => policy,
            // Without a token it is not known whose signature would count, so none can be made either.
            Err(error)
                if signing.on_failure == OnSigningFailure::Warn && error.is_signing_outage() =>
            {
                receipt.go_on_unsigned(
                    context,
                    subjects.iter().map(|subject| &subject.digest),
                    &error,
                );
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let search = search(signing.formats, expectation);
        let looks = subjects.into_iter().map(|subject| {
            let policy = &policy;
            async move {
                let lookup = self
                    .look(context, repository, &subject.digest, policy, search)
                    .await?;
                Ok::<_, ApplyError>((subject, lookup))
            }
        });
        let mut unsigned = Vec::new();
        let mut looks = stream::iter(looks).buffered(PARALLEL);
        while let Some((subject, lookup)) = looks.try_next().await? {
            note_found(context, repository, &subject.digest, &lookup, receipt);
            let missing = missing(signing.formats, &lookup);
            for format in &missing {
                let digest = &subject.digest;
                context
                    .events
                    .note(format!("`{digest}`: to be signed ({format})"));
            }
            unsigned.extend(missing.into_iter().map(|format| Unsigned {
                subject: subject.clone(),
                format,
                api: lookup.api,
            }));
        }
        Ok(unsigned)
    }

    /// Looks for signatures of `subject` that count. What is listed but not there is given time, so that a registry that
    /// lags is not taken for one without a signature.
    async fn look(
        &self,
        context: &Context,
        repository: &Repository,
        subject: &Digest,
        policy: &Policy,
        search: Search,
    ) -> Result<Lookup, ApplyError> {
        let mut attempt = 1;
        loop {
            let judge = self.judge(policy);
            let lookup = look_up(context, repository, subject, &judge, search).await?;
            let enough = match search {
                Search::First(_) | Search::Either => !lookup.verified.is_empty(),
                Search::Both => missing(Formats::Both, &lookup).is_empty(),
            };
            if enough || lookup.dangling.is_empty() {
                return Ok(lookup);
            }
            if attempt >= context.patience.max_attempts {
                for digest in &lookup.dangling {
                    context.events.warn(format!(
                        "`{digest}` is listed as referring to `{subject}`, but is not there"
                    ));
                }
                return Ok(lookup);
            }
            attempt += 1;
            context
                .pause(
                    &repository.at(subject).to_string(),
                    "a signature is listed that is not there yet",
                )
                .await;
        }
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

/// The formats that are to be made.
fn missing(formats: Formats, lookup: &Lookup) -> Vec<SignatureFormat> {
    let enough = formats != Formats::Both && !lookup.verified.is_empty();
    let wanted = formats.each().iter().copied();
    wanted
        .filter(|format| !enough && lookup.verified_as(*format).is_none())
        .collect()
}

/// Notes one signature of each format that was found.
fn note_found(
    context: &Context,
    repository: &Repository,
    digest: &Digest,
    lookup: &Lookup,
    receipt: &mut Receipt,
) {
    for format in Formats::Both.each() {
        if let Some((place, signer)) = lookup.verified_as(*format) {
            context.events.note(format!(
                "`{digest}` is signed already by `{}` ({format})",
                signer.identity
            ));
            let subject = Subject {
                repository: repository.clone(),
                digest: digest.clone(),
            };
            receipt.signatures.push(SignatureReceipt {
                subject,
                signer: signer.clone(),
                place: place.clone(),
                made: false,
            });
        }
    }
}
