//! The command `verify`: the gate. It says yes only with proof, waits for what is not there yet, and refuses at once what
//! is there and wrong.

use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::children::PARALLEL;
use super::lookup::{Lookup, look_up};
use super::receipt::{Receipt, SignatureReceipt, Subject};
use super::sign::{resolve, with_children};
use super::signer::{Authority, GITHUB_ISSUER};
use super::{ApplyError, Context, Ledger, Refused, RefusedSubject};
use crate::domain::{Descriptor, Digest, ImageReference, Matcher, Policy, Repository};
use crate::failure::chain_text;
use crate::inputs::{PolicyInputs, Verify};
use crate::signing::Refusal;

/// What a look at one subject says.
enum Verdict {
    /// It is signed as it must be.
    Signed(Box<SignatureReceipt>),
    /// Nothing that counts is visible; it may yet come. What is visible was refused for these reasons.
    NotYet(Vec<String>),
    /// Signatures are visible, and none is right.
    Wrong(Vec<String>),
}

/// Checks an image, and its children where that is wanted.
pub(super) async fn verify(
    context: &Context,
    verify: &Verify,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    context.events.phase("Verify");
    let policy = policy(&verify.policy)?;
    let repository = &verify.image.repository;
    let (manifest, authority) = tokio::try_join!(resolve(context, &verify.image), authority)?;
    let mut waiting = with_children(context, repository, &manifest, verify.depth).await?;
    receipt.subjects = waiting
        .iter()
        .map(|subject| Subject {
            repository: repository.clone(),
            digest: subject.digest.clone(),
        })
        .collect();
    let mut attempt = 1;
    loop {
        let looks = waiting
            .iter()
            .map(|subject| judge(context, repository, subject, &authority, &policy, ledger));
        let verdicts: Vec<_> = stream::iter(looks).buffered(PARALLEL).collect().await;
        let mut left = Vec::new();
        let mut fault = None;
        let mut wrong = Vec::new();
        for (subject, verdict) in waiting.into_iter().zip(verdicts) {
            match verdict {
                Ok(Verdict::Signed(signature)) => {
                    context.events.note(format!(
                        "`{}` is signed by `{}`",
                        subject.digest, signature.signer.identity
                    ));
                    receipt.signatures.push(*signature);
                }
                Ok(Verdict::NotYet(reasons)) => left.push((subject, reasons)),
                Ok(Verdict::Wrong(reasons)) => {
                    wrong.push(refused(repository, &subject.digest, reasons));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    fault = Some(error);
                    left.push((subject, Vec::new()));
                }
            }
        }
        if !wrong.is_empty() {
            return Err(ApplyError::Refused(Refused {
                subjects: wrong,
                wanted: wanted_text(&policy),
            }));
        }
        if left.is_empty() {
            receipt.verified = true;
            return Ok(());
        }
        if attempt >= context.patience.max_attempts {
            return Err(fault.unwrap_or_else(|| {
                let subjects = left
                    .into_iter()
                    .map(|(subject, reasons)| refused(repository, &subject.digest, reasons));
                ApplyError::Refused(Refused {
                    subjects: subjects.collect(),
                    wanted: wanted_text(&policy),
                })
            }));
        }
        attempt += 1;
        let why = fault.map_or("no signature is visible yet".to_owned(), |fault| {
            chain_text(&fault)
        });
        context.pause(&verify.image.to_string(), &why).await;
        waiting = left.into_iter().map(|(subject, _)| subject).collect();
    }
}

fn refused(repository: &Repository, digest: &Digest, reasons: Vec<String>) -> RefusedSubject {
    let image: ImageReference = repository.at(digest);
    RefusedSubject { image, reasons }
}

async fn judge(
    context: &Context,
    repository: &Repository,
    subject: &Descriptor,
    authority: &Authority,
    policy: &Policy,
    ledger: &Ledger,
) -> Result<Verdict, ApplyError> {
    let judge = authority.judge(policy);
    let Lookup {
        verified,
        refused,
        dangling,
        ..
    } = look_up(context, repository, &subject.digest, &judge).await?;
    if let Some((manifest, signer)) = verified.into_iter().next() {
        let subject = Subject {
            repository: repository.clone(),
            digest: subject.digest.clone(),
        };
        return Ok(Verdict::Signed(Box::new(SignatureReceipt {
            subject,
            signer,
            manifest,
            made: false,
        })));
    }
    let image = repository.to_string();
    let visible = |manifest: &Digest| refused.iter().any(|(known, _)| known == manifest);
    // The record announces a signature of this pipeline's: as long as it is not visible, what is wrong is not all.
    let announced = ledger.earlier().is_some_and(|record| {
        record
            .signatures_of(&image, &subject.digest)
            .any(|manifest| !visible(manifest))
    });
    let reasons: Vec<String> = refused
        .iter()
        .map(|(_, refusal)| chain_text(refusal))
        .collect();
    // An attestation by the same identity is no signature, and no reason to think that none will come.
    let attestation = |refusal: &Refusal| matches!(refusal, Refusal::NotASignature { .. });
    let nothing_wrong = refused.iter().all(|(_, refusal)| attestation(refusal));
    if nothing_wrong || announced || !dangling.is_empty() {
        Ok(Verdict::NotYet(reasons))
    } else {
        Ok(Verdict::Wrong(reasons))
    }
}

fn policy(inputs: &PolicyInputs) -> Result<Policy, ApplyError> {
    let identity = inputs
        .identity
        .clone()
        .ok_or(ApplyError::NoPolicy("give `certificate-identity`"))?;
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

fn wanted_text(policy: &Policy) -> String {
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
