//! Runs the command `verify`: succeeds only if each subject has the required signature. Waits for missing signatures,
//! and refuses wrong ones at once.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use super::known_signatures::{KnownSignature, KnownSignatures};
use super::subjects::{TagUse, find_image, with_children};
use super::{CommandError, Refused, RefusedSubject};
use crate::context::{REQUESTS_PARALLEL, ReadContext, RecordReader};
use crate::domain::{
    Descriptor, Manifest, Matcher, Policy, Repository, SignatureFormat, chain_text,
};
use crate::inputs::{Depth, PolicyInputs, Verify};
use crate::outcome::{Outcome, SignatureOutcome, SignatureSource, Subject};
use crate::signatures::lookup::{Search, look_up};
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

impl SubjectVerdict {
    fn signed(
        subject: &Subject,
        KnownSignature {
            signer, location, ..
        }: KnownSignature,
    ) -> Self {
        Self::Signed(Box::new(SignatureOutcome {
            subject: subject.clone(),
            signer,
            location,
            source: SignatureSource::Found,
        }))
    }
}

/// The open results after one round over all waiting subjects.
#[derive(Default)]
struct VerifyRound {
    /// Subjects without a signature yet, with the reasons why visible signatures were refused.
    waiting: Vec<(Subject, RefusalSummary)>,
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
    let gate = SignatureGate {
        context,
        verifying_context: &verifying_context,
        policy: &policy,
        record,
        known: &KnownSignatures::default(),
    };
    let image = (&verify.image.repository, &manifest);
    gate.check(&[image], verify.depth, outcome).await?;
    outcome.verified = true;
    Ok(())
}

/// The required signer of images, and the values that each check needs.
pub(super) struct SignatureGate<'a> {
    pub(super) context: &'a ReadContext,
    pub(super) verifying_context: &'a VerifyingContext,
    pub(super) policy: &'a Policy,
    pub(super) record: &'a RecordReader,
    /// The signatures that this run has verified before.
    pub(super) known: &'a KnownSignatures,
}

impl SignatureGate<'_> {
    /// Checks existing images, each in its repository, and their children if they are wanted. All are checked at once.
    pub(super) async fn check(
        &self,
        images: &[(&Repository, &Manifest)],
        depth: Depth,
        outcome: &mut Outcome,
    ) -> Result<(), CommandError> {
        let mut waiting = self.subjects(images, depth).await?;
        outcome.subjects.extend(waiting.iter().cloned());
        let (signable, unsignable): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|subject| check_signable(&subject.digest).is_ok());
        if !unsignable.is_empty() {
            let refused = unsignable.iter().map(|subject| RefusedSubject {
                image: subject.repository.at(&subject.digest).to_string(),
                reasons: vec![UNSIGNABLE.to_owned()],
                unmet: BTreeSet::new(),
            });
            return Err(self.refusal(refused.collect()));
        }
        waiting = signable;
        let mut attempt = 1;
        loop {
            let round = self.check_round(waiting, outcome).await?;
            if !round.wrong.is_empty() {
                return Err(self.refusal(round.wrong));
            }
            let Some((first, _)) = round.waiting.first() else {
                return Ok(());
            };
            if attempt >= self.context.retry_policy.max_attempts {
                let unsigned = round.waiting.iter();
                let unsigned = unsigned.map(|(subject, reasons)| refused(subject, reasons));
                return Err(round
                    .last_error
                    .unwrap_or_else(|| self.refusal(unsigned.collect())));
            }
            attempt += 1;
            let why = round
                .last_error
                .map_or("no signature is visible yet".to_owned(), |error| {
                    chain_text(&error)
                });
            let what = first.repository.at(&first.digest);
            self.context.pause(&what.to_string(), &why).await;
            let still = round.waiting.into_iter();
            waiting = still.map(|(subject, _)| subject).collect();
        }
    }

    /// Returns the images and, if they are wanted, their children, each once: two images of a record may share some.
    async fn subjects(
        &self,
        images: &[(&Repository, &Manifest)],
        depth: Depth,
    ) -> Result<Vec<Subject>, CommandError> {
        let reads = images.iter().map(async |(repository, image)| {
            let all = with_children(self.context, repository, image, depth).await?;
            let subjects = all.into_iter().map(|Descriptor { digest, .. }| Subject {
                repository: (*repository).clone(),
                digest,
            });
            Ok::<_, CommandError>(subjects.collect::<Vec<_>>())
        });
        let mut seen = BTreeSet::new();
        let all = join_all(reads).await.into_iter();
        let mut all = all.collect::<Result<Vec<_>, _>>()?.concat();
        all.retain(|subject| seen.insert(subject.clone()));
        Ok(all)
    }

    /// Checks all subjects concurrently. An error that a retry cannot cure ends the run.
    async fn check_round(
        &self,
        subjects: Vec<Subject>,
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
                    round.wrong.push(refused(&subject, &reasons));
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

    async fn verdict(&self, subject: &Subject) -> Result<SubjectVerdict, CommandError> {
        let known = self.known.signature_of(self.context, subject);
        if let Some(known) = known.await {
            return Ok(SubjectVerdict::signed(subject, known.clone()));
        }
        let verifier = self.verifying_context.verifier(self.policy);
        let lookup = look_up(
            self.context,
            &subject.repository,
            &subject.digest,
            &verifier,
            // Either format suffices, and cosign 3's is the one that is made now.
            Search::First(SignatureFormat::Bundle),
        )
        .await?;
        let (refused, may_be_late) = (&lookup.refused, lookup.may_be_late());
        let warning = refused.warning(subject);
        if let Some(found) = lookup.verified.first() {
            // If the subject is refused, all of this is in the reasons.
            if let Some(warning) = warning {
                self.context.events.warn(warning);
            }
            return Ok(SubjectVerdict::signed(subject, KnownSignature::of(found)));
        }
        let image = subject.repository.to_string();
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

    fn refusal(&self, subjects: Vec<RefusedSubject>) -> CommandError {
        CommandError::Refused(Refused {
            subjects,
            wanted: wanted_text(self.policy),
        })
    }
}

fn refused(subject: &Subject, refused: &RefusalSummary) -> RefusedSubject {
    RefusedSubject {
        image: subject.repository.at(&subject.digest).to_string(),
        reasons: refused.reasons(),
        unmet: refused.unmet(),
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
