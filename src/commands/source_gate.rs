//! The gate of `publish` before the copy: signatures are checked before a byte is written. The destinations are read
//! together with the sources: what they have and counts need not be verified again.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use super::known_signatures::{KnownSignature, KnownSignatures};
use super::publish_source::FoundImages;
use super::subjects::children_by;
use super::verify::wanted_text;
use super::{CommandError, Refused, RefusedSubject};
use crate::context::{Context, ImageError, REQUESTS_PARALLEL};
use crate::copy::bundles;
use crate::copy::source::{KnownSource, Source};
use crate::domain::{Descriptor, Digest, Manifest, Policy, Repository, chain_text};
use crate::inputs::{Depth, ReferrerSelection};
use crate::signatures::VerifyingContext;
use crate::signatures::lookup::{Candidate, FoundSignature, Search, SignatureContent, look_up};
use crate::signatures::refused::RefusalSummary;
use crate::signatures::signable::check_signable;
use crate::sigstore::{SourcePolicy, Verified};

/// Either format suffices. Time matters more than requests: everything else waits.
const FORMATS: Search = Search::Either;

/// The images that must be signed before they are copied, and the required signer.
pub(super) struct SourceGate<'a> {
    pub(super) context: &'a Context,
    pub(super) found: &'a FoundImages,
    /// Signatures that an earlier run copied there count.
    pub(super) destinations: &'a [Repository],
    pub(super) verifying_context: &'a VerifyingContext,
    pub(super) policy: &'a Policy,
    /// A signature counts only if it can be carried to the destinations.
    pub(super) selection: ReferrerSelection,
}

/// The result of a gate that all images have passed.
pub(super) struct PassedGate {
    /// The policy for what refers to the images.
    pub(super) policy: SourcePolicy,
    /// The signatures that counted.
    pub(super) known: KnownSignatures,
    /// The bundles of those at the source, by the digest of the manifest.
    pub(super) bundles: BTreeMap<Digest, Vec<u8>>,
}

/// The verdict on one subject.
enum GateVerdict {
    /// A subject with the required signature.
    Signed(Box<SignedSubject>),
    /// No valid signature, but one may still appear.
    NotYet(RefusalSummary),
    Wrong(RefusalSummary),
    /// No source could have a signature of it.
    NotThere,
}

/// The signatures of one subject that count: at least one.
struct SignedSubject {
    at_source: Option<FoundSignature>,
    at_destinations: Vec<(Repository, KnownSignature)>,
}

impl SignedSubject {
    fn signer(&self) -> Option<&Verified> {
        let at_source = self.at_source.as_ref().map(|found| found.content.signer());
        let at_destination = self.at_destinations.first();
        at_source.or_else(|| Some(&at_destination?.1.signer))
    }
}

impl SourceGate<'_> {
    /// Checks every image, and its children if they are wanted.
    pub(super) async fn check(&self, depth: Depth) -> Result<PassedGate, CommandError> {
        self.context.events.step("Verify signatures at the source");
        let signed = self.signed(depth).await?;
        let signers = signed.iter().filter_map(|(_, signed)| signed.signer());
        let policy = SourcePolicy::of(self.policy, signers);
        let (mut known, mut bundles) = (KnownSignatures::default(), BTreeMap::new());
        for (subject, signed) in signed {
            if let Some(found) = signed.at_source {
                known.note_at_source(&subject, KnownSignature::of(&found));
                if let SignatureContent::Bundle(signature) = found.content {
                    bundles.insert(found.location.manifest, signature.bundle);
                }
            }
            for (repository, signature) in signed.at_destinations {
                known.note_at(repository, &subject, signature);
            }
        }
        Ok(PassedGate {
            policy,
            known,
            bundles,
        })
    }

    /// Returns the subjects with their signatures. Those that only the destinations can have are left out.
    async fn signed(&self, depth: Depth) -> Result<Vec<(Digest, SignedSubject)>, CommandError> {
        let mut waiting: Vec<Digest> = Vec::new();
        let read = async |child: &Descriptor| self.read(&child.digest).await;
        let images = self.found.images.iter();
        let subjects = images.map(|image| children_by(image, depth, &read));
        for subjects in join_all(subjects).await {
            for subject in subjects? {
                // Before a byte is written, and before any wait for a signature that cannot appear.
                check_signable(&subject.digest)?;
                if !waiting.contains(&subject.digest) {
                    waiting.push(subject.digest);
                }
            }
        }
        let mut all_signed = Vec::new();
        let mut attempt = 1;
        loop {
            let reads = waiting.iter().map(|subject| self.verdict(subject));
            let verdicts: Vec<_> = stream::iter(reads.collect::<Vec<_>>())
                .buffered(REQUESTS_PARALLEL)
                .collect()
                .await;
            let (mut wrong, mut late, mut first_error) = (Vec::new(), Vec::new(), None);
            for (subject, verdict) in waiting.into_iter().zip(verdicts) {
                match verdict {
                    Ok(GateVerdict::Signed(signed)) => {
                        self.report(&subject, &signed);
                        all_signed.push((subject, *signed));
                    }
                    Ok(GateVerdict::NotThere) => self.context.events.warn(format!(
                        "`{}` contains no signature of `{subject}`; its signatures are verified at the destination, before the tags are written",
                        self.name()
                    )),
                    Ok(GateVerdict::Wrong(refused)) => wrong.push((subject, refused)),
                    Ok(GateVerdict::NotYet(refused)) => late.push((subject, refused)),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => {
                        first_error = first_error.or(Some(error));
                        late.push((subject, RefusalSummary::default()));
                    }
                }
            }
            if !wrong.is_empty() {
                return Err(self.refusal(wrong));
            }
            if late.is_empty() {
                return Ok(all_signed);
            }
            if attempt >= self.context.retry_policy.max_attempts {
                return Err(first_error.unwrap_or_else(|| self.refusal(late)));
            }
            attempt += 1;
            let why = first_error.map_or("no signature is visible yet".to_owned(), |error| {
                chain_text(&error)
            });
            self.context.pause(&self.name(), &why).await;
            waiting = late.into_iter().map(|(subject, _)| subject).collect();
        }
    }

    fn report(&self, subject: &Digest, signed: &SignedSubject) {
        let place = match (&signed.at_source, signed.at_destinations.first()) {
            (None, Some((repository, _))) => format!("in `{repository}`"),
            (Some(_), _) | (None, None) => "at the source".to_owned(),
        };
        if let Some(signer) = signed.signer() {
            let by = &signer.identity;
            let text = format!("`{subject}` is signed {place} by `{by}`");
            self.context.events.info(text);
        }
    }

    async fn verdict(&self, subject: &Digest) -> Result<GateVerdict, CommandError> {
        let (at_source, at_destinations) = tokio::join!(
            self.source_verdict(subject),
            self.destination_signatures(subject)
        );
        match at_source {
            Ok(GateVerdict::Signed(mut signed)) => {
                signed.at_destinations = at_destinations;
                Ok(GateVerdict::Signed(signed))
            }
            // A signature is valid in any repository.
            _ if !at_destinations.is_empty() => Ok(GateVerdict::Signed(Box::new(SignedSubject {
                at_source: None,
                at_destinations,
            }))),
            other => other,
        }
    }

    /// Returns the signatures that destinations have. An error here is not an answer, and no answer is needed.
    async fn destination_signatures(&self, subject: &Digest) -> Vec<(Repository, KnownSignature)> {
        let verifier = &self.verifying_context.verifier(self.policy);
        let lookups = self.destinations.iter().map(|to| async move {
            let lookup = look_up(self.context, to, subject, verifier, FORMATS).await;
            let signature = lookup.ok()?.verified.first().map(KnownSignature::of)?;
            Some((to.clone(), signature))
        });
        join_all(lookups).await.into_iter().flatten().collect()
    }

    /// Looks the signature up in each source.
    async fn source_verdict(&self, subject: &Digest) -> Result<GateVerdict, CommandError> {
        let (selection, verifying_context) = (self.selection, self.verifying_context);
        let any = verifying_context.verifier(self.policy);
        let verifier = |candidate: &Candidate<'_>, subject: &Digest| {
            let verified = any(candidate, subject)?;
            match selection {
                ReferrerSelection::All => (),
                ReferrerSelection::Verified => {
                    candidate.check_nothing_extra(&verifying_context.trust)?;
                }
            }
            Ok(verified)
        };
        let (mut refused, mut first_error) = (RefusalSummary::default(), None);
        let (mut may_be_late, mut registries) = (false, 0);
        for KnownSource { source, .. } in &self.found.sources {
            let lookups = match source {
                Source::Repository(repository) => {
                    registries += 1;
                    let lookups =
                        look_up(self.context, repository, subject, &verifier, FORMATS).await;
                    lookups.map_err(CommandError::from)
                }
                Source::Layout(_) => {
                    let lookups = bundles::look_up(self.context, source, subject, &verifier).await;
                    lookups.map_err(CommandError::from)
                }
            };
            match lookups {
                Ok(lookup) => {
                    may_be_late |= lookup.may_be_late();
                    if let Some(found) = lookup.verified.into_iter().next() {
                        return Ok(GateVerdict::Signed(Box::new(SignedSubject {
                            at_source: Some(found),
                            at_destinations: Vec::new(),
                        })));
                    }
                    refused.append(lookup.refused);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        Ok(match registries {
            0 if refused.reasons().is_empty() => GateVerdict::NotThere,
            0 => GateVerdict::Wrong(refused),
            _ if refused.has_signature() && !may_be_late => GateVerdict::Wrong(refused),
            _ => GateVerdict::NotYet(refused),
        })
    }

    async fn read(&self, digest: &Digest) -> Result<Manifest, CommandError> {
        let missing = || ImageError::NotAtSource {
            digest: digest.clone(),
            parent: None,
            sources: self.found.sources.iter().map(KnownSource::name).collect(),
        };
        let mut first_error = None;
        for KnownSource { source, .. } in &self.found.sources {
            match source.manifest(self.context, digest).await {
                Ok(Some(manifest)) => return Ok(manifest),
                Ok(None) => (),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.map_or_else(|| missing().into(), CommandError::from))
    }

    fn name(&self) -> String {
        let names: Vec<String> = self.found.sources.iter().map(KnownSource::name).collect();
        names.join("`, `")
    }

    fn refusal(&self, subjects: Vec<(Digest, RefusalSummary)>) -> CommandError {
        let first = self
            .found
            .sources
            .first()
            .map_or(String::new(), KnownSource::name);
        let subjects = subjects
            .into_iter()
            .map(|(digest, refused)| RefusedSubject {
                image: format!("{first}@{digest}"),
                reasons: refused.reasons(),
                unmet: refused.unmet(),
            });
        CommandError::Refused(Refused {
            subjects: subjects.collect(),
            wanted: wanted_text(self.policy),
        })
    }
}
