//! The retry policy of the inputs: the attempts, and the waits for three kinds of work.

use std::time::Duration;

/// The inputs `max-attempts`, `retry-delay` and `retry-max-delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The number of attempts in all; at least 1.
    pub max_attempts: u32,
    /// The wait between two attempts if a state needs time to settle (propagation, the verify gate).
    pub delay: Duration,
    /// The longest single wait.
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// The first wait of the exponential back-off after a transport error: one second, or `delay` if that is shorter.
    #[must_use]
    pub fn transport_base(&self) -> Duration {
        self.delay.min(Duration::from_secs(1))
    }

    /// The minimum time for retries of requests to Sigstore's services. It is thirty times `delay`, 5 minutes by
    /// default. If `max_delay` is shorter than `delay`, it is thirty times `max_delay`; otherwise it would contain many
    /// short waits.
    #[must_use]
    pub fn sigstore_window(&self) -> Duration {
        self.delay.min(self.max_delay) * 30
    }
}

impl Default for RetryPolicy {
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
        let retry_policy = RetryPolicy {
            max_delay: Duration::ZERO,
            ..RetryPolicy::default()
        };
        assert_eq!(retry_policy.sigstore_window(), Duration::ZERO);
        let usual = RetryPolicy::default().sigstore_window();
        assert_eq!(usual, Duration::from_mins(5));
    }
}
