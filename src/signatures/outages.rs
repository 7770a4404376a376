//! Failures of signing: each outage is detected once, and ends only the work that depends on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::SignatureError;
use super::unsigned::Unsigned;
use crate::domain::Repository;
use crate::outcome::Subject;

/// The services that have failed in this run.
#[derive(Default)]
pub(super) struct Outages {
    /// True if no signature can be made.
    sigstore: Cell<bool>,
    /// The repositories that accept no signatures.
    registries: RefCell<BTreeSet<Repository>>,
}

impl Outages {
    /// Notes whether making signatures fails.
    pub(super) fn note_sigstore(&self, is_out: bool) {
        self.sigstore.set(is_out);
    }

    /// Reports whether `one` can still be stored: its signature is available, and a repository accepts it.
    pub(super) fn has_work_for(&self, one: &Unsigned) -> bool {
        let is_available = one.copy_of.is_some() || !self.sigstore.get();
        is_available
            && one
                .missing
                .iter()
                .any(|missing| self.accepts_signatures(&missing.repository))
    }

    /// Reports whether `repository` accepts signatures.
    pub(super) fn accepts_signatures(&self, repository: &Repository) -> bool {
        !self.registries.borrow().contains(repository)
    }

    /// Notes that `repository` accepts no signatures.
    pub(super) fn note(&self, repository: &Repository) {
        self.registries.borrow_mut().insert(repository.clone());
    }
}

/// Returns the reason why `subject` was not signed: the error of its own registry, else that of Sigstore.
pub(super) fn cause_for<'a>(
    failures: &'a [SignatureError],
    subject: &Subject,
) -> Option<&'a SignatureError> {
    let refused = |error: &&SignatureError| matches!(error, SignatureError::NotStored { subject: other, .. } if other.repository == subject.repository);
    let unmade = |error: &&SignatureError| !matches!(error, SignatureError::NotStored { .. });
    let own = failures.iter().find(refused);
    own.or_else(|| failures.iter().find(unmade))
}
