//! Retries of idempotent work: which failures, how often, and with which waits.

use std::error::Error;
use std::time::{Duration, Instant};

use backon::Retryable as _;

use crate::domain::{Events, RetryPolicy, chain_text};

/// A failure that a retry may fix.
pub trait Transient: Error + 'static {
    /// True if a retry may help.
    fn is_transient(&self) -> bool;

    /// Returns the wait that the server asks for.
    fn retry_after(&self) -> Option<Duration>;
}

/// Runs `attempt` until it succeeds, fails for good, or the limits of `retry_policy` are reached. The attempt must be
/// idempotent. `what` names it in the line for each retry.
pub async fn with_retries<T, E, Run>(
    retry_policy: RetryPolicy,
    events: &Events,
    what: &str,
    mut attempt: impl FnMut() -> Run,
) -> Result<T, E>
where
    E: Transient,
    Run: Future<Output = Result<T, E>>,
{
    // Boxed, because the state machine of an attempt is large and is part of several others.
    (|| Box::pin(attempt()))
        .retry(Ceilings::new(retry_policy, Instant::now()))
        .when(E::is_transient)
        .adjust(|failure, ceiling| {
            let asked = failure.retry_after();
            Some(wait(
                ceiling?,
                asked,
                retry_policy.max_delay,
                fastrand::f64(),
            ))
        })
        .notify(|failure, wait| events.retry(what, chain_text(failure), wait))
        .await
}

/// Returns the wait: full jitter below the exponential `ceiling`, at least as long as the server asks, at most `max`.
fn wait(ceiling: Duration, asked: Option<Duration>, max: Duration, chance: f64) -> Duration {
    ceiling
        .mul_f64(chance)
        .max(asked.unwrap_or_default())
        .min(max)
}

/// The exponential ceilings of the waits. They end once there were enough attempts and enough time has passed.
#[derive(Debug)]
struct Ceilings {
    next: Duration,
    max: Duration,
    retries_left: u32,
    began: Instant,
    at_least: Duration,
}

impl Ceilings {
    fn new(retry_policy: RetryPolicy, began: Instant) -> Self {
        Self {
            next: retry_policy.transport_base(),
            max: retry_policy.max_delay,
            retries_left: retry_policy.max_attempts.saturating_sub(1),
            began,
            at_least: retry_policy.at_least,
        }
    }
}

impl Iterator for Ceilings {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.retries_left == 0 && self.began.elapsed() >= self.at_least {
            return None;
        }
        self.retries_left = self.retries_left.saturating_sub(1);
        let ceiling = self.next.min(self.max);
        self.next = ceiling.saturating_mul(2);
        Some(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(max_attempts: u32, at_least: Duration) -> RetryPolicy {
        RetryPolicy {
            max_attempts,
            at_least,
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn wait_is_not_shorter_than_asked_and_not_longer_than_allowed() {
        let seconds = Duration::from_secs;
        for (asked, wanted) in [(None, 2), (Some(1), 2), (Some(9), 9), (Some(900), 60)] {
            let waited = wait(seconds(4), asked.map(seconds), seconds(60), 0.5);
            assert_eq!(waited, seconds(wanted), "{asked:?}");
        }
        assert_eq!(wait(seconds(4), None, seconds(60), 0.0), Duration::ZERO);
    }

    #[test]
    fn ceilings_double_up_to_the_longest_wait() {
        let ceilings = Ceilings::new(policy(9, Duration::ZERO), Instant::now());
        let seconds: Vec<_> = ceilings.map(|ceiling| ceiling.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn attempts_end_with_both_their_number_and_their_time() {
        let hour = Duration::from_hours(1);
        let now = Instant::now();
        let long_ago = now.checked_sub(hour).unwrap();
        let retries = |attempts, at_least, began| {
            Ceilings::new(policy(attempts, at_least), began)
                .take(50)
                .count()
        };
        assert_eq!(retries(5, Duration::ZERO, now), 4);
        assert_eq!(retries(1, Duration::ZERO, now), 0);
        assert_eq!(retries(1, hour, now), 50);
        assert_eq!(retries(5, hour, long_ago), 4);
        assert_eq!(retries(1, hour, long_ago), 0);
    }
}
