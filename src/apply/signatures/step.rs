//! One step of a run in which signatures are made: what all of them share, and where each of them goes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, SetOnce};

use super::attach::Attacher;
use super::lookup::Content;
use super::outages::Outages;
use super::settle::Settling;
use super::unsigned::{Lacking, Unsigned};
use crate::apply::receipt::{Origin, SignatureReceipt, Subject};
use crate::apply::{ApplyError, Context};
use crate::domain::{Repository, SignatureFormat};

/// How long a registry that is not ready yet keeps a signature from being stored, from when that is made.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// A signature that is stored, and what is left to do for it to stay; or why it is not.
pub(super) type Done<'a> = Result<(SignatureReceipt, Settling<'a>), ApplyError>;

/// What all signatures of one step share.
pub(super) struct Step<'a> {
    pub(super) context: &'a Context,
    /// Every repository that lacks a signature, ready to take it.
    attachers: BTreeMap<&'a Repository, Attacher<'a>>,
    pub(super) outages: Outages,
    /// Opens when all signatures are stored.
    pub(super) gate: Gate,
}

impl<'a> Step<'a> {
    /// The step in which `unsigned` gets its signatures.
    pub(super) fn new(context: &'a Context, unsigned: &'a [Unsigned]) -> Self {
        let lacking = unsigned.iter().flat_map(|one| &one.lacking);
        let gate = Gate::of(lacking.clone().count());
        let attachers = lacking
            .map(|Lacking { repository, .. }| (repository, Attacher::new(context, repository)));
        Self {
            context,
            attachers: attachers.collect(),
            outages: Outages::default(),
            gate,
        }
    }

    /// Stores `content` wherever `one` is missing, as soon as there is any.
    pub(super) async fn store(
        &self,
        one: &'a Unsigned,
        content: &SetOnce<Option<Content>>,
    ) -> Vec<Done<'a>> {
        let stores = one.names().map(async |(subject, lacking)| {
            let attacher = self.open(lacking)?;
            if one.known.is_none() && one.format == SignatureFormat::Bundle {
                // A registry that hangs does not keep what there is to store.
                let late = async {
                    content.wait().await;
                    tokio::time::sleep(READY_TIMEOUT).await;
                };
                tokio::select! {
                    () = attacher.make_ready() => (),
                    () = late => (),
                }
            }
            let content = content.wait().await.as_ref()?;
            // It may have become clear meanwhile that this is to no purpose.
            let attacher = self.open(lacking)?;
            Some(
                self.store_at(one, subject, lacking, attacher, content)
                    .await,
            )
        });
        join_all(stores).await.into_iter().flatten().collect()
    }

    /// What stores signatures there, if the registry takes any.
    fn open(&self, lacking: &Lacking) -> Option<&Attacher<'a>> {
        let is_open = self.outages.spare(&lacking.repository);
        self.attachers.get(&lacking.repository).filter(|_| is_open)
    }

    async fn store_at(
        &self,
        one: &'a Unsigned,
        subject: Subject,
        lacking: &Lacking,
        attacher: &Attacher<'a>,
        content: &Content,
    ) -> Done<'a> {
        let (of, seen) = (&one.subject, lacking.list.clone());
        let stored = || self.gate.pass();
        let done = match content {
            Content::Bundle(bundle) => attacher.attach(of, bundle, lacking.api, seen, stored).await,
            Content::Legacy(signature) => {
                let done = attacher.attach_legacy(of, signature, seen).await;
                done.inspect(|_| stored())
            }
        };
        let (place, settling) = done.map_err(|source| {
            self.outages.note(&lacking.repository);
            not_stored(&subject, source)
        })?;
        let is_known = one.known.is_some();
        let receipt = SignatureReceipt {
            subject,
            signer: content.signer().clone(),
            place,
            origin: if is_known {
                Origin::Copied
            } else {
                Origin::Made
            },
        };
        Ok((receipt, settling))
    }
}

/// Opens when as many have passed as there are.
pub(super) struct Gate {
    left: Cell<usize>,
    opened: Notify,
}

impl Gate {
    fn of(count: usize) -> Self {
        Self {
            left: Cell::new(count),
            opened: Notify::new(),
        }
    }

    fn pass(&self) {
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.open();
        }
    }

    /// Opens it, however many are left.
    pub(super) fn open(&self) {
        self.opened.notify_one();
    }

    /// `work`, once it is open.
    pub(super) async fn then<T>(&self, work: impl Future<Output = T>) -> T {
        self.opened.notified().await;
        work.await
    }
}

/// Why `subject` has no signature.
pub(super) fn not_stored(subject: &Subject, source: ApplyError) -> ApplyError {
    ApplyError::SignatureNotStored {
        subject: Box::new(subject.clone()),
        source: Box::new(source),
    }
}
