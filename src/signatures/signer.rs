//! Makes and stores the missing signatures.

use std::collections::BTreeSet;

use futures_util::future::{LocalBoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};

use super::SignatureError;
use super::attach::RemainingWork;
use super::legacy_attach::docker_reference;
use super::lookup::SignatureContent;
use super::outages::cause_for;
use super::signing_context::SigningContext;
use super::step::{SigningStep, StoredSignature, not_stored};
use super::storable_signature::StorableSignature;
use super::unsigned::{Unsigned, is_excused};
use crate::context::{Context, RecordWriter};
use crate::domain::{Policy, Repository, SignatureFormat, chain_text};
use crate::inputs::OnSigningFailure;
use crate::outcome::{Outcome, Subject};
use crate::referrers::PendingSettle;
use crate::sigstore::Keyless;

/// The maximum number of signatures that are made or stored at once.
const SIGNATURES_PARALLEL: usize = 16;

impl SigningContext {
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

    /// Checks the certificate against `policy`, before it is known what is unsigned. An outage is left to the step that
    /// signs.
    pub(crate) async fn check_certificate_early(
        &self,
        policy: Result<&Policy, &SignatureError>,
    ) -> Result<(), SignatureError> {
        let (Some(keyless), Ok(policy)) = (&self.keyless, policy) else {
            return Ok(());
        };
        match check_subject(keyless, policy).await {
            Err(error) if error.is_signing_outage() => Ok(()),
            checked => checked,
        }
    }

    /// Starts to request a certificate if one will be needed.
    pub(crate) fn prefetch_for(&self, unsigned: &[Unsigned]) {
        if makes_any(unsigned) {
            self.prefetch_certificate();
        }
    }

    /// Makes and stores every signature in `unsigned`, updates the outcome after each, and saves the record after a few.
    /// Returns the remaining work: lists that are still being written, and [`settle`].
    ///
    /// After a failure, work in progress is finished, and nothing new is started for that service. So a run waits only
    /// once for an outage. A registry outage ends only the work for that registry. An outage of Sigstore ends only the
    /// making of signatures: copies of existing ones are still stored. An outage that the inputs excuse is a warning.
    pub(crate) async fn sign_all<'a>(
        &self,
        context: &'a Context,
        unsigned: &'a [Unsigned],
        on_failure: OnSigningFailure,
        outcome: &mut Outcome,
        record_writer: &RecordWriter,
    ) -> Result<SignatureLists<'a>, SignatureError> {
        if unsigned.is_empty() {
            return Ok(SignatureLists::default());
        }
        context.events.step("Sign");
        let step = &SigningStep::new(context, unsigned);
        let mut left: BTreeSet<(Subject, SignatureFormat)> = unsigned
            .iter()
            .flat_map(|one| one.names().map(|(subject, _)| (subject, one.format)))
            .collect();
        let mut failures = Vec::new();
        if makes_any(unsigned) {
            failures.extend(self.wait_for_certificate().await.err());
            step.outages.note_sigstore(!failures.is_empty());
        }
        let work = unsigned.iter().map(|one| self.sign_one(step, one));
        let mut work = stream::iter(work).buffer_unordered(SIGNATURES_PARALLEL);
        let mut results = record_writer.results(left.len());
        let mut lists = SignatureLists::default();
        // Lists are written while other signatures are made.
        loop {
            let done = tokio::select! {
                done = work.next() => done,
                Some(listed) = lists.open.next() => {
                    if let Some(refused_by) = lists.note(listed) {
                        step.outages.note(&refused_by);
                    }
                    continue;
                }
            };
            let Some(done) = done else {
                break;
            };
            for one in done {
                match one {
                    Ok((signature, remaining)) => {
                        let subject = signature.subject.clone();
                        left.remove(&(subject.clone(), signature.location.format));
                        outcome.note_signature(&step.context.events, signature);
                        results.add(outcome)?;
                        lists.begin(subject, remaining);
                    }
                    Err(error) => failures.push(error),
                }
            }
        }
        results.end(outcome)?;
        let left = left.into_iter().map(|(subject, _)| subject).collect();
        if let Err(fatal) = excuse_failures(step.context, failures, left, on_failure, outcome) {
            // Signatures that were stored before are reported, so they have to be listed and stable.
            settle(lists.finish().await.unsettled).await;
            return Err(fatal);
        }
        Ok(lists)
    }

    /// Waits for a certificate, so that a Fulcio outage is detected once.
    async fn wait_for_certificate(&self) -> Result<(), SignatureError> {
        Ok(self.keyless()?.wait_for_certificate().await?)
    }

    /// Makes one signature, or uses the copy, and stores it wherever it is missing.
    async fn sign_one<'a>(
        &self,
        step: &SigningStep<'a>,
        one: &'a Unsigned,
    ) -> Vec<StoredSignature<'a>> {
        if !step.outages.has_work_for(one) {
            return Vec::new();
        }
        if let Some(copy) = &one.copy_of {
            return step.store(one, copy).await;
        }
        let making = step.permit_to_make().await;
        // Sigstore may have failed meanwhile.
        if !step.outages.has_work_for(one) {
            return Vec::new();
        }
        let made = self.make(one).await;
        drop(making);
        match made {
            Ok(made) => step.store(one, &StorableSignature::made(made)).await,
            Err(error) => {
                step.outages.note_sigstore(true);
                vec![Err(error)]
            }
        }
    }

    async fn make(&self, one: &Unsigned) -> Result<SignatureContent, SignatureError> {
        let (keyless, digest) = (self.keyless()?, &one.subject.digest);
        Ok(match one.format {
            SignatureFormat::Bundle => SignatureContent::Bundle(keyless.sign(digest).await?),
            SignatureFormat::Legacy => {
                // The format has room for one name. No verifier compares it with the name under which it found the
                // signature.
                let first = one.missing.first().map(|missing| &missing.repository);
                let name = first.map_or(String::new(), docker_reference);
                SignatureContent::Legacy(keyless.sign_legacy(digest, &name).await?)
            }
        })
    }
}

/// Checks the certificate against `policy`, if the token does not state its subject.
async fn check_subject(keyless: &Keyless, policy: &Policy) -> Result<(), SignatureError> {
    if keyless.workflow_identity().await?.subject.is_some() {
        return Ok(());
    }
    let checked = keyless.check_certificate(policy).await?;
    checked.map_err(|refusal| SignatureError::UnmetPolicy(Box::new(refusal)))
}

/// Returns the first failure that the inputs do not excuse. Otherwise reports that the remaining subjects stay
/// unsigned.
fn excuse_failures(
    context: &Context,
    mut failures: Vec<SignatureError>,
    left: BTreeSet<Subject>,
    on_failure: OnSigningFailure,
    outcome: &mut Outcome,
) -> Result<(), SignatureError> {
    // An excused failure must not hide one that is not excused.
    if let Some(fatal) = failures
        .iter()
        .position(|error| !is_excused(on_failure, error))
    {
        return Err(failures.swap_remove(fatal));
    }
    for subject in left {
        if let Some(error) = cause_for(&failures, &subject) {
            outcome.continue_unsigned(
                &context.events,
                std::iter::once(subject),
                &chain_text(error),
            );
        }
    }
    Ok(())
}

/// Signatures that are stored, and their lists, which are being written.
#[derive(Default)]
pub(crate) struct SignatureLists<'a> {
    open: FuturesUnordered<LocalBoxFuture<'a, ListedSignature<'a>>>,
    listed: ListedSignatures<'a>,
}

/// The subject of a signature, and the work that remains after its list was written.
type ListedSignature<'a> = (
    Subject,
    Result<PendingSettle<'a, SignatureError>, SignatureError>,
);

/// A signature that is listed and not yet known to be stable.
pub(crate) struct UnsettledSignature<'a> {
    subject: Subject,
    rest: LocalBoxFuture<'a, Result<(), SignatureError>>,
}

/// The signatures whose lists were written.
#[derive(Default)]
pub(crate) struct ListedSignatures<'a> {
    /// Those that are not yet known to be stable.
    pub(crate) unsettled: Vec<UnsettledSignature<'a>>,
    /// The subjects of those that could not be listed, with the error.
    pub(crate) lost: Vec<(Subject, SignatureError)>,
}

impl<'a> SignatureLists<'a> {
    fn begin(&mut self, subject: Subject, remaining: RemainingWork<'a>) {
        let list = async move { (subject, remaining.list().await) };
        self.open.push(Box::pin(list));
    }

    /// Notes the end of one write. Returns the repository if it failed.
    fn note(&mut self, (subject, ended): ListedSignature<'a>) -> Option<Repository> {
        match ended {
            Ok(rest) => {
                let rest = rest.map(|rest| UnsettledSignature { subject, rest });
                self.listed.unsettled.extend(rest);
                None
            }
            Err(source) => {
                let error = not_stored(&subject, source);
                let repository = subject.repository.clone();
                self.listed.lost.push((subject, error));
                Some(repository)
            }
        }
    }

    /// Waits until all lists are written.
    pub(crate) async fn finish(mut self) -> ListedSignatures<'a> {
        while let Some(listed) = self.open.next().await {
            self.note(listed);
        }
        self.listed
    }
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

/// Returns the error of a signature that is not listed or not stable, unless the inputs excuse it.
pub(crate) fn check_settled(
    context: &Context,
    lost: Vec<(Subject, SignatureError)>,
    on_failure: OnSigningFailure,
    outcome: &mut Outcome,
) -> Result<(), SignatureError> {
    for (subject, error) in lost {
        if !is_excused(on_failure, &error) {
            return Err(error);
        }
        outcome.continue_unsigned(
            &context.events,
            std::iter::once(subject),
            &chain_text(&error),
        );
    }
    Ok(())
}

/// Reports whether a signature has to be made, beyond being stored.
fn makes_any(unsigned: &[Unsigned]) -> bool {
    unsigned.iter().any(|one| one.copy_of.is_none())
}
