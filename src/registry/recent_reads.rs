//! Manifests and small blobs of a source that several destinations need: the first destination reads them for all.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tokio::sync::OnceCell;

use crate::domain::{Digest, Repository};

/// Content by its source. A source provides nothing that only another one has, so both are the key.
type Key = (Repository, Digest);

/// The content that is being read, and the latest that was. Older content is forgotten: who needs it reads it again.
#[derive(Debug)]
pub(super) struct RecentReads<T> {
    /// The most bytes that are kept for destinations that need them later than others.
    most: usize,
    size: fn(&T) -> usize,
    reads: RefCell<BTreeMap<Key, Rc<OnceCell<Option<T>>>>>,
    kept: RefCell<Kept>,
}

/// The content that is kept, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    sizes: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl<T: Clone> RecentReads<T> {
    /// Prepares reads of which at most this many bytes are kept, measured by `size`.
    pub(super) fn keeping(most: usize, size: fn(&T) -> usize) -> Self {
        Self {
            most,
            size,
            reads: RefCell::default(),
            kept: RefCell::default(),
        }
    }

    /// Returns content that another destination reads, or has just read, or else reads it. An error or absence is an answer
    /// for one destination alone: those that waited for it read all at once, and each tries again by itself.
    pub(super) async fn get<E>(
        &self,
        from: &Repository,
        digest: &Digest,
        read: impl AsyncFn() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let key = (from.clone(), digest.clone());
        let cell = Rc::clone(self.reads.borrow_mut().entry(key.clone()).or_default());
        let mut own = None;
        let first = cell.get_or_init(async || {
            let result = read().await;
            let content = result.as_ref().ok().cloned().flatten();
            self.note(&key, content.as_ref());
            own = Some(result);
            content
        });
        let found = first.await.clone();
        match (own, found) {
            (Some(own), _) => own,
            (None, Some(content)) => Ok(Some(content)),
            (None, None) => read().await,
        }
    }

    /// Keeps content that was read, instead of older content. Forgets a read that found none.
    fn note(&self, key: &Key, content: Option<&T>) {
        let mut reads = self.reads.borrow_mut();
        let Some(content) = content else {
            reads.remove(key);
            return;
        };
        let mut kept = self.kept.borrow_mut();
        let size = (self.size)(content);
        kept.bytes += size;
        kept.sizes.push_back((key.clone(), size));
        while kept.bytes > self.most
            && let Some((oldest, size)) = kept.sizes.pop_front()
        {
            kept.bytes -= size;
            reads.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::*;
    use crate::domain::Algorithm;

    const MOST: usize = 3000;

    fn new() -> RecentReads<Bytes> {
        RecentReads::keeping(MOST, Bytes::len)
    }

    fn repository(name: &str) -> Repository {
        format!("example.com/{name}").parse().unwrap()
    }

    fn digest(number: usize) -> Digest {
        Algorithm::Sha256.digest(&number.to_le_bytes())
    }

    /// Counts the reads of content of this size, among those for several destinations at once.
    async fn reads_of(once: &RecentReads<Bytes>, number: usize, size: usize) -> usize {
        let reads = Cell::new(0);
        let read = async || {
            reads.set(reads.get() + 1);
            tokio::task::yield_now().await;
            Ok::<_, ()>(Some(Bytes::from(vec![0; size])))
        };
        let (from, digest) = (repository("a"), digest(number));
        let found = join_all((0..3).map(|_| once.get(&from, &digest, read))).await;
        let is_found = |found: &Result<Option<Bytes>, ()>| found.as_ref().unwrap().is_some();
        assert!(found.iter().all(is_found));
        reads.get()
    }

    #[tokio::test]
    async fn first_destination_reads_for_all_and_old_content_is_forgotten() {
        let once = new();
        let third = MOST / 3;
        for number in 0..3 {
            assert_eq!(reads_of(&once, number, third).await, 1);
            assert_eq!(reads_of(&once, 0, third).await, 0);
        }
        assert_eq!(reads_of(&once, 3, third).await, 1);
        assert_eq!(once.reads.borrow().len(), 3);
        assert_eq!(reads_of(&once, 0, third).await, 1);
        // Larger content is read once for those that ask at the same time, and not kept.
        assert_eq!(reads_of(&once, 4, MOST + 1).await, 1);
        assert_eq!(once.reads.borrow().len(), 0);
        assert_eq!(once.kept.borrow().bytes, 0);
    }

    #[tokio::test]
    async fn error_and_absence_are_no_answer_for_others() {
        let once = new();
        let answers = RefCell::new(VecDeque::from([
            Err("busy"),
            Ok(None),
            Ok(Some(Bytes::from_static(b"content"))),
        ]));
        let read = async || {
            tokio::task::yield_now().await;
            answers.borrow_mut().pop_front().unwrap()
        };
        let (from, digest) = (repository("a"), digest(1));
        let found = join_all((0..3).map(|_| once.get(&from, &digest, read))).await;
        let content = Some(Bytes::from_static(b"content"));
        assert_eq!(found, [Err("busy"), Ok(None), Ok(content)]);
        assert!(once.reads.borrow().is_empty());
    }

    #[tokio::test]
    async fn content_of_one_source_is_not_content_of_another() {
        let once = new();
        let there = async || Ok::<_, ()>(Some(Bytes::from_static(b"content")));
        let absent = async || Ok::<_, ()>(None);
        let digest = digest(1);
        let found = once.get(&repository("a"), &digest, there).await.unwrap();
        assert!(found.is_some());
        let found = once.get(&repository("b"), &digest, absent).await.unwrap();
        assert!(found.is_none());
    }
}
