//! Whose signature counts, and making the ones that are missing.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::{LocalBoxFuture, join, join_all};
use futures_util::{StreamExt as _, stream};
use tokio::sync::SetOnce;

use super::legacy::docker_reference;
use super::lookup::{Candidate, Content};
use super::outages::reason;
use super::step::{Done, Step, not_stored};
use super::unsigned::Unsigned;
use crate::apply::receipt::{Receipt, Subject};
use crate::apply::{ApplyError, Context, Ledger};
use crate::domain::{Digest, Matcher, Policy, SignatureFormat, TokenAbsence};
use crate::inputs::{OnSigningFailure, PolicyInputs};
use crate::signing::{
    Caller, Keyless, OwnIdentity, Refusal, Trust, Verified, check_caller, verify, verify_legacy,
};

/// Signatures that are made at once.
const PARALLEL: usize = 8;
/// The issuer of GitHub's tokens, which `verify` expects where nothing else is said.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What signing and verifying need: what to trust, and the means to sign.
pub struct Authority {
    /// What to trust.
    pub trust: Arc<Trust>,
    /// The means to sign; none where no token can be had, or nothing is signed.
    pub keyless: Option<Keyless>,
    /// Who this run is, where it signs nothing and a token can be had.
    pub identity: Option<OwnIdentity>,
    /// Why no token can be had, where that is so.
    pub token_absence: TokenAbsence,
}

impl Authority {
    fn keyless(&self) -> Result<&Keyless, ApplyError> {
        self.keyless.as_ref().ok_or_else(|| self.no_token())
    }

    fn no_token(&self) -> ApplyError {
        ApplyError::NoToken(self.token_absence.clone())
    }

    /// Who this run is, by its token.
    async fn caller(&self) -> Result<Caller, ApplyError> {
        let caller = match (&self.keyless, &self.identity) {
            (Some(keyless), _) => keyless.caller().await,
            (None, Some(identity)) => identity.caller().await,
            (None, None) => return Err(self.no_token()),
        };
        Ok(caller?)
    }

    /// Whose signatures count: what the inputs say, and this run's own identity where they do not.
    ///
    /// A policy that this run's own token does not meet is an error: each rerun would sign once more, and nobody who
    /// verifies would accept any of it. Without a token nothing can be signed, and the inputs must say all of it.
    pub(in crate::apply) async fn policy(
        &self,
        inputs: &PolicyInputs,
    ) -> Result<Policy, ApplyError> {
        if self.keyless.is_none()
            && self.identity.is_none()
            && let (Some(identity), Some(issuer)) = (&inputs.identity, &inputs.issuer)
        {
            let github = inputs.github.clone();
            return Ok(Policy {
                identity: identity.clone(),
                issuer: issuer.clone(),
                github,
            });
        }
        let caller = self.caller().await?;
        let policy = own_policy(inputs, &caller)?;
        // What signs nothing may ask for others' signatures.
        if self.keyless.is_some() {
            check_caller(&policy, &caller)
                .map_err(|refusal| ApplyError::UnmetPolicy(Box::new(refusal)))?;
        }
        Ok(policy)
    }

    /// Holds the certificate that `unsigned` will be signed with against `policy`, where the token does not tell its subject.
    pub(in crate::apply) async fn check_certificate(
        &self,
        policy: &Policy,
        unsigned: &[Unsigned],
    ) -> Result<(), ApplyError> {
        if !makes_any(unsigned) {
            return Ok(());
        }
        let keyless = self.keyless()?;
        if keyless.caller().await?.subject.is_some() {
            return Ok(());
        }
        let checked = keyless.check_certificate(policy).await?;
        checked.map_err(|refusal| ApplyError::UnmetPolicy(Box::new(refusal)))
    }

    /// Judges what may be a signature.
    pub(in crate::apply) fn judge<'a>(
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

    /// Begins to ask for the token of a certificate that will most likely be wanted.
    pub(in crate::apply) fn expect(&self) {
        if let Some(keyless) = &self.keyless {
            keyless.expect();
        }
    }

    /// Begins to ask for a certificate, so that waiting for it overlaps other work. Whether it worked shows when it is used.
    pub(in crate::apply) fn prepare(&self) {
        if let Some(keyless) = &self.keyless {
            keyless.prepare();
        }
    }

    /// The same where one will be needed.
    pub(in crate::apply) fn prepare_for(&self, unsigned: &[Unsigned]) {
        if makes_any(unsigned) {
            self.prepare();
        }
    }

    /// Makes and stores every signature in `unsigned`, and keeps the receipt and the record up to date as each is done.
    /// Returns what is left to do for those to stay that share a tag with others'; [`settle`] does it.
    ///
    /// Once all of them are stored, `last` is begun beside listing them; what it ends in is returned.
    ///
    /// What is under way ends, and nothing new is begun where it failed, so that an outage is waited for once and not once
    /// for each child: that of a registry ends its own part alone, and one of Sigstore keeps no signature from being stored
    /// that another registry holds. An outage that the inputs let pass becomes a warning.
    pub(in crate::apply) async fn sign_all<'a, T>(
        &self,
        context: &'a Context,
        unsigned: &'a [Unsigned],
        on_failure: OnSigningFailure,
        receipt: &mut Receipt,
        ledger: &Ledger,
        last: impl Future<Output = T>,
    ) -> Result<(Vec<Unsettled<'a>>, T), ApplyError> {
        if unsigned.is_empty() {
            return Ok((Vec::new(), last.await));
        }
        context.events.phase("Sign");
        let step = &Step::new(context, unsigned);
        let work = async {
            let unsettled = self.work_off(step, unsigned, on_failure, receipt, ledger);
            let unsettled = unsettled.await?;
            // Some may stay unsigned.
            step.gate.open();
            Ok(unsettled)
        };
        let last = async { Ok(step.gate.then(last).await) };
        tokio::try_join!(work, last)
    }

    async fn work_off<'a>(
        &self,
        step: &Step<'a>,
        unsigned: &'a [Unsigned],
        on_failure: OnSigningFailure,
        receipt: &mut Receipt,
        ledger: &Ledger,
    ) -> Result<Vec<Unsettled<'a>>, ApplyError> {
        let mut left: BTreeSet<(Subject, SignatureFormat)> = unsigned
            .iter()
            .flat_map(|one| one.names().map(|(subject, _)| (subject, one.format)))
            .collect();
        let mut failures = Vec::new();
        if makes_any(unsigned) {
            failures.extend(self.ready().await.err());
            step.outages.note_sigstore(!failures.is_empty());
        }
        let work = unsigned.iter().map(|one| self.sign_one(step, one));
        let mut work = stream::iter(work).buffer_unordered(PARALLEL);
        let mut unsettled = Vec::new();
        while let Some(done) = work.next().await {
            for one in done {
                match one {
                    Ok((signature, settling)) => {
                        let subject = signature.subject.clone();
                        left.remove(&(subject.clone(), signature.place.format));
                        receipt.note_signature(step.context, signature);
                        ledger.save(receipt)?;
                        unsettled.extend(settling.map(|rest| Unsettled { subject, rest }));
                    }
                    Err(error) => failures.push(error),
                }
            }
        }
        let left = left.into_iter().map(|(subject, _)| subject).collect();
        if let Err(grave) = pass_over(step.context, failures, left, on_failure, receipt) {
            // What was stored before that is told, so it has to stay.
            settle(unsettled).await;
            return Err(grave);
        }
        Ok(unsettled)
    }

    /// A certificate at hand: where Fulcio is down, that is found out once.
    async fn ready(&self) -> Result<(), ApplyError> {
        Ok(self.keyless()?.ready().await?)
    }

    /// Makes one signature, or takes the one that is known, and stores it wherever it is missing.
    async fn sign_one<'a>(&self, step: &Step<'a>, one: &'a Unsigned) -> Vec<Done<'a>> {
        if !step.outages.leave(one) {
            return Vec::new();
        }
        let content = SetOnce::new();
        let (failure, mut done) =
            join(self.provide(step, one, &content), step.store(one, &content)).await;
        done.extend(failure.map(Err));
        done
    }

    /// Sets `content`; to nothing where there is none to be had, and says why.
    async fn provide(
        &self,
        step: &Step<'_>,
        one: &Unsigned,
        content: &SetOnce<Option<Content>>,
    ) -> Option<ApplyError> {
        let (provided, failure) = match &one.known {
            Some(known) => (Some(known.clone()), None),
            None => match self.make(one).await {
                Ok(made) => (Some(made), None),
                Err(error) => {
                    step.outages.note_sigstore(true);
                    (None, Some(error))
                }
            },
        };
        // Nobody else sets it.
        let _ = content.set(provided);
        failure
    }

    async fn make(&self, one: &Unsigned) -> Result<Content, ApplyError> {
        let (keyless, digest) = (self.keyless()?, &one.subject.digest);
        Ok(match one.format {
            SignatureFormat::Bundle => Content::Bundle(keyless.sign(digest).await?),
            SignatureFormat::Legacy => {
                // It has room for one name, and no verifier asks whether it is the one that it was found by.
                let first = one.lacking.first().map(|lacking| &lacking.repository);
                let name = first.map_or(String::new(), docker_reference);
                Content::Legacy(keyless.sign_legacy(digest, &name).await?)
            }
        })
    }
}

/// Ends the run for the first failure that the inputs do not let pass; else says of what is left that it stays unsigned.
fn pass_over(
    context: &Context,
    mut failures: Vec<ApplyError>,
    left: BTreeSet<Subject>,
    on_failure: OnSigningFailure,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let is_passing =
        |error: &ApplyError| on_failure == OnSigningFailure::Warn && error.is_signing_outage();
    // What may pass hides nothing that may not.
    if let Some(grave) = failures.iter().position(|error| !is_passing(error)) {
        return Err(failures.swap_remove(grave));
    }
    for subject in left {
        if let Some(error) = reason(&failures, &subject) {
            receipt.go_on_unsigned(context, std::iter::once(subject), error);
        }
    }
    Ok(())
}

/// A signature that is stored, and has to be seen to stay.
pub(in crate::apply) struct Unsettled<'a> {
    subject: Subject,
    rest: LocalBoxFuture<'a, Result<(), ApplyError>>,
}

/// Sees to it that all of these stay, at once. Returns those of which that is not so, and why.
pub(in crate::apply) async fn settle(unsettled: Vec<Unsettled<'_>>) -> Vec<(Subject, ApplyError)> {
    let rests = unsettled
        .into_iter()
        .map(async |Unsettled { subject, rest }| match rest.await {
            Ok(()) => None,
            Err(source) => {
                let error = not_stored(&subject, source);
                Some((subject, error))
            }
        });
    join_all(rests).await.into_iter().flatten().collect()
}

/// Ends the run for what did not stay, unless the inputs let that pass.
pub(in crate::apply) fn check_settled(
    context: &Context,
    lost: Vec<(Subject, ApplyError)>,
    on_failure: OnSigningFailure,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    for (subject, error) in lost {
        if on_failure == OnSigningFailure::Fail || !error.is_signing_outage() {
            return Err(error);
        }
        receipt.go_on_unsigned(context, std::iter::once(subject), &error);
    }
    Ok(())
}

/// Whether a signature has to be made, beyond being stored.
fn makes_any(unsigned: &[Unsigned]) -> bool {
    unsigned.iter().any(|one| one.known.is_none())
}

/// The policy where the inputs leave something open: this run's own identity, issuer, source repository and ref, exactly.
pub(in crate::apply) fn own_policy(
    inputs: &PolicyInputs,
    caller: &Caller,
) -> Result<Policy, ApplyError> {
    let (mut github, own) = (inputs.github.clone(), caller.source());
    // A reusable workflow's identity is the same for all its callers: the repository tells them apart, given or not.
    github.repository = github.repository.or(own.repository);
    let identity = if let Some(identity) = &inputs.identity {
        identity.clone()
    } else {
        // Its ref is that of the reusable workflow. Who gives a pattern wants other refs to count.
        github.reference = github.reference.or(own.reference);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GithubClaims;

    #[test]
    fn own_policy_asks_for_what_the_token_says_where_the_inputs_leave_it_open() {
        let own = |text: &str| Some(text.to_owned());
        let caller = Caller {
            issuer: "https://issuer.example".to_owned(),
            subject: own("us"),
            github: GithubClaims {
                repository: own("o/r"),
                reference: own("refs/heads/main"),
                ..GithubClaims::default()
            },
        };
        let mut inputs = PolicyInputs {
            identity: None,
            issuer: None,
            github: GithubClaims::default(),
        };
        let policy = own_policy(&inputs, &caller).unwrap();
        assert!(policy.identity.matches("us") && !policy.identity.matches("them"));
        assert!(policy.issuer.matches(&caller.issuer));
        assert!(!policy.issuer.matches("https://other.example"));
        assert_eq!(policy.github, caller.source());
        // Whoever gives an identity leaves the ref open, and not the repository.
        inputs.identity = Some(Matcher::Exact("them".to_owned()));
        let policy = own_policy(&inputs, &caller).unwrap();
        assert!(policy.identity.matches("them") && !policy.identity.matches("us"));
        assert!(policy.issuer.matches(&caller.issuer));
        assert_eq!(policy.github.repository, own("o/r"));
        assert_eq!(policy.github.reference, None);
        let given = GithubClaims {
            repository: own("o/other"),
            reference: own("refs/tags/v1"),
            ..GithubClaims::default()
        };
        inputs.github = given.clone();
        inputs.issuer = Some(Matcher::Exact("https://other.example".to_owned()));
        let policy = own_policy(&inputs, &caller).unwrap();
        assert_eq!(policy.github, given);
        assert!(policy.issuer.matches("https://other.example"));
        // Nobody knows what a certificate for a foreign token will say.
        let foreign = Caller {
            subject: None,
            ..caller
        };
        assert!(own_policy(&inputs, &foreign).is_ok());
        inputs.identity = None;
        let unknown = own_policy(&inputs, &foreign);
        assert!(matches!(unknown, Err(ApplyError::NoPolicy(_))));
    }
}
