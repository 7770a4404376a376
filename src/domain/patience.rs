//! How long to wait, and how often to try: the retry policy of the inputs, read three ways.

use std::time::Duration;

/// The inputs `max-attempts`, `retry-delay` and `retry-max-delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How many tries there are in all; at least 1.
    pub max_attempts: u32,
    /// The wait between two tries where the world needs time to settle (propagation, the verify gate).
    pub delay: Duration,
    /// No single wait is longer than this.
    pub max_delay: Duration,
}

impl Patience {
    /// First wait of the exponential back-off after a transport fault: one second, or `delay` where that is shorter.
    #[must_use]
    pub fn transport_base(&self) -> Duration {
        self.delay.min(Duration::from_secs(1))
    }

    /// How long Sigstore's services are tried at least: thirty times `delay`, which is 5 minutes by default.
    #[must_use]
    pub fn sigstore_window(&self) -> Duration {
        self.delay * 30
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            delay: Duration::from_secs(10),
            max_delay: Duration::from_mins(1),
        }
    }
}
