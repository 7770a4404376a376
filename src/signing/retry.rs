//! The retry policy for Sigstore's services: which failures are retried, for how long, and with which waits.

use std::error::Error;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::domain::{Events, RetryPolicy, chain_text};

use super::error::{SigstoreError, SigstoreErrorKind};

/// A failure that may be temporary.
pub(super) trait Passing: Error {
    /// True if a retry may help.
    fn may_pass(&self) -> bool;
    /// The wait that the service asked for.
    fn asked_wait(&self) -> Option<Duration>;
}

impl Passing for SigstoreErrorKind {
    fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            // A request that could not even be made would fail again.
            Self::Transport { source, .. } => !source.is_lasting(),
            Self::NotYet { .. } => true,
            Self::Address { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. } => false,
        }
    }

    fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Address { .. }
            | Self::Transport { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. }
            | Self::CertificateEnds { .. }
            | Self::NotYet { .. } => None,
        }
    }
}

impl Passing for SigstoreError {
    // Only the request for a certificate includes another one, for a token, which has had its own retries.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Certificate(fault) if fault.may_pass())
    }

    fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Certificate(fault) => fault.asked_wait(),
            Self::Token(_)
            | Self::TokenUnreadable(_)
            | Self::TokenExpired { .. }
            | Self::Log(_)
            | Self::Timestamp(_)
            | Self::Key(_)
            | Self::Trust(_)
            | Self::SelfCheck(_) => None,
        }
    }
}

/// Retries failures that may be temporary.
#[derive(Debug, Clone)]
pub(super) struct ServiceRetryPolicy {
    retry_policy: RetryPolicy,
    window: Duration,
    events: Events,
}

impl ServiceRetryPolicy {
    /// Makes the policy for the services that sign: at least `max_attempts` attempts, and at least Sigstore's window.
    pub(super) fn of_signing(retry_policy: RetryPolicy, events: &Events) -> Self {
        Self {
            retry_policy,
            window: retry_policy.sigstore_window(),
            events: events.clone(),
        }
    }

    /// Makes the policy for requests with a substitute (the TUF cache): `max_attempts` attempts.
    pub(super) fn of_transport(retry_policy: RetryPolicy, events: &Events) -> Self {
        Self {
            retry_policy,
            window: Duration::ZERO,
            events: events.clone(),
        }
    }

    /// The handle that reports retries.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Runs `attempt` until it succeeds, fails permanently, or the policy's limits are reached. `what` names it in the
    /// line for each retry.
    pub(super) async fn run<T, E, F, A>(&self, what: &str, mut attempt: A) -> Result<T, E>
    where
        E: Passing + 'static,
        F: Future<Output = Result<T, E>>,
        A: FnMut() -> F,
    {
        let started = Instant::now();
        let mut tries = 0_u32;
        loop {
            let failure = match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            tries = tries.saturating_add(1);
            let enough =
                tries >= self.retry_policy.max_attempts && started.elapsed() >= self.window;
            if !failure.may_pass() || enough {
                return Err(failure);
            }
            let wait = self.wait(tries, failure.asked_wait(), fastrand::f64());
            self.events.retry(what, chain_text(&failure), wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Computes the wait: exponential with full jitter (`share` of it, from 0 to 1), or the wait that the service asked
    /// for. It is never longer than the ceiling.
    fn wait(&self, tries: u32, asked: Option<Duration>, share: f64) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        let ceiling = self.retry_policy.max_delay;
        let full = self
            .retry_policy
            .transport_base()
            .saturating_mul(1 << doublings);
        full.min(ceiling)
            .mul_f64(share)
            .max(asked.unwrap_or_default().min(ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_honour_what_was_asked() {
        let persistence = ServiceRetryPolicy::of_signing(RetryPolicy::default(), &Events::silent());
        let waits: Vec<_> = (1..=8)
            .map(|tries| persistence.wait(tries, None, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(persistence.wait(1, None, 0.0), Duration::ZERO);
        let asked = |seconds| {
            persistence
                .wait(1, Some(Duration::from_secs(seconds)), 1.0)
                .as_secs()
        };
        assert_eq!((asked(0), asked(7), asked(3600)), (1, 7, 60));
        assert_eq!(persistence.wait(u32::MAX, None, 1.0).as_secs(), 60);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status| SigstoreErrorKind::Status {
            url: String::new(),
            status,
            message: String::new(),
            retry_after: None,
        };
        for passing in [408, 429, 500, 502, 503, 504] {
            assert!(status(passing).may_pass(), "{passing}");
        }
        for lasting in [301, 307, 400, 401, 403, 404, 409, 422] {
            assert!(!status(lasting).may_pass(), "{lasting}");
        }
    }
}
