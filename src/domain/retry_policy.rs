//! The retry policy: the attempts, the time that they last, and the waits between them.

use std::time::Duration;

/// The inputs `max-attempts`, `retry-delay`, `retry-max-delay` and `propagation`, and the least time for retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The least number of attempts; at least 1.
    pub max_attempts: u32,
    /// The wait between two attempts if a state needs time to settle (propagation, the verify gate).
    pub delay: Duration,
    /// The longest single wait.
    pub max_delay: Duration,
    /// The least time for attempts. Zero leaves it to their number.
    pub at_least: Duration,
    /// The time for which an absent list of referrers is read again before a new one is begun. GHCR shows a list that
    /// another client wrote only after seconds.
    pub propagation: Duration,
}

impl RetryPolicy {
    /// The first wait of the exponential back-off after a transport error: one second, or `delay` if that is shorter.
    #[must_use]
    pub fn transport_base(&self) -> Duration {
        self.delay.min(Duration::from_secs(1))
    }

    /// Returns the policy for the services that sign. Attempts last at least thirty times `delay`, 5 minutes by default.
    /// If `max_delay` is shorter than `delay`, it is thirty times `max_delay`; otherwise that time would contain many
    /// short waits.
    #[must_use]
    pub fn for_signing(self) -> Self {
        Self {
            at_least: self.delay.min(self.max_delay) * 30,
            ..self
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            delay: Duration::from_secs(10),
            max_delay: Duration::from_mins(1),
            at_least: Duration::ZERO,
            propagation: Duration::from_secs(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_without_waits_has_no_length() {
        let retry_policy = RetryPolicy {
            max_delay: Duration::ZERO,
            ..RetryPolicy::default()
        };
        assert_eq!(retry_policy.for_signing().at_least, Duration::ZERO);
        let usual = RetryPolicy::default().for_signing().at_least;
        assert_eq!(usual, Duration::from_mins(5));
    }
}
