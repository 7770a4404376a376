//! Whose signature counts, and making the ones that are missing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::attach::Attacher;
use super::lookup::{Api, Lookup, look_up};
use super::receipt::{Receipt, SignatureReceipt, Subject};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Descriptor, Digest, Matcher, Policy, Repository};
use crate::inputs::{OnSigningFailure, PolicyInputs, Signing};
use crate::signing::{Caller, Keyless, Refusal, Trust, Verified};

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

/// Something to be signed, with what was found of it.
#[derive(Debug)]
pub(super) struct Unsigned {
    /// What.
    pub subject: Descriptor,
    /// Where its signature will be listed.
    pub api: Api,
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

    /// Judges a bundle.
    pub(super) fn judge<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Fn(&[u8], &Digest) -> Result<Verified, Refusal> + Sync + 'a {
        |bundle, subject| crate::signing::verify(bundle, subject, &self.trust, policy)
    }

    /// Looks for a signature of `subject` that counts. What is listed but not there is given time, so that a registry
    /// that lags is not taken for one without a signature.
    pub(super) async fn look(
        &self,
        context: &Context,
        repository: &Repository,
        subject: &Digest,
        policy: &Policy,
    ) -> Result<Lookup, ApplyError> {
        let mut attempt = 1;
        loop {
            let lookup = look_up(context, repository, subject, &self.judge(policy)).await?;
            if !lookup.verified.is_empty() || lookup.dangling.is_empty() {
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

    /// Looks for the signature of each subject, notes those that are there, and returns the rest.
    pub(super) async fn find_unsigned(
        &self,
        context: &Context,
        repository: &Repository,
        subjects: Vec<Descriptor>,
        signing: &Signing,
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
        let looks = subjects.into_iter().map(|subject| {
            let policy = &policy;
            async move {
                let lookup = self
                    .look(context, repository, &subject.digest, policy)
                    .await?;
                Ok::<_, ApplyError>((subject, lookup))
            }
        });
        let mut unsigned = Vec::new();
        let mut looks = stream::iter(looks).buffered(PARALLEL);
        while let Some((subject, lookup)) = looks.try_next().await? {
            if let Some((manifest, signer)) = lookup.verified.into_iter().next() {
                context.events.note(format!(
                    "`{}` is signed already by `{}`",
                    subject.digest, signer.identity
                ));
                let subject = Subject {
                    repository: repository.clone(),
                    digest: subject.digest,
                };
                receipt.signatures.push(SignatureReceipt {
                    subject,
                    signer,
                    manifest,
                    made: false,
                });
            } else {
                context
                    .events
                    .note(format!("`{}`: to be signed", subject.digest));
                unsigned.push(Unsigned {
                    subject,
                    api: lookup.api,
                });
            }
        }
        Ok(unsigned)
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
        let mut left: BTreeSet<&Digest> = unsigned.iter().map(|one| &one.subject.digest).collect();
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
                            left.remove(&one.subject.digest);
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
    let signature = keyless.sign(&subject.digest).await?;
    let stored = attacher.attach(subject, &signature.bundle, one.api).await;
    let not_stored = |source| ApplyError::SignatureNotStored {
        subject: subject.digest.clone(),
        source: Box::new(source),
    };
    let manifest = stored.map_err(not_stored)?;
    let subject = Subject {
        repository: attacher.repository().clone(),
        digest: subject.digest.clone(),
    };
    Ok(SignatureReceipt {
        subject,
        signer: signature.verified,
        manifest,
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
