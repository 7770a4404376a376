//! Events that a run emits while it runs. Rooms emit them; one listener at the edge decides how they are printed.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{LimitTrace, RequestTrace, Secret};

/// The length of the shortest text from a service that is masked.
const MASKED_MIN_CHARS: usize = 16;
/// The characters that a token may contain beside letters and digits. Source: RFC 6750, section 2.1.
const TOKEN_SIGNS: &str = "-._~+/=";

/// One event to report while a run is under way.
#[derive(Debug, Clone)]
pub enum Event {
    /// The step that begins, in a few words: `Push the index`.
    Step(String),
    /// Something that was done or found.
    Info(String),
    /// Something that the user should check; the run continues.
    Warning(String),
    /// A failed operation that is retried.
    Retry {
        /// The operation: `GET ghcr.io/o/r/manifests/v1`.
        what: String,
        /// The reason: the status or the cause.
        why: String,
        /// The wait before the next attempt.
        wait: Duration,
    },
    /// A secret that the run received (a registry token, an OIDC token). It must be masked before anything else is
    /// printed.
    Mask(Secret),
    /// A request that has ended; emitted only if the run is traced.
    Request(RequestTrace),
    /// A decrease of the limit on concurrent requests to a host; emitted only if the run is traced.
    Limit(LimitTrace),
}

/// A handle on the run's one listener. Clones are cheap and share the listener.
#[derive(Clone)]
pub struct Events {
    listener: Arc<dyn Fn(Event) + Send + Sync>,
    traced_from: Option<Instant>,
    step: Arc<Mutex<Option<String>>>,
    public: Arc<str>,
}

impl Events {
    /// Makes a handle on `listener`. It is called at once for each event, from the task that emits the event.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            listener: Arc::new(listener),
            traced_from: None,
            step: Arc::default(),
            public: Arc::default(),
        }
    }

    /// Returns this handle with `text` as public text: no part of it is a secret.
    #[must_use]
    pub fn with_public(self, text: &str) -> Self {
        Self {
            public: text.into(),
            ..self
        }
    }

    /// Makes a handle that also reports each request, with its time since `began`.
    pub fn traced(began: Instant, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            traced_from: Some(began),
            ..Self::new(listener)
        }
    }

    /// The start of the run, if its requests are traced.
    #[must_use]
    pub fn traced_from(&self) -> Option<Instant> {
        self.traced_from
    }

    /// A handle whose events are dropped.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Passes the event to the listener.
    pub fn emit(&self, event: Event) {
        (self.listener)(event);
    }

    /// Masks a secret that a service sent, unless it is short, or others could have guessed it. It must have 16 or more
    /// characters, all of them allowed in tokens, with capital letters, small letters and digits among them, as tokens
    /// have. It is no public text.
    ///
    /// SECURITY: the runner blanks every job output that contains a masked text. A token server may send a part of a
    /// digest, a tag, the name of an artifact or of a repository as its token. These must not blank the outputs of the
    /// job. Secrets that users give are always masked.
    pub fn mask_sent(&self, secret: &Secret) {
        let text = secret.expose();
        let is_sign = |sign: char| sign.is_ascii_alphanumeric() || TOKEN_SIGNS.contains(sign);
        let is_token = text.len() >= MASKED_MIN_CHARS && text.chars().all(is_sign);
        let has = |kind: fn(&char) -> bool| text.chars().any(|sign| kind(&sign));
        let is_mixed = has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit);
        if is_token && is_mixed && !self.public.contains(text) {
            self.emit(Event::Mask(secret.clone()));
        }
    }

    /// Reports the work that begins now.
    pub fn step(&self, name: impl Into<String>) {
        let name = name.into();
        if let Ok(mut step) = self.step.lock() {
            *step = Some(name.clone());
        }
        self.emit(Event::Step(name));
    }

    /// The work that began last; it says where an interrupted run stopped.
    #[must_use]
    pub fn last_step(&self) -> Option<String> {
        self.step.lock().ok()?.clone()
    }

    /// Reports something that was done or found.
    pub fn info(&self, text: impl Into<String>) {
        self.emit(Event::Info(text.into()));
    }

    /// Reports something that the user should check.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    /// Reports that `what` failed because of `why` and is retried after `wait`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_tokens_of_services_that_are_no_public_text_are_masked() {
        for (text, wanted) in [
            ("sha256", false),
            ("Short-1-of-15-ch", true),
            ("Short-1-of-15-c", false),
            ("Ab1/+~-._=Ab1Ab1", true),
            // A digest, the name of an artifact, a version, a ref, a flag, an identity: others can guess these.
            ("0123456789abcdef0123", false),
            ("record-0123456789abcdef", false),
            ("1.4.2-20260131.5", false),
            ("REFS/HEADS/RELEASE-1", false),
            ("--certificate-github-workflow-sha", false),
            ("Ab1Ab1Ab1Ab1Ab1:", false),
            ("Ab1Ab1Ab1Ab1Ab1 0123456789", false),
            ("Octo-Org/octo-app1", false),
            ("Octo-Org/octo-app12", true),
            ("Ab1Ab1Ab1Ab1Ab1Ab1\nsha256", false),
            ("Ab1Ab1Ab1Ab1Ab1Ab1\rsha256", false),
            ("", false),
        ] {
            let heard = Arc::new(Mutex::new(0));
            let counted = Arc::clone(&heard);
            let events = Events::new(move |_| *counted.lock().unwrap() += 1);
            let events = events.with_public("https://github.com/Octo-Org/octo-app1");
            events.mask_sent(&Secret::new(text));
            assert_eq!(*heard.lock().unwrap() == 1, wanted, "{text:?}");
        }
    }
}
