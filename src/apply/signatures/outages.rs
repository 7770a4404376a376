//! Where signing failed: an outage is found out once, and ends no more than its own part.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::unsigned::Unsigned;
use crate::apply::ApplyError;
use crate::apply::receipt::Subject;
use crate::domain::Repository;

/// Where signing has failed in this run.
#[derive(Default)]
pub(super) struct Outages {
    /// No signature can be made.
    sigstore: Cell<bool>,
    /// These take none.
    registries: RefCell<BTreeSet<Repository>>,
}

impl Outages {
    /// Notes whether signatures cannot be made.
    pub(super) fn note_sigstore(&self, is_out: bool) {
        self.sigstore.set(is_out);
    }

    /// Whether they leave anything to do for `one`.
    pub(super) fn leave(&self, one: &Unsigned) -> bool {
        let can_be_had = one.known.is_some() || !self.sigstore.get();
        can_be_had
            && one
                .lacking
                .iter()
                .any(|lacking| self.spare(&lacking.repository))
    }

    /// Whether `repository` is none of them.
    pub(super) fn spare(&self, repository: &Repository) -> bool {
        !self.registries.borrow().contains(repository)
    }

    /// Notes that `repository` takes none.
    pub(super) fn note(&self, repository: &Repository) {
        self.registries.borrow_mut().insert(repository.clone());
    }
}

/// Why `subject` was not signed: what its own registry said, else what Sigstore did.
pub(super) fn reason<'a>(failures: &'a [ApplyError], subject: &Subject) -> Option<&'a ApplyError> {
    let refused = |error: &&ApplyError| matches!(error, ApplyError::SignatureNotStored { subject: other, .. } if other.repository == subject.repository);
    let unmade = |error: &&ApplyError| !matches!(error, ApplyError::SignatureNotStored { .. });
    let own = failures.iter().find(refused);
    own.or_else(|| failures.iter().find(unmade))
}
