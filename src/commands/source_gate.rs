//! The gate of `publish` at the source: signatures are checked before a byte is written.

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
use crate::sigstore::SourcePolicy;

/// Either format suffices. Time matters more than requests: everything else waits.
const FORMATS: Search = Search::Either;

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

/// The result of a gate that all images have passed.
pub(super) struct PassedGate {
    /// The policy for what refers to the images.
    pub(super) policy: SourcePolicy,
    /// The signatures that counted.
    pub(super) known: KnownSignatures,
    /// The bundles among them, by the digest of their manifest.
    pub(super) bundles: BTreeMap<Digest, Vec<u8>>,
}

/// The verdict of the sources on one subject.
enum GateVerdict {
    /// A subject with the required signature.
    Signed(Box<FoundSignature>),
    /// No valid signature, but one may still appear.
    NotYet(RefusalSummary),
    Wrong(RefusalSummary),
    /// No source could have a signature of it.
    NotThere,
}

impl SourceGate<'_> {
    /// Checks every image, and its children if they are wanted.
    pub(super) async fn check(&self, depth: Depth) -> Result<PassedGate, CommandError> {
        self.context.events.step("Verify signatures at the source");
        let signed = self.signed(depth).await?;
        let signers = signed.iter().map(|(_, found)| found.content.signer());
        let policy = SourcePolicy::of(self.policy, signers);
        let (mut known, mut bundles) = (KnownSignatures::default(), BTreeMap::new());
        for (subject, found) in signed {
            known.note(subject, KnownSignature::of(&found));
            if let SignatureContent::Bundle(signature) = found.content {
                bundles.insert(found.location.manifest, signature.bundle);
            }
        }
        Ok(PassedGate {
            policy,
            known,
            bundles,
        })
    }

    /// Returns the subjects with their signatures. Those that only the destinations can have are left out.
    async fn signed(&self, depth: Depth) -> Result<Vec<(Digest, FoundSignature)>, CommandError> {
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
                    Ok(GateVerdict::Signed(found)) => {
                        let by = &found.content.signer().identity;
                        let text = format!("`{subject}` is signed at the source by `{by}`");
                        self.context.events.info(text);
                        all_signed.push((subject, *found));
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
                        return Ok(GateVerdict::Signed(Box::new(found)));
                    }
                    refused.append(lookup.refused);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let lookups = self.destinations.iter();
        let lookups = lookups.map(|to| look_up(self.context, to, subject, &any, FORMATS));
        for lookup in join_all(lookups).await {
            // An error here is not an answer, and no answer is needed.
            let found = lookup
                .ok()
                .and_then(|lookup| lookup.verified.into_iter().next());
            if let Some(found) = found {
                return Ok(GateVerdict::Signed(Box::new(found)));
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
        Err(first_error.map_or_else(
            || self.found.name_missing_images(missing().into()),
            CommandError::from,
        ))
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
