//! One step of a run that makes signatures: the state that they share, and the storage of each.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::SignatureError;
use super::attach::{Attacher, RemainingWork};
use super::lookup::SignatureContent;
use super::outages::Outages;
use super::storable_signature::StorableSignature;
use super::unsigned::{MissingSignature, Unsigned};
use crate::context::Context;
use crate::domain::Repository;
use crate::outcome::{SignatureOutcome, SignatureSource, Subject};

/// The maximum number of signatures that are made concurrently. Others are stored meanwhile.
const MADE_PARALLEL: usize = 8;

/// A stored signature with the remaining work, or the error.
pub(super) type StoredSignature<'a> = Result<(SignatureOutcome, RemainingWork<'a>), SignatureError>;

/// The state that all signatures of one step share.
pub(super) struct SigningStep<'a> {
    pub(super) context: &'a Context,
    /// Every repository that lacks a signature, with the client that stores it there.
    attachers: BTreeMap<&'a Repository, Attacher<'a>>,
    pub(super) outages: Outages,
    making: Semaphore,
}

impl<'a> SigningStep<'a> {
    /// Creates the step that signs `unsigned`.
    pub(super) fn new(context: &'a Context, unsigned: &'a [Unsigned]) -> Self {
        let missing = unsigned.iter().flat_map(|one| &one.missing);
        let attachers = missing.map(|MissingSignature { repository, .. }| {
            (repository, Attacher::new(context, repository))
        });
        Self {
            context,
            attachers: attachers.collect(),
            outages: Outages::default(),
            making: Semaphore::new(MADE_PARALLEL),
        }
    }

    /// Waits until a further signature may be made.
    pub(super) async fn permit_to_make(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so this always succeeds.
        self.making.acquire().await.ok()
    }

    /// Stores `content` wherever `one` is missing.
    pub(super) async fn store(
        &self,
        one: &'a Unsigned,
        content: &StorableSignature,
    ) -> Vec<StoredSignature<'a>> {
        let stores = one.names().map(async |(subject, missing)| {
            let attacher = self.working_attacher(missing)?;
            Some(
                self.store_at(one, subject, missing, attacher, content)
                    .await,
            )
        });
        join_all(stores).await.into_iter().flatten().collect()
    }

    /// Returns the client that stores signatures in this repository, unless the repository accepts none.
    fn working_attacher(&self, missing: &MissingSignature) -> Option<&Attacher<'a>> {
        let is_open = self.outages.accepts_signatures(&missing.repository);
        self.attachers.get(&missing.repository).filter(|_| is_open)
    }

    async fn store_at(
        &self,
        one: &'a Unsigned,
        subject: Subject,
        missing: &MissingSignature,
        attacher: &Attacher<'a>,
        content: &StorableSignature,
    ) -> StoredSignature<'a> {
        let of = &one.subject;
        let done = match &**content {
            SignatureContent::Bundle(bundle) => attacher.attach(of, bundle, missing).await,
            SignatureContent::Legacy(signature) => {
                attacher.attach_legacy(of, signature, missing).await
            }
        };
        let (location, remaining) = done.map_err(|source| {
            self.outages.note(&missing.repository);
            not_stored(&subject, source)
        })?;
        let is_copy = one.copy_of.is_some();
        let outcome = SignatureOutcome {
            subject,
            signer: content.signer().clone(),
            location,
            source: if is_copy {
                SignatureSource::Copied
            } else {
                SignatureSource::Made
            },
        };
        Ok((outcome, remaining))
    }
}

/// Returns the error for `subject`, whose signature was not stored.
pub(super) fn not_stored(subject: &Subject, source: SignatureError) -> SignatureError {
    SignatureError::NotStored {
        subject: Box::new(subject.clone()),
        source: Box::new(source),
    }
}
