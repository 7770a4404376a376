//! One step of a run in which signatures are made: what all of them share, and where each of them goes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::attach::Attacher;
use super::lookup::Content;
use super::outages::Outages;
use super::settle::Settling;
use super::unsigned::{Lacking, Unsigned};
use crate::apply::receipt::{Origin, SignatureReceipt, Subject};
use crate::apply::{ApplyError, Context};
use crate::domain::{Repository, SignatureFormat};

/// A signature that is stored, and what is left to do for it to stay; or why it is not.
pub(super) type Done<'a> = Result<(SignatureReceipt, Settling<'a>), ApplyError>;

/// What all signatures of one step share.
pub(super) struct Step<'a> {
    /// Every repository that lacks a signature, ready to take it.
    attachers: BTreeMap<&'a Repository, Attacher<'a>>,
    pub(super) outages: Outages,
    /// Opens when all signatures are stored.
    pub(super) gate: Gate,
}

impl<'a> Step<'a> {
    /// The step in which `unsigned` gets its signatures, which are stored in `count` places.
    pub(super) fn new(context: &'a Context, unsigned: &'a [Unsigned], count: usize) -> Self {
        let lacking = unsigned.iter().flat_map(|one| &one.lacking);
        let attachers = lacking
            .map(|Lacking { repository, .. }| (repository, Attacher::new(context, repository)));
        Self {
            attachers: attachers.collect(),
            outages: Outages::default(),
            gate: Gate::of(count),
        }
    }

    /// Where `one` is missing, but for registries that take nothing.
    fn open(
        &self,
        one: &'a Unsigned,
    ) -> impl Iterator<Item = (Subject, &'a Lacking, &Attacher<'a>)> {
        one.names().filter_map(|(subject, lacking)| {
            let attacher = self.attachers.get(&lacking.repository)?;
            let is_open = self.outages.spare(&lacking.repository);
            is_open.then_some((subject, lacking, attacher))
        })
    }

    /// Has registries do what they can for `one` before it is made. Returns why some cannot.
    pub(super) async fn make_ready(&self, one: &'a Unsigned) -> Vec<ApplyError> {
        if one.format != SignatureFormat::Bundle {
            return Vec::new();
        }
        let ready = self.open(one).map(async |(subject, _, attacher)| {
            let unready = attacher.make_ready().await.err()?;
            Some(self.not_stored(&subject, unready.into()))
        });
        join_all(ready).await.into_iter().flatten().collect()
    }

    /// Stores `content` wherever `one` is missing.
    pub(super) async fn store(
        &self,
        one: &'a Unsigned,
        content: &Content,
        origin: Origin,
    ) -> Vec<Done<'a>> {
        let stores = self.open(one).map(async |(subject, lacking, attacher)| {
            let (of, api, seen) = (&one.subject, lacking.api, lacking.list.clone());
            let stored = || self.gate.pass();
            let done = match content {
                Content::Bundle(bundle) => attacher.attach(of, bundle, api, seen, stored).await,
                Content::Legacy(signature) => {
                    let done = attacher.attach_legacy(of, signature, seen).await;
                    done.inspect(|_| stored())
                }
            };
            let (place, settling) = done.map_err(|source| self.not_stored(&subject, source))?;
            let receipt = SignatureReceipt {
                subject,
                signer: content.signer().clone(),
                place,
                origin,
            };
            Ok((receipt, settling))
        });
        join_all(stores).await
    }

    /// Notes that the registry of `subject` takes nothing, and says so.
    fn not_stored(&self, subject: &Subject, source: ApplyError) -> ApplyError {
        self.outages.note(&subject.repository);
        not_stored(subject, source)
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
