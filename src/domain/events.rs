//! What a run says while it runs. Rooms emit events; one listener at the edge decides how they look.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{RequestTrace, Secret};

/// The shortest text of a service's that is masked.
const MASKED_MIN_CHARS: usize = 16;
/// The digits of a digest.
const HEX_MAX_CHARS: usize = 64;
/// The characters of a token beside letters and digits. Source: RFC 6750, section 2.1.
const TOKEN_SIGNS: &str = "-._~+/=";

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
    /// A request has ended; told only where the run is traced.
    Request(RequestTrace),
}

/// A handle on the run's one listener. Clones are cheap and speak to the same listener.
#[derive(Clone)]
pub struct Events {
    listener: Arc<dyn Fn(Event) + Send + Sync>,
    traced_from: Option<Instant>,
    phase: Arc<Mutex<Option<String>>>,
    public: Arc<str>,
}

impl Events {
    /// Makes a handle on `listener`, which is called at once for each event, from whichever task it happens in.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            listener: Arc::new(listener),
            traced_from: None,
            phase: Arc::default(),
            public: Arc::default(),
        }
    }

    /// The same where `text` is known to everybody, and nothing of it is a secret.
    #[must_use]
    pub fn with_public(self, text: &str) -> Self {
        Self {
            public: text.into(),
            ..self
        }
    }

    /// The same where each request is told of as well, with its time since `began`.
    pub fn traced(began: Instant, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            traced_from: Some(began),
            ..Self::new(listener)
        }
    }

    /// When the run began, if its requests are to be told of.
    #[must_use]
    pub fn traced_from(&self) -> Option<Instant> {
        self.traced_from
    }

    /// A handle whose events nobody hears.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Tells the listener.
    pub fn emit(&self, event: Event) {
        (self.listener)(event);
    }

    /// Masks a secret that a service sent, if it is of 16 or more characters that tokens have, and no public text.
    ///
    /// SECURITY: the runner blanks every job output that holds a masked text. A token server whose token is `sha256`, a part
    /// of a digest, or the name of a repository must not blank the outputs of the run. What users give is masked whatever it is.
    pub fn mask_sent(&self, secret: &Secret) {
        let text = secret.expose();
        let is_sign = |sign: char| sign.is_ascii_alphanumeric() || TOKEN_SIGNS.contains(sign);
        let is_token = text.len() >= MASKED_MIN_CHARS && text.chars().all(is_sign);
        let is_hex = text.chars().all(|digit| digit.is_ascii_hexdigit());
        let is_digest = is_hex && text.len() <= HEX_MAX_CHARS;
        if is_token && !is_digest && !self.public.contains(text) {
            self.emit(Event::Mask(secret.clone()));
        }
    }

    /// Tells which work begins now.
    pub fn phase(&self, name: impl Into<String>) {
        let name = name.into();
        if let Ok(mut phase) = self.phase.lock() {
            *phase = Some(name.clone());
        }
        self.emit(Event::Phase(name));
    }

    /// The work that began last: where a run was that is cut short.
    #[must_use]
    pub fn last_phase(&self) -> Option<String> {
        self.phase.lock().ok()?.clone()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_tokens_of_services_that_are_no_public_text_are_masked() {
        for (text, wanted) in [
            ("sha256", false),
            ("ghcr.io/octo/ap", false),
            ("0123456789abcdeg", true),
            ("0123456789abcdeg/+~-._=", true),
            ("0123456789abcdef", false),
            ("0123456789abcdef:", false),
            ("0123456789abcdeg 0123456789", false),
            ("octo-org/octo-app", false),
            ("octo-org/octo-apple", true),
            ("0123456789abcdef\nsha256", false),
            ("0123456789abcdef\rsha256", false),
            ("", false),
        ] {
            let heard = Arc::new(Mutex::new(0));
            let counted = Arc::clone(&heard);
            let events = Events::new(move |_| *counted.lock().unwrap() += 1);
            let events = events.with_public("https://github.com/octo-org/octo-app");
            events.mask_sent(&Secret::new(text));
            assert_eq!(*heard.lock().unwrap() == 1, wanted, "{text:?}");
        }
    }
}
