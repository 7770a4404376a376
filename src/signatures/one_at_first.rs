//! Reads candidates in order, one at first. Most often the first one counts, and the others need not be read.

use std::future::Future;

use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt as _};

use crate::context::REQUESTS_PARALLEL;

/// Runs `futures`, and returns their results in order. One runs at first, and one more at once with each result that the
/// caller takes.
pub(super) fn one_at_first<F: Future>(
    futures: impl Iterator<Item = F>,
) -> impl Stream<Item = F::Output> {
    let start = (futures, FuturesOrdered::new(), 1);
    stream::unfold(start, async |(mut futures, mut running, most)| {
        while running.len() < most
            && let Some(next) = futures.next()
        {
            running.push_back(next);
        }
        let result = running.next().await?;
        Some((result, (futures, running, REQUESTS_PARALLEL.min(most + 1))))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn more_run_at_once_with_each_result() {
        let (begun, most) = (Cell::new(0), Cell::new(0));
        let futures = (0..100_usize).map(|number| {
            let (begun, most) = (&begun, &most);
            async move {
                begun.set(begun.get() + 1);
                tokio::task::yield_now().await;
                most.set(most.get().max(begun.get() - number));
                number
            }
        });
        let mut results = pin!(one_at_first(futures));
        assert_eq!(results.next().await, Some(0));
        assert_eq!(begun.get(), 1);
        let rest: Vec<usize> = results.collect().await;
        assert_eq!(rest, (1..100).collect::<Vec<_>>());
        assert_eq!(most.get(), REQUESTS_PARALLEL);
    }
}
