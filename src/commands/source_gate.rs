//! The gate of `publish` at the source: signatures are checked before a byte is written.

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use super::publish_source::FoundImages;
use super::subjects::children_by;
use super::verify::wanted_text;
use super::{CommandError, Refused, RefusedSubject};
use crate::context::{Context, ImageError, REQUESTS_PARALLEL};
use crate::copy::bundles;
use crate::copy::source::{KnownSource, Source};
use crate::domain::{
    Descriptor, Digest, Manifest, Policy, Repository, SignatureFormat, chain_text,
};
use crate::inputs::{Depth, ReferrerSelection};
use crate::signatures::VerifyingContext;
use crate::signatures::lookup::{Candidate, Search, look_up};
use crate::signatures::refused::RefusalSummary;
use crate::signatures::signable::check_signable;
use crate::sigstore::{SourcePolicy, Verified};

/// The images that must be signed before they are copied, and the required signer.
pub(super) struct SourceGate<'a> {
    pub(super) context: &'a Context,
    pub(super) found: &'a FoundImages,
    /// Signatures that an earlier run copied there count: a signature is valid in any repository.
    pub(super) destinations: &'a [Repository],
    pub(super) verifying_context: &'a VerifyingContext,
    pub(super) policy: &'a Policy,
    /// A signature counts only if it can be carried to the destinations.
    pub(super) selection: ReferrerSelection,
}

/// The verdict of the sources on one subject.
enum GateVerdict {
    Signed(Box<Verified>),
    /// No valid signature, but one may still appear.
    NotYet(RefusalSummary),
    Wrong(RefusalSummary),
    /// No source could have a signature of it.
    NotThere,
}

impl SourceGate<'_> {
    /// Checks every image, and its children if they are wanted. Returns the policy for what refers to them.
    pub(super) async fn check(&self, depth: Depth) -> Result<SourcePolicy, CommandError> {
        self.context.events.step("Verify signatures at the source");
        let signers = self.signers(depth).await?;
        Ok(SourcePolicy::of(self.policy, &signers))
    }

    async fn signers(&self, depth: Depth) -> Result<Vec<Verified>, CommandError> {
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
        let mut signers = Vec::new();
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
                    Ok(GateVerdict::Signed(signer)) => {
                        let by = &signer.identity;
                        let text = format!("`{subject}` is signed at the source by `{by}`");
                        self.context.events.info(text);
                        signers.push(*signer);
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
                return Ok(signers);
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

    async fn verdict(&self, subject: &Digest) -> Result<GateVerdict, CommandError> {
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
        let first = Search::First(SignatureFormat::Bundle);
        let (mut refused, mut first_error) = (RefusalSummary::default(), None);
        let (mut may_be_late, mut registries) = (false, 0);
        for KnownSource { source, .. } in &self.found.sources {
            let lookups = match source {
                Source::Repository(repository) => {
                    registries += 1;
                    let lookups =
                        look_up(self.context, repository, subject, &verifier, first).await;
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
                    if let Some(held) = lookup.verified.first() {
                        return Ok(GateVerdict::Signed(Box::new(held.content.signer().clone())));
                    }
                    refused.append(lookup.refused);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let lookups = self.destinations.iter();
        let lookups = lookups.map(|to| look_up(self.context, to, subject, &any, first));
        for lookup in join_all(lookups).await {
            // An error here is not an answer, and no answer is needed.
            if let Ok(lookup) = lookup
                && let Some(held) = lookup.verified.first()
            {
                return Ok(GateVerdict::Signed(Box::new(held.content.signer().clone())));
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
