//! The longest silences of a server.

use std::time::Duration;

/// The work of a server while a request waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTask {
    /// The server prepares a response, or sends one.
    Answer,
    /// The server receives an upload, whose progress the caller watches.
    Receive,
    /// The server stores content that has arrived. Some registries then scan it, or copy it to another storage.
    Store,
}

/// The longest silence of a server for each task.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub(super) answer: Duration,
    /// Longer than the limit for downloads, so that the error names the side that stalls.
    pub(super) receive: Duration,
    pub(super) store: Duration,
}

impl Timeouts {
    /// The timeouts of a run.
    pub(super) const USUAL: Self = Self {
        answer: Duration::from_secs(30),
        receive: Duration::from_mins(1),
        store: Duration::from_mins(5),
    };

    /// Returns the longest silence in which a server may do `task`.
    #[must_use]
    pub fn silence(self, task: ServerTask) -> Duration {
        match task {
            ServerTask::Answer => self.answer,
            ServerTask::Receive => self.receive,
            ServerTask::Store => self.store,
        }
    }

    /// Returns timeouts for tests, which do not wait as long.
    #[cfg(test)]
    pub(crate) fn short(answer: Duration, store: Duration) -> Self {
        Self {
            answer,
            receive: answer.saturating_mul(2),
            store,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_has_the_most_time_to_store_content() {
        let seconds = |task| Timeouts::USUAL.silence(task).as_secs();
        let tasks = [ServerTask::Answer, ServerTask::Receive, ServerTask::Store];
        assert_eq!(tasks.map(seconds), [30, 60, 300]);
    }
}
