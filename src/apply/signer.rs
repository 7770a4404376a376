//! Whose signature counts, and making the ones that are missing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::attach::Attacher;
use super::legacy::docker_reference;
use super::lookup::Candidate;
use super::receipt::{Receipt, SignatureReceipt, Subject};
use super::unsigned::Unsigned;
use super::{ApplyError, Context, Ledger};
use crate::domain::{Digest, Matcher, Policy, Repository, SignatureFormat};
use crate::inputs::{OnSigningFailure, PolicyInputs};
use crate::signing::{Caller, Keyless, Refusal, Trust, Verified, verify, verify_legacy};

/// Signatures that are made at once.
const PARALLEL: usize = 8;
/// The issuer of GitHub's tokens, which `verify` expects where nothing else is said.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What signing and verifying need: what to trust, and the means to sign.
pub struct Authority {
    /// What to trust.
    pub trust: Arc<Trust>,
    /// The means to sign; none where no token can be had.
    pub keyless: Option<Keyless>,
}

impl Authority {
    fn keyless(&self) -> Result<&Keyless, ApplyError> {
        self.keyless.as_ref().ok_or(ApplyError::NoToken)
    }

    /// Whose signatures count: what the inputs say, and this run's own identity where they do not.
    pub(super) async fn policy(&self, inputs: &PolicyInputs) -> Result<Policy, ApplyError> {
        if let (Some(identity), Some(issuer)) = (&inputs.identity, &inputs.issuer) {
            let github = inputs.github.clone();
            return Ok(Policy {
                identity: identity.clone(),
                issuer: issuer.clone(),
                github,
            });
        }
        own_policy(inputs, &self.keyless()?.caller().await?)
    }

    /// Judges what may be a signature.
    pub(super) fn judge<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Fn(&Candidate<'_>, &Digest) -> Result<Verified, Refusal> + Sync + 'a {
        |candidate, subject| match candidate {
            Candidate::Bundle(bundle) => verify(bundle, subject, &self.trust, policy),
            Candidate::Legacy(payload, annotations) => {
                verify_legacy(payload, annotations, subject, &self.trust, policy)
            }
        }
    }

    /// Has a certificate ready, so that waiting for it overlaps other work. Whether it worked shows when it is used.
    pub(super) async fn prepare(&self) {
        if let Some(keyless) = &self.keyless {
            let _ = keyless.prepare().await;
        }
    }

    /// Signs everything in `unsigned` and keeps the receipt and the record up to date as each is done.
    ///
    /// After the first failure nothing new is begun, so that an outage is waited for once and not once for each child;
    /// what is under way ends. An outage that the inputs let pass becomes a warning.
    pub(super) async fn sign_all(
        &self,
        context: &Context,
        repository: &Repository,
        unsigned: &[Unsigned],
        on_failure: OnSigningFailure,
        receipt: &mut Receipt,
        ledger: &Ledger,
    ) -> Result<(), ApplyError> {
        if unsigned.is_empty() {
            return Ok(());
        }
        context.events.phase("Sign");
        let key = |one: &Unsigned| (one.subject.digest.clone(), one.format);
        let mut left: BTreeSet<_> = unsigned.iter().map(key).collect();
        let failure = match self.ready().await {
            Err(error) => Some(error),
            Ok(keyless) => {
                let attacher = Attacher::new(context, repository);
                let (attacher, failed) = (&attacher, &Cell::new(false));
                let work = unsigned.iter().map(|one| async move {
                    if failed.get() {
                        return None;
                    }
                    let signed = sign_one(keyless, attacher, one).await;
                    failed.set(failed.get() || signed.is_err());
                    Some((one, signed))
                });
                let mut work = stream::iter(work).buffer_unordered(PARALLEL);
                let mut failure = None;
                while let Some(done) = work.next().await {
                    match done {
                        Some((one, Ok(signature))) => {
                            left.remove(&key(one));
                            receipt.note_signature(context, signature);
                            ledger.save(receipt)?;
                        }
                        Some((_, Err(error))) => failure = failure.or(Some(error)),
                        None => {}
                    }
                }
                failure
            }
        };
        match failure {
            Some(error) if on_failure == OnSigningFailure::Warn && error.is_signing_outage() => {
                let left: BTreeSet<&Digest> = left.iter().map(|(digest, _)| digest).collect();
                receipt.go_on_unsigned(context, left.into_iter(), &error);
                Ok(())
            }
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The means to sign, with a certificate at hand: where Fulcio is down, that is found out once.
    async fn ready(&self) -> Result<&Keyless, ApplyError> {
        let keyless = self.keyless()?;
        keyless.prepare().await?;
        Ok(keyless)
    }
}

async fn sign_one(
    keyless: &Keyless,
    attacher: &Attacher<'_>,
    one: &Unsigned,
) -> Result<SignatureReceipt, ApplyError> {
    let subject = &one.subject;
    let (stored, signer) = match one.format {
        SignatureFormat::Bundle => {
            let signature = keyless.sign(&subject.digest).await?;
            let stored = attacher.attach(subject, &signature.bundle, one.api).await;
            (stored, signature.verified)
        }
        SignatureFormat::Legacy => {
            let name = docker_reference(attacher.repository());
            let signature = keyless.sign_legacy(&subject.digest, &name).await?;
            let stored = attacher.attach_legacy(subject, &signature).await;
            (stored, signature.verified)
        }
    };
    let place = stored.map_err(|source| ApplyError::SignatureNotStored {
        subject: subject.digest.clone(),
        source: Box::new(source),
    })?;
    let subject = Subject {
        repository: attacher.repository().clone(),
        digest: subject.digest.clone(),
    };
    Ok(SignatureReceipt {
        subject,
        signer,
        place,
        made: true,
    })
}

/// The policy where the inputs leave something open: this run's own identity, issuer and source repository, exactly.
pub(super) fn own_policy(inputs: &PolicyInputs, caller: &Caller) -> Result<Policy, ApplyError> {
    let mut github = inputs.github.clone();
    let identity = if let Some(identity) = &inputs.identity {
        identity.clone()
    } else {
        // A reusable workflow's identity is the same for all its callers: the repository tells them apart.
        if github.repository.is_none() {
            github.repository.clone_from(&caller.repository);
        }
        let subject = caller.subject.clone().ok_or(ApplyError::NoPolicy(
            "the identity in a certificate for this issuer's token cannot be told beforehand; give `certificate-identity` or `certificate-identity-regexp`",
        ))?;
        Matcher::Exact(subject)
    };
    let issuer = inputs
        .issuer
        .clone()
        .unwrap_or_else(|| Matcher::Exact(caller.issuer.clone()));
    Ok(Policy {
        identity,
        issuer,
        github,
    })
}
