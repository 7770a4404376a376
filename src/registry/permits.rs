//! Permits for requests to one host: as many as its [`RequestLimit`] allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error_response::ErrorResponse;
use super::request_limit::{Decrease, Epoch, Observation, RequestLimit};
use crate::domain::{Event, Events, LimitTrace};
use crate::http::Response;

/// The number of large bodies that are read at once.
pub(super) const LARGE_AT_ONCE: u32 = 2;

/// The permits of one host: for requests, and among them for large bodies.
#[derive(Debug)]
pub(super) struct HostPermits {
    host: String,
    events: Events,
    state: Mutex<PermitState>,
    requests: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct PermitState {
    limit: RequestLimit,
    /// The number of permits that exist, in use or not. After a decrease it exceeds the limit until requests end.
    existing: usize,
}

/// A permit to have a request in flight.
#[derive(Debug)]
pub(super) struct Permit {
    host: Arc<HostPermits>,
    /// Present until this is dropped.
    request: Option<OwnedSemaphorePermit>,
    sent_in: Epoch,
    sent_at: Instant,
}

impl HostPermits {
    /// Creates the permits for `host`. Decreases of the limit are traced.
    pub(super) fn new(host: String, events: Events) -> Self {
        let limit = RequestLimit::default();
        let existing = limit.limit();
        Self {
            host,
            events,
            state: Mutex::new(PermitState { limit, existing }),
            requests: Arc::new(Semaphore::new(existing)),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE as usize)),
        }
    }

    /// Waits for a permit. A request with it must be sent at once.
    pub(super) async fn permit(self: Arc<Self>) -> Permit {
        // The semaphore is never closed, so this always waits for a permit.
        let request = Arc::clone(&self.requests).acquire_owned().await.ok();
        let sent_in = self.state().limit.epoch();
        Permit {
            host: self,
            request,
            sent_in,
            sent_at: Instant::now(),
        }
    }

    fn observe(&self, sent_in: Epoch, observation: Observation) {
        let mut state = self.state();
        let decrease = state.limit.observe(sent_in, observation);
        let limit = state.limit.limit();
        let excess = state.existing.saturating_sub(limit);
        state.existing -= self.requests.forget_permits(excess);
        let missing = limit.saturating_sub(state.existing);
        state.existing += missing;
        drop(state);
        self.requests.add_permits(missing);
        if let (Some(why), Some(began)) = (decrease, self.events.traced_from()) {
            self.events.emit(Event::Limit(LimitTrace {
                time: began.elapsed(),
                host: self.host.clone(),
                limit,
                why: match why {
                    Decrease::Throttled => "it throttles requests",
                    Decrease::Slow => "it answers more slowly",
                },
            }));
        }
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Returns the time since the request was sent.
    pub(super) fn elapsed(&self) -> Duration {
        self.sent_at.elapsed()
    }

    /// Notes the response to the request, whose head arrived after `duration`.
    pub(super) fn observe(&self, method: &Method, response: &Response, duration: Duration) {
        let is_throttled = !response.status.is_success()
            && (response.status == 503 || ErrorResponse::of(response).is_throttling());
        let observation = if is_throttled {
            Observation::Throttled
        } else {
            Observation::Answered {
                method: method.clone(),
                duration,
                is_full: self.host.requests.available_permits() == 0,
            }
        };
        self.host.observe(self.sent_in, observation);
    }

    /// Waits for `count` of the permits for large bodies.
    pub(super) async fn large(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        let large = Arc::clone(&self.host.large);
        large.acquire_many_owned(count).await.ok()
    }
}

/// Ends the permit, instead of returning it, if there are more than the limit.
impl Drop for Permit {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let mut state = self.host.state();
        if state.existing > state.limit.limit() {
            state.existing -= 1;
            request.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::super::request_limit::{REQUESTS_MAX, START};
    use super::*;

    async fn permits(host: &Arc<HostPermits>, count: usize) -> Vec<Permit> {
        join_all((0..count).map(|_| Arc::clone(host).permit())).await
    }

    fn is_full(host: &Arc<HostPermits>) -> bool {
        Arc::clone(host).permit().now_or_never().is_none()
    }

    fn host() -> Arc<HostPermits> {
        let host = HostPermits::new("registry.test".to_owned(), Events::silent());
        Arc::new(host)
    }

    #[tokio::test]
    async fn permits_grow_with_the_limit() {
        let host = host();
        let mut open = permits(&host, START).await;
        assert!(is_full(&host));
        for number in START..REQUESTS_MAX {
            while host.state().limit.limit() == number {
                let observation = Observation::Answered {
                    method: Method::GET,
                    duration: Duration::ZERO,
                    is_full: true,
                };
                host.observe(open[0].sent_in, observation);
            }
            open.extend(permits(&host, 1).await);
            assert!(is_full(&host), "{number}");
        }
    }

    #[tokio::test]
    async fn permits_in_use_end_until_they_are_as_few_as_the_limit() {
        let host = host();
        let mut open = permits(&host, START).await;
        open.pop();
        host.observe(open[0].sent_in, Observation::Throttled);
        // One was free and three in use are too many.
        assert_eq!(host.state().existing, START - 1);
        while open.len() > START / 2 - 1 {
            assert!(is_full(&host), "{}", open.len());
            open.pop();
        }
        assert!(!is_full(&host));
        assert_eq!(host.state().existing, START / 2);
        drop(open);
        assert_eq!(host.requests.available_permits(), START / 2);
    }
}
