//! Results of reads that several tasks share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::OnceCell;

/// Results of reads by key. Each is read once, also if several tasks need it at the same time.
pub(super) struct ReadOnce<K, T>(RefCell<BTreeMap<K, Rc<OnceCell<T>>>>);

impl<K, T> Default for ReadOnce<K, T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Ord + Clone, T: Clone> ReadOnce<K, T> {
    /// Returns the result for `key`. A read that fails is repeated by the next task that needs the result.
    pub(super) async fn get<E>(
        &self,
        key: &K,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let result = Rc::clone(self.0.borrow_mut().entry(key.clone()).or_default());
        result.get_or_try_init(|| read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn each_key_is_read_once_unless_that_fails() {
        let (reads, once) = (Cell::new(0), ReadOnce::default());
        let read = async |key: &'static str| {
            let read = async {
                reads.set(reads.get() + 1);
                let is_first = reads.get() == 1;
                tokio::task::yield_now().await;
                if is_first { Err("lost") } else { Ok(key) }
            };
            once.get(&key, read).await
        };
        let results = join_all(["a", "a", "a", "b"].map(read)).await;
        // The first read of the first key failed.
        assert_eq!(reads.get(), 3);
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        assert_eq!(results.last(), Some(&Ok("b")));
    }
}
