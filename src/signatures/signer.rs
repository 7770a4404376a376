//! Determines the required identity, and makes the missing signatures.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::{LocalBoxFuture, join, join_all};
use futures_util::{StreamExt as _, stream};
use tokio::sync::SetOnce;

use super::SignatureError;
use super::legacy::docker_reference;
use super::lookup::{Candidate, Content};
use super::outages::reason;
use super::plain::PlainContent;
use super::step::{Done, Step, not_stored};
use super::unsigned::{Glance, Unsigned};
use crate::context::{Context, RecordWriter};
use crate::domain::{Digest, Matcher, Policy, SignatureFormat, SourceRepository, TokenAbsence};
use crate::failure::chain_text;
use crate::inputs::{OnSigningFailure, PolicyInputs};
use crate::outcome::{Outcome, Subject};
use crate::signing::{
    Keyless, OwnIdentity, Trust, VerificationError, Verified, WorkflowIdentity, check_caller,
    verify, verify_legacy,
};

/// The maximum number of signatures that are made concurrently.
const PARALLEL: usize = 8;
/// The issuer of GitHub's tokens, which `verify` expects by default.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The trust root and the means to sign, for signing and verifying.
pub struct SigningContext {
    /// The trust root, and the services to sign with.
    pub trust: Arc<Trust>,
    /// The means to sign, or `None` if no token is available or nothing is signed.
    pub keyless: Option<Keyless>,
    /// The identity of this run, if it signs nothing and a token is available.
    pub identity: Option<OwnIdentity>,
    /// The reason why no token is available, if that is so.
    pub token_absence: TokenAbsence,
    /// The repository of this run, if GitHub runs it.
    pub source_repository: Option<SourceRepository>,
}

impl SigningContext {
    fn keyless(&self) -> Result<&Keyless, SignatureError> {
        self.keyless.as_ref().ok_or_else(|| self.no_token())
    }

    fn no_token(&self) -> SignatureError {
        SignatureError::NoToken(self.token_absence.clone())
    }

    /// Returns the identity of this run, from its token.
    async fn caller(&self) -> Result<WorkflowIdentity, SignatureError> {
        let caller = match (&self.keyless, &self.identity) {
            (Some(keyless), _) => keyless.caller().await,
            (None, Some(identity)) => identity.caller().await,
            (None, None) => return Err(self.no_token()),
        };
        Ok(caller?)
    }

    /// Determines the required identity: that of the inputs, completed with this run's own.
    ///
    /// A policy that this run's own token does not meet is an error. Each rerun would sign once more, and no verifier
    /// would accept the result. Without a token nothing can be signed, and the inputs must state the identity and the
    /// issuer. The source repository is known without a token, too.
    pub(crate) async fn policy(&self, inputs: &PolicyInputs) -> Result<Policy, SignatureError> {
        if self.keyless.is_none()
            && self.identity.is_none()
            && let (Some(identity), Some(issuer)) = (&inputs.identity, &inputs.issuer)
        {
            return Ok(self.of_this_repository(Policy {
                identity: identity.clone(),
                issuer: issuer.clone(),
                github: inputs.github.clone(),
            }));
        }
        let caller = self.caller().await?;
        let policy = own_policy(inputs, &caller)?;
        // A run that signs nothing may require signatures of others.
        if self.keyless.is_some() {
            check_caller(&policy, &caller)
                .map_err(|refusal| SignatureError::UnmetPolicy(Box::new(refusal)))?;
        }
        Ok(policy)
    }

    /// Adds the repository of this run to a policy that was completed without a token and names none.
    ///
    /// SECURITY: a reusable workflow has the same identity for all its callers. The repository distinguishes them.
    pub(crate) fn of_this_repository(&self, mut policy: Policy) -> Policy {
        if policy.github.repository.is_none() {
            let own = self.source_repository.as_ref();
            policy.github.repository = own.and_then(|own| own.name_for(&policy.issuer));
        }
        policy
    }

    /// Returns a policy for signatures by this repository, for a run whose own identity is not known. `None` if the
    /// repository is not known either.
    pub(crate) fn policy_of_repository(&self, inputs: &PolicyInputs) -> Option<Policy> {
        let own = self.source_repository.as_ref();
        let any = || Matcher::pattern(".*").ok();
        let issuer = inputs.issuer.clone();
        let policy = self.of_this_repository(Policy {
            identity: inputs.identity.clone().or_else(any)?,
            issuer: issuer.or_else(|| own.and_then(SourceRepository::issuer))?,
            github: inputs.github.clone(),
        });
        policy.github.repository.is_some().then_some(policy)
    }

    /// Checks the certificate for `unsigned` against `policy`, if the token does not state its subject.
    pub(crate) async fn check_certificate(
        &self,
        policy: &Policy,
        unsigned: &[Unsigned],
    ) -> Result<(), SignatureError> {
        if !makes_any(unsigned) {
            return Ok(());
        }
        check_subject(self.keyless()?, policy).await
    }

    /// Checks the certificate against the policy of `glance`, before it is known what is unsigned. An outage is left to
    /// the step that signs.
    pub(crate) async fn check_new(&self, glance: &Glance) -> Result<(), SignatureError> {
        let (Some(keyless), Ok(policy)) = (&self.keyless, glance.policy()) else {
            return Ok(());
        };
        match check_subject(keyless, policy).await {
            Err(error) if error.is_signing_outage() => Ok(()),
            checked => checked,
        }
    }

    /// Returns a function that verifies candidates for signatures.
    pub(crate) fn judge<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Fn(&Candidate<'_>, &Digest) -> Result<Verified, VerificationError> + Sync + 'a {
        |candidate, subject| match candidate {
            Candidate::Bundle(bundle) => verify(bundle, subject, &self.trust, policy),
            Candidate::Legacy(payload, annotations) => {
                verify_legacy(payload, annotations, subject, &self.trust, policy)
            }
        }
    }

    /// Starts to request the token for a certificate that will most likely be needed.
    pub(crate) fn expect(&self) {
        if let Some(keyless) = &self.keyless {
            keyless.expect();
        }
    }

    /// Starts to request a certificate, so that the wait overlaps with other work. A failure appears when it is used.
    pub(crate) fn prepare(&self) {
        if let Some(keyless) = &self.keyless {
            keyless.prepare();
        }
    }

    /// Starts to request a certificate if one will be needed.
    pub(crate) fn prepare_for(&self, unsigned: &[Unsigned]) {
        if makes_any(unsigned) {
            self.prepare();
        }
    }

    /// Makes and stores every signature in `unsigned`, and updates the outcome and the record after each. Returns the
    /// remaining work for signatures that share a tag with others; [`settle`] does it.
    ///
    /// Once all of them are stored, `last` runs while they are listed. Its result is returned.
    ///
    /// After a failure, work in progress is finished, and nothing new is started for that service. So a run waits for
    /// an outage once, and not once for each child. A registry outage ends only its own part. An outage of Sigstore
    /// does not stop the storage of signatures that another registry has. An outage that the inputs excuse becomes a
    /// warning.
    pub(crate) async fn sign_all<'a, T>(
        &self,
        context: &'a Context,
        unsigned: &'a [Unsigned],
        on_failure: OnSigningFailure,
        outcome: &mut Outcome,
        record_writer: &RecordWriter,
        last: impl Future<Output = T>,
    ) -> Result<(Vec<UnsettledSignature<'a>>, T), SignatureError> {
        if unsigned.is_empty() {
            return Ok((Vec::new(), last.await));
        }
        context.events.phase("Sign");
        let step = &Step::new(context, unsigned);
        let work = async {
            let unsettled = self.work_off(step, unsigned, on_failure, outcome, record_writer);
            let unsettled = unsettled.await?;
            // Some may stay unsigned, so the gate would not open by itself.
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
        outcome: &mut Outcome,
        record_writer: &RecordWriter,
    ) -> Result<Vec<UnsettledSignature<'a>>, SignatureError> {
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
                        outcome.note_signature(&step.context.events, signature);
                        record_writer.save(outcome)?;
                        unsettled.extend(settling.map(|rest| UnsettledSignature { subject, rest }));
                    }
                    Err(error) => failures.push(error),
                }
            }
        }
        let left = left.into_iter().map(|(subject, _)| subject).collect();
        if let Err(grave) = pass_over(step.context, failures, left, on_failure, outcome) {
            // Signatures that were stored before are reported, so they have to be stable.
            settle(unsettled).await;
            return Err(grave);
        }
        Ok(unsettled)
    }

    /// Waits for a certificate, so that a Fulcio outage is detected once.
    async fn ready(&self) -> Result<(), SignatureError> {
        Ok(self.keyless()?.ready().await?)
    }

    /// Makes one signature, or takes the known one, and stores it wherever it is missing.
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

    /// Sets `content`. If there is none, sets it to `None` and returns the error.
    async fn provide(
        &self,
        step: &Step<'_>,
        one: &Unsigned,
        content: &SetOnce<Option<PlainContent>>,
    ) -> Option<SignatureError> {
        let (provided, failure) = match &one.known {
            Some(known) => (Some(known.clone()), None),
            None => match self.make(one).await {
                Ok(made) => (Some(PlainContent::made(made)), None),
                Err(error) => {
                    step.outages.note_sigstore(true);
                    (None, Some(error))
                }
            },
        };
        // No other code sets it.
        let _ = content.set(provided);
        failure
    }

    async fn make(&self, one: &Unsigned) -> Result<Content, SignatureError> {
        let (keyless, digest) = (self.keyless()?, &one.subject.digest);
        Ok(match one.format {
            SignatureFormat::Bundle => Content::Bundle(keyless.sign(digest).await?),
            SignatureFormat::Legacy => {
                // The format has room for one name. No verifier compares it with the name under which it found the
                // signature.
                let first = one.lacking.first().map(|lacking| &lacking.repository);
                let name = first.map_or(String::new(), docker_reference);
                Content::Legacy(keyless.sign_legacy(digest, &name).await?)
            }
        })
    }
}

/// Checks the certificate against `policy`, if the token does not state its subject.
async fn check_subject(keyless: &Keyless, policy: &Policy) -> Result<(), SignatureError> {
    if keyless.caller().await?.subject.is_some() {
        return Ok(());
    }
    let checked = keyless.check_certificate(policy).await?;
    checked.map_err(|refusal| SignatureError::UnmetPolicy(Box::new(refusal)))
}

/// Returns the first failure that the inputs do not excuse. Otherwise reports that the remaining subjects stay
/// unsigned.
fn pass_over(
    context: &Context,
    mut failures: Vec<SignatureError>,
    left: BTreeSet<Subject>,
    on_failure: OnSigningFailure,
    outcome: &mut Outcome,
) -> Result<(), SignatureError> {
    let is_passing =
        |error: &SignatureError| on_failure == OnSigningFailure::Warn && error.is_signing_outage();
    // An excused failure must not hide one that is not excused.
    if let Some(grave) = failures.iter().position(|error| !is_passing(error)) {
        return Err(failures.swap_remove(grave));
    }
    for subject in left {
        if let Some(error) = reason(&failures, &subject) {
            outcome.go_on_unsigned(
                &context.events,
                std::iter::once(subject),
                &chain_text(error),
            );
        }
    }
    Ok(())
}

/// A signature that is stored and not yet known to be stable.
pub(crate) struct UnsettledSignature<'a> {
    subject: Subject,
    rest: LocalBoxFuture<'a, Result<(), SignatureError>>,
}

/// Waits for all of these concurrently until they are stable. Returns those that are not, with the error.
pub(crate) async fn settle(
    unsettled: Vec<UnsettledSignature<'_>>,
) -> Vec<(Subject, SignatureError)> {
    let rests =
        unsettled.into_iter().map(
            async |UnsettledSignature { subject, rest }| match rest.await {
                Ok(()) => None,
                Err(source) => {
                    let error = not_stored(&subject, source);
                    Some((subject, error))
                }
            },
        );
    join_all(rests).await.into_iter().flatten().collect()
}

/// Returns the error of a signature that is not stable, unless the inputs excuse it.
pub(crate) fn check_settled(
    context: &Context,
    lost: Vec<(Subject, SignatureError)>,
    on_failure: OnSigningFailure,
    outcome: &mut Outcome,
) -> Result<(), SignatureError> {
    for (subject, error) in lost {
        if on_failure == OnSigningFailure::Fail || !error.is_signing_outage() {
            return Err(error);
        }
        outcome.go_on_unsigned(
            &context.events,
            std::iter::once(subject),
            &chain_text(&error),
        );
    }
    Ok(())
}

/// Reports whether a signature has to be made, beyond being stored.
fn makes_any(unsigned: &[Unsigned]) -> bool {
    unsigned.iter().any(|one| one.known.is_none())
}

/// Completes the policy of the inputs with this run's own identity, issuer, source repository and ref, exactly.
pub(crate) fn own_policy(
    inputs: &PolicyInputs,
    caller: &WorkflowIdentity,
) -> Result<Policy, SignatureError> {
    let (mut github, own) = (inputs.github.clone(), caller.source());
    // A reusable workflow has the same identity for all its callers. The repository distinguishes them, with or without
    // a given identity.
    github.repository = github.repository.or(own.repository);
    let identity = match (&inputs.identity, &caller.subject) {
        (Some(identity), _) => identity.clone(),
        (None, Some(subject)) => Matcher::Exact(subject.clone()),
        (None, None) => {
            return Err(SignatureError::NoPolicy(
                "the identity in a certificate for this issuer's token cannot be told beforehand; give `certificate-identity` or `certificate-identity-regexp`",
            ));
        }
    };
    // The ref in an identity is that of the reusable workflow, not of the run. A pattern lets other refs count.
    if matches!(&identity, Matcher::Exact(text) if Some(text) == caller.subject.as_ref()) {
        github.reference = github.reference.or(own.reference);
    }
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
        let caller = WorkflowIdentity {
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
        // A given identity leaves the ref open, but not the repository.
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
        // Its own identity is the same whether it is given or not.
        let given = |identity: Matcher| PolicyInputs {
            identity: Some(identity),
            issuer: None,
            github: GithubClaims::default(),
        };
        let policy = own_policy(&given(Matcher::Exact("us".to_owned())), &caller).unwrap();
        assert_eq!(policy.github, caller.source());
        let policy = own_policy(&given(Matcher::pattern("us").unwrap()), &caller).unwrap();
        assert_eq!(policy.github.reference, None);
        // The identity in a certificate for a foreign token cannot be known.
        let foreign = WorkflowIdentity {
            subject: None,
            ..caller
        };
        assert!(own_policy(&inputs, &foreign).is_ok());
        inputs.identity = None;
        let unknown = own_policy(&inputs, &foreign);
        assert!(matches!(unknown, Err(SignatureError::NoPolicy(_))));
    }
}
