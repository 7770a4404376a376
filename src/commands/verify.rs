//! Runs the command `verify`: succeeds only if each subject has the required signature. Waits for missing signatures,
//! and refuses wrong ones at once.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::subjects::{TagUse, find_image, with_children};
use super::{CommandError, Refused, RefusedSubject};
use crate::context::{REQUESTS_PARALLEL, ReadContext, RecordReader};
use crate::domain::{
    Descriptor, Manifest, Matcher, Policy, Repository, SignatureFormat, chain_text,
};
use crate::inputs::{Depth, PolicyInputs, Verify};
use crate::outcome::{Outcome, SignatureOutcome, SignatureSource, Subject};
use crate::signatures::lookup::{FoundSignature, Search, look_up};
use crate::signatures::refused::RefusalSummary;
use crate::signatures::signable::check_signable;
use crate::signatures::{GITHUB_ISSUER, SignatureError, VerifyingContext};

/// The reason why no signature of a digest can count.
const UNSIGNABLE: &str = "a SHA-512 digest, of which no verifier of such signatures, cosign included, accepts a signature";

/// The verdict on one subject.
enum SubjectVerdict {
    /// A subject with the required signature.
    Signed(Box<SignatureOutcome>),
    /// No visible signature counts, but one may still appear. Visible ones were refused for these reasons.
    NotYet(RefusalSummary),
    /// Signatures are visible, and none is right.
    Wrong(RefusalSummary),
}

/// The open results after one round over all waiting subjects.
#[derive(Default)]
struct VerifyRound {
    /// Subjects without a signature yet, with the reasons why visible signatures were refused.
    waiting: Vec<(Descriptor, RefusalSummary)>,
    /// Subjects that are signed, but not as required.
    wrong: Vec<RefusedSubject>,
    /// The error that left a subject without a verdict.
    last_error: Option<CommandError>,
}

/// Checks an image, and its children if they are wanted.
pub(super) async fn verify(
    context: &ReadContext,
    verify: &Verify,
    verifying_context: impl Future<Output = Result<VerifyingContext, CommandError>>,
    record: &RecordReader,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    context.events.step("Verify");
    let policy = policy_from_inputs(&verify.policy)?;
    let image = find_image(context, &verify.image, TagUse::Inspects);
    let (manifest, verifying_context) = tokio::try_join!(image, verifying_context)?;
    let subject_image = VerifySubject {
        repository: &verify.image.repository,
        image: &manifest,
        depth: verify.depth,
        policy: &policy,
    };
    verify_image(context, &subject_image, &verifying_context, record, outcome).await?;
    outcome.verified = true;
    Ok(())
}

/// The image that must be signed, and the required signer.
pub(super) struct VerifySubject<'a> {
    pub(super) repository: &'a Repository,
    pub(super) image: &'a Manifest,
    pub(super) depth: Depth,
    pub(super) policy: &'a Policy,
}

/// Checks an existing image, and its children if they are wanted.
pub(super) async fn verify_image(
    context: &ReadContext,
    subject_image: &VerifySubject<'_>,
    verifying_context: &VerifyingContext,
    record: &RecordReader,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    let (repository, image) = (subject_image.repository, subject_image.image);
    let gate = SignatureGate {
        context,
        repository,
        verifying_context,
        policy: subject_image.policy,
        record,
    };
    let mut waiting = with_children(context, repository, image, subject_image.depth).await?;
    // Two images of a record may share children.
    waiting.retain(|subject| !outcome.subjects.contains(&gate.subject(subject)));
    let subjects = waiting.iter().map(|subject| gate.subject(subject));
    outcome.subjects.extend(subjects);
    let unsignable: Vec<RefusedSubject> = waiting
        .iter()
        .filter(|subject| check_signable(&subject.digest).is_err())
        .map(|subject| RefusedSubject {
            image: repository.at(&subject.digest).to_string(),
            reasons: vec![UNSIGNABLE.to_owned()],
            unmet: BTreeSet::new(),
        })
        .collect();
    if !unsignable.is_empty() {
        return Err(gate.refusal(unsignable));
    }
    let mut attempt = 1;
    loop {
        let round = gate.check_round(waiting, outcome).await?;
        if !round.wrong.is_empty() {
            return Err(gate.refusal(round.wrong));
        }
        if round.waiting.is_empty() {
            return Ok(());
        }
        if attempt >= context.retry_policy.max_attempts {
            let unsigned = round.waiting.into_iter();
            let unsigned = unsigned.map(|(subject, reasons)| gate.refused(&subject, &reasons));
            return Err(round
                .last_error
                .unwrap_or_else(|| gate.refusal(unsigned.collect())));
        }
        attempt += 1;
        let why = round
            .last_error
            .map_or("no signature is visible yet".to_owned(), |error| {
                chain_text(&error)
            });
        let what = repository.at(image.digest());
        context.pause(&what.to_string(), &why).await;
        waiting = round
            .waiting
            .into_iter()
            .map(|(subject, _)| subject)
            .collect();
    }
}

/// The values that each check of a subject needs.
struct SignatureGate<'a> {
    context: &'a ReadContext,
    repository: &'a Repository,
    verifying_context: &'a VerifyingContext,
    policy: &'a Policy,
    record: &'a RecordReader,
}

impl SignatureGate<'_> {
    /// Checks all subjects concurrently. An error that a retry cannot cure ends the run.
    async fn check_round(
        &self,
        subjects: Vec<Descriptor>,
        outcome: &mut Outcome,
    ) -> Result<VerifyRound, CommandError> {
        let reads = subjects.iter().map(|subject| self.verdict(subject));
        let verdicts: Vec<_> = stream::iter(reads)
            .buffered(REQUESTS_PARALLEL)
            .collect()
            .await;
        let mut round = VerifyRound::default();
        for (subject, verdict) in subjects.into_iter().zip(verdicts) {
            match verdict {
                Ok(SubjectVerdict::Signed(signature)) => {
                    self.context.events.info(format!(
                        "`{}` is signed by `{}` ({})",
                        subject.digest, signature.signer.identity, signature.location.format
                    ));
                    outcome.signatures.push(*signature);
                }
                Ok(SubjectVerdict::NotYet(reasons)) => round.waiting.push((subject, reasons)),
                Ok(SubjectVerdict::Wrong(reasons)) => {
                    round.wrong.push(self.refused(&subject, &reasons));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    round.last_error = Some(error);
                    round.waiting.push((subject, RefusalSummary::default()));
                }
            }
        }
        Ok(round)
    }

    async fn verdict(&self, subject: &Descriptor) -> Result<SubjectVerdict, CommandError> {
        let verifier = self.verifying_context.verifier(self.policy);
        let lookup = look_up(
            self.context,
            self.repository,
            &subject.digest,
            &verifier,
            // Either format suffices, and cosign 3's is the one that is made now.
            Search::First(SignatureFormat::Bundle),
        )
        .await?;
        let (refused, may_be_late) = (&lookup.refused, lookup.may_be_late());
        let warning = refused.warning(&self.subject(subject));
        if let Some(FoundSignature { location, content }) = lookup.verified.first() {
            // If the subject is refused, all of this is in the reasons.
            if let Some(warning) = warning {
                self.context.events.warn(warning);
            }
            return Ok(SubjectVerdict::Signed(Box::new(SignatureOutcome {
                subject: self.subject(subject),
                signer: content.signer().clone(),
                location: location.clone(),
                source: SignatureSource::Found,
            })));
        }
        let image = self.repository.to_string();
        // The record announces a signature of this pipeline. Until it is visible, wrong signatures are not the final
        // answer.
        let announced = self.record.earlier().is_some_and(|record| {
            record
                .signatures_of(&image, &subject.digest)
                .any(|signature| !refused.has(signature))
        });
        if !refused.has_signature() || announced || may_be_late {
            Ok(SubjectVerdict::NotYet(lookup.refused))
        } else {
            Ok(SubjectVerdict::Wrong(lookup.refused))
        }
    }

    fn subject(&self, subject: &Descriptor) -> Subject {
        Subject {
            repository: self.repository.clone(),
            digest: subject.digest.clone(),
        }
    }

    fn refused(&self, subject: &Descriptor, refused: &RefusalSummary) -> RefusedSubject {
        RefusedSubject {
            image: self.repository.at(&subject.digest).to_string(),
            reasons: refused.reasons(),
            unmet: refused.unmet(),
        }
    }

    fn refusal(&self, subjects: Vec<RefusedSubject>) -> CommandError {
        CommandError::Refused(Refused {
            subjects,
            wanted: wanted_text(self.policy),
        })
    }
}

pub(super) fn policy_from_inputs(inputs: &PolicyInputs) -> Result<Policy, CommandError> {
    let identity = inputs
        .identity
        .clone()
        .ok_or(SignatureError::NoPolicy("give `certificate-identity`"))?;
    let issuer = inputs
        .issuer
        .clone()
        .unwrap_or_else(|| Matcher::Exact(GITHUB_ISSUER.to_owned()));
    Ok(Policy {
        identity,
        issuer,
        github: inputs.github.clone(),
    })
}

pub(super) fn wanted_text(policy: &Policy) -> String {
    let claims = [
        ("repository", &policy.github.repository),
        ("ref", &policy.github.reference),
        ("sha", &policy.github.sha),
        ("workflow", &policy.github.name),
        ("trigger", &policy.github.trigger),
    ];
    let claims = claims
        .iter()
        .filter_map(|(name, claim)| Some(format!(", {name} `{}`", claim.as_ref()?)));
    format!(
        "{}, issuer {}{}",
        policy.identity,
        policy.issuer,
        claims.collect::<String>()
    )
}
