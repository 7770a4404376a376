//! Writes standard output from a thread of its own. A reader that stops reading fills the pipe, and must hold neither the
//! run's time limit nor its end.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The longest wait at the end of the run for a reader that reads nothing.
const STALL_MAX: Duration = Duration::from_secs(5);

/// The texts that are still to be written, in their order.
#[derive(Debug, Default)]
pub(super) struct OutputQueue(Arc<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    state: Mutex<PendingTexts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PendingTexts {
    texts: VecDeque<String>,
    /// True while a text is being written.
    is_writing: bool,
    /// True once the thread was started.
    is_started: bool,
    /// The number of texts that were written.
    written: u64,
}

impl OutputQueue {
    /// Appends a text. Returns at once.
    pub(super) fn push(&self, text: String) {
        let mut state = self.0.lock();
        state.texts.push_back(text);
        if !state.is_started {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("output".to_owned());
            if thread.spawn(move || shared.write_all()).is_err() {
                // Without a thread the text is written here.
                let texts = std::mem::take(&mut state.texts);
                drop(state);
                for text in &texts {
                    write(text);
                }
                return;
            }
            state.is_started = true;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written. Gives up on a reader that has read nothing for five seconds.
    pub(super) fn finish(&self) {
        let mut state = self.0.lock();
        while state.is_started && (state.is_writing || !state.texts.is_empty()) {
            let before = state.written;
            let waited = self.0.changed.wait_timeout(state, STALL_MAX);
            let (next, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && next.written == before {
                return;
            }
            state = next;
        }
    }
}

impl QueueState {
    fn lock(&self) -> MutexGuard<'_, PendingTexts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes texts for as long as the process runs.
    fn write_all(&self) {
        let mut state = self.lock();
        loop {
            while let Some(text) = state.texts.pop_front() {
                state.is_writing = true;
                drop(state);
                write(&text);
                state = self.lock();
                state.is_writing = false;
                state.written += 1;
                self.changed.notify_all();
            }
            let next = self.changed.wait(state);
            state = next.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes a text. A closed standard output must not fail the run.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
