//! The destinations that share reads of a source, and those among them that others wait for.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The destinations that take part in shared reads, by number.
#[derive(Debug)]
pub(super) struct Participants {
    state: Mutex<ParticipantsState>,
    /// Announces each change of the state, and each decision about a blob.
    pub(super) changed: Notify,
}

#[derive(Debug)]
struct ParticipantsState {
    active: BTreeSet<usize>,
    /// Those that others have waited for in vain. They have decided about no blob since.
    late: BTreeSet<usize>,
}

impl Participants {
    /// Returns this number of destinations, from 0 on.
    pub(super) fn new(destinations: usize) -> Self {
        Self {
            state: Mutex::new(ParticipantsState {
                active: (0..destinations).collect(),
                late: BTreeSet::new(),
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.state().active.contains(&number)
    }

    /// True if this destination takes part, and another one too.
    pub(super) fn has_others(&self, number: usize) -> bool {
        let state = self.state();
        state.active.len() > 1 && state.active.contains(&number)
    }

    /// Returns the destinations that others have to wait for, if these have decided.
    pub(super) fn undecided(&self, decided: &BTreeSet<usize>) -> BTreeSet<usize> {
        let state = self.state();
        let active = state.active.iter();
        let waits_for = |number: &&usize| !state.late.contains(number) && !decided.contains(number);
        active.filter(waits_for).copied().collect()
    }

    /// Notes that this destination has decided about a blob.
    pub(super) fn note_decision(&self, number: usize) {
        self.state().late.remove(&number);
        self.changed.notify_waiters();
    }

    /// Notes that others have waited for these in vain.
    pub(super) fn note_late(&self, mut numbers: BTreeSet<usize>) {
        self.state().late.append(&mut numbers);
        self.changed.notify_waiters();
    }

    /// Removes a destination: it has ended, or it reads alone from now on.
    pub(super) fn remove(&self, number: usize) {
        self.state().active.remove(&number);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, ParticipantsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
