//! Retries: which errors, how often, and with which waits.

use std::borrow::Borrow;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::error::RegistryErrorKind;
use crate::domain::{Events, RetryPolicy, chain_text};

/// Runs `attempt` until it succeeds, fails for good, or the attempts of `retry_policy` are used up. The attempt must be
/// idempotent.
pub(super) async fn patiently<T, E, Run>(
    retry_policy: RetryPolicy,
    events: &Events,
    what: &str,
    mut attempt: impl FnMut() -> Run,
) -> Result<T, E>
where
    E: Borrow<RegistryErrorKind> + std::error::Error + 'static,
    Run: Future<Output = Result<T, E>>,
{
    let tries = usize::try_from(retry_policy.max_attempts).unwrap_or(usize::MAX);
    let ceilings = ExponentialBuilder::new()
        .with_min_delay(retry_policy.transport_base())
        .with_max_delay(retry_policy.max_delay)
        .with_max_times(tries.saturating_sub(1));
    // Boxed, because the state machine of an attempt is large and is part of several others.
    (|| Box::pin(attempt()))
        .retry(ceilings)
        .when(|failed: &E| failed.borrow().is_transient())
        .adjust(|failed, ceiling| {
            Some(wait(
                ceiling?,
                failed.borrow().retry_after(),
                retry_policy.max_delay,
                fastrand::f64(),
            ))
        })
        .notify(|failed, wait| events.retry(what, chain_text(failed), wait))
        .await
}

/// Returns the wait: full jitter below the exponential `ceiling`, at least as long as the server asks, at most `max`.
fn wait(ceiling: Duration, asked: Option<Duration>, max: Duration, chance: f64) -> Duration {
    ceiling
        .mul_f64(chance)
        .max(asked.unwrap_or_default())
        .min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_not_shorter_than_asked_and_not_longer_than_allowed() {
        let seconds = Duration::from_secs;
        assert_eq!(wait(seconds(4), None, seconds(60), 0.5), seconds(2));
        assert_eq!(
            wait(seconds(4), Some(seconds(9)), seconds(60), 0.5),
            seconds(9)
        );
        assert_eq!(
            wait(seconds(4), Some(seconds(900)), seconds(60), 0.5),
            seconds(60)
        );
        assert_eq!(
            wait(seconds(4), Some(seconds(1)), seconds(60), 0.5),
            seconds(2)
        );
    }
}
