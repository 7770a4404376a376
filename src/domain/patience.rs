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

    /// How long Sigstore's services are tried at least: thirty times `delay`, which is 5 minutes by default; where no wait
    /// may be as long as `delay`, thirty of the longest, or many short ones would be in it.
    #[must_use]
    pub fn sigstore_window(&self) -> Duration {
        self.delay.min(self.max_delay) * 30
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_without_waits_has_no_length() {
        let patience = Patience {
            max_delay: Duration::ZERO,
            ..Patience::default()
        };
        assert_eq!(patience.sigstore_window(), Duration::ZERO);
        let usual = Patience::default().sigstore_window();
        assert_eq!(usual, Duration::from_mins(5));
    }
}
