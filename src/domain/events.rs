//! What a run says while it runs. Rooms emit events; one listener at the edge decides how they look.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Secret;

/// One thing worth telling while a run is under way.
#[derive(Debug, Clone)]
pub enum Event {
    /// Work that begins now, as a short noun phrase: `children`, `signatures`.
    Phase(String),
    /// Something that was done or found.
    Note(String),
    /// Something the user should look at, though the run goes on.
    Warning(String),
    /// Something failed and is tried again.
    Retry {
        /// What is tried again: `GET ghcr.io/o/r/manifests/v1`.
        what: String,
        /// Why: the status or the cause.
        why: String,
        /// How long it waits before the next try.
        wait: Duration,
    },
    /// A secret that came up during the run (a registry token, an OIDC token) and must be masked before anything else is printed.
    Mask(Secret),
}

/// A handle on the run's one listener. Clones are cheap and speak to the same listener.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Makes a handle on `listener`, which is called at once for each event, from whichever task it happens in.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// A handle whose events nobody hears.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Tells which work begins now.
    pub fn phase(&self, name: impl Into<String>) {
        self.emit(Event::Phase(name.into()));
    }

    /// Tells of something that was done or found.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }

    /// Tells of something the user should look at.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    /// Tells that `what` failed because of `why` and is tried again after `wait`.
    pub fn retry(&self, what: impl Into<String>, why: impl Into<String>, wait: Duration) {
        self.emit(Event::Retry {
            what: what.into(),
            why: why.into(),
            wait,
        });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Events")
    }
}
