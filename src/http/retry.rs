//! Retries of idempotent work: which failures, how often, and with which waits.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
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
    attempt: impl FnMut() -> Run,
) -> Result<T, E>
where
    E: Transient,
    Run: Future<Output = Result<T, E>>,
{
    with_progress(retry_policy, events, what, &AtomicU64::new(0), attempt).await
}

/// Like [`with_retries`], for an attempt that continues the one before. Attempts and waits start anew whenever
/// `progress` has grown: long work meets more faults than short work.
pub async fn with_progress<T, E, Run>(
    retry_policy: RetryPolicy,
    events: &Events,
    what: &str,
    progress: &AtomicU64,
    mut attempt: impl FnMut() -> Run,
) -> Result<T, E>
where
    E: Transient,
    Run: Future<Output = Result<T, E>>,
{
    // Boxed, because the state machine of an attempt is large and is part of several others.
    (|| Box::pin(attempt()))
        .retry(Ceilings::new(retry_policy, progress, Instant::now()))
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

/// The exponential ceilings of the waits. They end once there were enough attempts without progress and enough time has
/// passed.
#[derive(Debug)]
struct Ceilings<'a> {
    retry_policy: RetryPolicy,
    progress: &'a AtomicU64,
    /// The most progress so far.
    reached: u64,
    next: Duration,
    retries_left: u32,
    began: Instant,
}

impl<'a> Ceilings<'a> {
    fn new(retry_policy: RetryPolicy, progress: &'a AtomicU64, began: Instant) -> Self {
        Self {
            retry_policy,
            reached: progress.load(Ordering::Relaxed),
            progress,
            next: retry_policy.transport_base(),
            retries_left: retry_policy.max_attempts.saturating_sub(1),
            began,
        }
    }
}

impl Iterator for Ceilings<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let policy = self.retry_policy;
        let progress = self.progress.load(Ordering::Relaxed);
        if progress > self.reached {
            self.reached = progress;
            self.next = policy.transport_base();
            self.retries_left = policy.max_attempts.saturating_sub(1);
        }
        if self.retries_left == 0 && self.began.elapsed() >= policy.at_least {
            return None;
        }
        self.retries_left = self.retries_left.saturating_sub(1);
        let ceiling = self.next.min(policy.max_delay);
        self.next = ceiling.saturating_mul(2);
        Some(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NONE: AtomicU64 = AtomicU64::new(0);

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
        let ceilings = Ceilings::new(policy(9, Duration::ZERO), &NONE, Instant::now());
        let seconds: Vec<_> = ceilings.map(|ceiling| ceiling.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn attempts_end_with_both_their_number_and_their_time() {
        let hour = Duration::from_hours(1);
        let now = Instant::now();
        let long_ago = now.checked_sub(hour).unwrap();
        let retries = |attempts, at_least, began| {
            Ceilings::new(policy(attempts, at_least), &NONE, began)
                .take(50)
                .count()
        };
        assert_eq!(retries(5, Duration::ZERO, now), 4);
        assert_eq!(retries(1, Duration::ZERO, now), 0);
        assert_eq!(retries(1, hour, now), 50);
        assert_eq!(retries(5, hour, long_ago), 4);
        assert_eq!(retries(1, hour, long_ago), 0);
    }

    #[test]
    fn progress_starts_attempts_and_waits_anew() {
        let progress = AtomicU64::new(0);
        let policy = policy(3, Duration::ZERO);
        let mut ceilings = Ceilings::new(policy, &progress, Instant::now());
        let mut seconds = || ceilings.next().map(|ceiling| ceiling.as_secs());
        assert_eq!([seconds(), seconds()], [Some(1), Some(2)]);
        progress.store(1, Ordering::Relaxed);
        assert_eq!([seconds(), seconds()], [Some(1), Some(2)]);
        // Less than before is no progress.
        progress.store(0, Ordering::Relaxed);
        assert_eq!(seconds(), None);
        // Nothing is tried again if the user wants one attempt.
        let once = RetryPolicy {
            max_attempts: 1,
            ..policy
        };
        let mut ceilings = Ceilings::new(once, &progress, Instant::now());
        progress.store(2, Ordering::Relaxed);
        assert_eq!(ceilings.next(), None);
    }
}
