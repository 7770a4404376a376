//! The parts of the context that read: registry reader, retry policy, events and limits. Code that holds nothing else
//! changes nothing.

use std::future::Future;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::{Events, FullTag, RetryPolicy, TagContent};
use crate::registry::{REQUESTS_MAX, RegistryError, RegistryReader, is_placeholder};

/// The maximum number of concurrent tasks of one step, as many as a host may get requests at once.
pub(crate) const REQUESTS_PARALLEL: usize = REQUESTS_MAX;
/// The maximum depth of nested indexes.
pub(crate) const DEPTH_MAX: usize = 4;
/// The maximum number of manifests in one index, at all depths.
pub(crate) const TOTAL_MAX: usize = 1000;

/// The dependencies of steps that only read.
#[derive(Debug)]
pub struct ReadContext {
    /// The registry client, which cannot write.
    pub registry: RegistryReader,
    /// The retry policy.
    pub retry_policy: RetryPolicy,
    /// The receiver of the run's events.
    pub events: Events,
    /// The permit to keep a long list in memory, so many long lists take no more memory than one.
    pub(crate) long_lists: LongLists,
}

/// A semaphore with one permit: only one long list is in memory at a time.
#[derive(Debug)]
pub(crate) struct LongLists(Semaphore);

impl Default for LongLists {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl LongLists {
    /// Waits for the permit. A task that has it must not request it again.
    pub(crate) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so this always succeeds.
        self.0.acquire().await.ok()
    }
}

impl ReadContext {
    /// Reads the content of a tag. A tag that a cleanup was deleting when it was cut short counts as absent.
    pub(crate) async fn tagged(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        let content = self.registry.tag_content(tag).await?;
        Ok(content.filter(|content| !is_placeholder(content.digest())))
    }

    /// Calls `read` until it finds something or the tries are used up. An error ends the calls at once: the registry
    /// client has already retried what can be retried.
    pub(crate) async fn until_present<T, E, F>(
        &self,
        what: &str,
        read: impl Fn() -> F,
    ) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        for attempt in 1..=self.retry_policy.max_attempts {
            if let Some(found) = read().await? {
                return Ok(Some(found));
            }
            if attempt < self.retry_policy.max_attempts {
                self.pause(what, "it is not visible yet").await;
            }
        }
        Ok(None)
    }

    /// Waits for the delay of the retry policy, plus or minus a tenth, so parallel jobs retry at different times.
    pub(crate) async fn pause(&self, what: &str, why: &str) {
        let wait = self
            .retry_policy
            .delay
            .mul_f64(0.9 + 0.2 * fastrand::f64())
            .min(self.retry_policy.max_delay);
        self.events.retry(what, why, wait);
        tokio::time::sleep(wait).await;
    }
}
