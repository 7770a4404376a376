//! Reads a large blob once for all destinations that lack it. One task reads the source and passes each part on to every
//! destination. The slowest one sets the pace, within a limit; whoever does not keep up, or comes late, reads alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, timeout, timeout_at};

use super::blob_source::BlobSource;
use super::error::RegistryErrorKind;
use super::large_uploads::{LargeUploads, Memory, Slot};
use super::sender::RequestSender;
use super::shared_parts::{ReadPart, SharedParts};
use super::stream::Stream;
use super::uploads::SINGLE_POST_MAX_BYTES;
use crate::domain::{Descriptor, Digest, Host, Repository};

/// The size of the largest part that is passed on at once.
const PART_MAX_BYTES: usize = 64 * 1024;
/// The number of parts that may wait for one destination. All destinations share the memory of a part.
const PARTS_WAITING: usize = 4;
/// The longest time for which a destination that takes no part holds up the others.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time for which a read waits for destinations that have not said whether they lack the blob.
const GATHERING: Duration = Duration::from_secs(5);

/// The reads of one source that several destinations share.
#[derive(Debug)]
pub struct SharedReads {
    /// The destinations that may still take part.
    active: RefCell<BTreeSet<usize>>,
    reads: RefCell<BTreeMap<Digest, Rc<SharedRead>>>,
}

/// The part of one destination in the shared reads. While it exists, the reads wait for its decisions.
#[derive(Debug)]
pub struct SharingDestination<'a> {
    reads: &'a SharedReads,
    number: usize,
}

/// The place of one destination in the read of one blob. If it is dropped, the others no longer wait for this one.
#[derive(Debug)]
pub struct ReadPlace<'a> {
    reads: &'a SharedReads,
    read: Rc<SharedRead>,
    number: usize,
}

/// The read of one blob.
#[derive(Debug, Default)]
struct SharedRead {
    /// The destinations that have decided whether they take part.
    decided: RefCell<BTreeSet<usize>>,
    /// The hosts of those that do.
    members: RefCell<BTreeMap<usize, Host>>,
    changed: Notify,
    gathered: OnceCell<Gathered>,
    opened: OnceCell<Repository>,
    streams: RefCell<BTreeMap<usize, Stream>>,
}

/// The destinations of a read, once each of them may send.
#[derive(Debug)]
struct Gathered {
    slots: RefCell<BTreeMap<usize, Slot>>,
    memory: RefCell<Memory>,
}

impl SharedReads {
    /// Prepares the reads for this number of destinations.
    #[must_use]
    pub fn among(destinations: usize) -> Self {
        Self {
            active: RefCell::new((0..destinations).collect()),
            reads: RefCell::default(),
        }
    }

    /// Returns the part of the destination with this number, from 0 on.
    #[must_use]
    pub fn destination(&self, number: usize) -> SharingDestination<'_> {
        SharingDestination {
            reads: self,
            number,
        }
    }

    /// True if every destination has decided whether it takes part.
    fn is_complete(&self, read: &SharedRead) -> bool {
        self.active.borrow().is_subset(&read.decided.borrow())
    }
}

impl SharingDestination<'_> {
    /// Returns the place in the read of `blob`, or `None` if it is read alone: it is small, or nobody shares it.
    pub fn place(&self, blob: &Descriptor) -> Option<ReadPlace<'_>> {
        if blob.size <= SINGLE_POST_MAX_BYTES || self.reads.active.borrow().len() < 2 {
            return None;
        }
        let mut reads = self.reads.reads.borrow_mut();
        let read = reads.entry(blob.digest.clone()).or_default();
        Some(ReadPlace {
            reads: self.reads,
            read: Rc::clone(read),
            number: self.number,
        })
    }
}

impl Drop for SharingDestination<'_> {
    fn drop(&mut self) {
        self.reads.active.borrow_mut().remove(&self.number);
        for read in self.reads.reads.borrow().values() {
            read.changed.notify_waiters();
        }
    }
}

impl SharedRead {
    fn members_by_host(&self) -> BTreeMap<Host, Vec<usize>> {
        let mut hosts: BTreeMap<Host, Vec<usize>> = BTreeMap::new();
        for (number, host) in self.members.borrow().iter() {
            hosts.entry(host.clone()).or_default().push(*number);
        }
        hosts
    }
}

impl ReadPlace<'_> {
    /// Takes part, for a destination on `host`.
    pub fn join(&self, host: &Host) {
        let mut members = self.read.members.borrow_mut();
        members.insert(self.number, host.clone());
        drop(members);
        self.decide();
    }

    fn decide(&self) {
        self.read.decided.borrow_mut().insert(self.number);
        self.read.changed.notify_waiters();
    }

    /// Waits until each destination has decided and every one that takes part may send. Returns `None` if the read has
    /// begun without this one.
    pub(super) async fn slot(&self, large: &LargeUploads, size: u64) -> Option<Slot> {
        let gather = || async {
            self.wait_for_decisions().await;
            let mut slots = BTreeMap::new();
            // In the order of hosts everywhere, memory last: no two reads wait for one another.
            for (host, numbers) in self.read.members_by_host() {
                // Repositories of one host share its slot.
                let mut slot = Some(large.slot_at(&host, size).await);
                slots.extend(
                    numbers
                        .into_iter()
                        .map(|number| (number, slot.take().unwrap_or_default())),
                );
            }
            Gathered {
                slots: RefCell::new(slots),
                memory: RefCell::new(large.memory(size).await),
            }
        };
        let gathered = self.read.gathered.get_or_init(gather).await;
        gathered.slots.borrow_mut().remove(&self.number)
    }

    /// Waits until every destination has decided whether it takes part, but not for long.
    async fn wait_for_decisions(&self) {
        let deadline = Instant::now() + GATHERING;
        loop {
            let changed = self.read.changed.notified();
            if self.reads.is_complete(&self.read) || timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// Returns the content of `blob` from `from`. Returns `None` if the others read another source.
    pub(super) async fn stream(
        &self,
        sender: &RequestSender,
        from: &Repository,
        blob: &Descriptor,
    ) -> Result<Option<Stream>, RegistryErrorKind> {
        let open = || async {
            let source = BlobSource::Repository(from);
            let (stream, _) = source.open(sender, blob, 0).await?;
            let memory = self
                .read
                .gathered
                .get()
                .map(|gathered| gathered.memory.take());
            let stream = stream.release_permit();
            self.pass_on(from.host(), stream, memory.unwrap_or_default());
            Ok::<_, RegistryErrorKind>(from.clone())
        };
        let opened = self.read.opened.get_or_try_init(open).await?;
        let stream = self.read.streams.borrow_mut().remove(&self.number);
        Ok(stream.filter(|_| opened == from))
    }

    /// Begins to pass on the content of `source` to all that take part.
    fn pass_on(&self, host: &Host, source: Stream, memory: Memory) {
        let members: Vec<usize> = self.read.members.borrow().keys().copied().collect();
        let mut streams = self.read.streams.borrow_mut();
        let mut senders = Vec::new();
        for number in members {
            let (sender, parts) = channel(PARTS_WAITING);
            senders.push(sender);
            let host = host.to_string();
            streams.insert(number, Stream::Shared(SharedParts { host, parts }));
        }
        tokio::spawn(read(source, memory, senders));
    }
}

impl Drop for ReadPlace<'_> {
    fn drop(&mut self) {
        self.read.members.borrow_mut().remove(&self.number);
        self.read.streams.borrow_mut().remove(&self.number);
        if let Some(gathered) = self.read.gathered.get() {
            gathered.slots.borrow_mut().remove(&self.number);
        }
        self.decide();
    }
}

/// Reads `source` to its end and passes it on. A destination that takes no more parts is left out.
async fn read(mut source: Stream, _memory: Memory, mut destinations: Vec<Sender<ReadPart>>) {
    loop {
        match source.next_bytes().await {
            Ok(Some(mut bytes)) => {
                while !bytes.is_empty() {
                    let part = bytes.split_to(bytes.len().min(PART_MAX_BYTES));
                    send_to_all(&mut destinations, &Ok(Some(part)), PATIENCE).await;
                }
            }
            Ok(None) => return send_to_all(&mut destinations, &Ok(None), PATIENCE).await,
            Err(kind) => return send_to_all(&mut destinations, &Err(kind), PATIENCE).await,
        }
        if destinations.is_empty() {
            return;
        }
    }
}

/// Passes a part on. Leaves out who has failed, and who holds up others for too long.
async fn send_to_all(
    destinations: &mut Vec<Sender<ReadPart>>,
    part: &ReadPart,
    patience: Duration,
) {
    let mut kept = Vec::new();
    let is_alone = destinations.len() == 1;
    for destination in destinations.drain(..) {
        let sending = destination.send(part.clone());
        let taken = if is_alone {
            Ok(sending.await)
        } else {
            timeout(patience, sending).await
        };
        if matches!(taken, Ok(Ok(()))) {
            kept.push(destination);
        }
    }
    *destinations = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn destination_that_holds_up_others_is_left_out() {
        let (fast, mut taken) = channel(8);
        let (slow, mut waiting) = channel(1);
        let (failed, gone) = channel(1);
        drop(gone);
        let mut destinations = vec![fast, slow, failed];
        for _ in 0..3 {
            send_to_all(&mut destinations, &Ok(None), SOON).await;
        }
        assert_eq!(destinations.len(), 1);
        drop(destinations);
        let count = async |parts: &mut tokio::sync::mpsc::Receiver<ReadPart>| {
            let mut count = 0;
            while parts.recv().await.is_some() {
                count += 1;
            }
            count
        };
        assert_eq!((count(&mut taken).await, count(&mut waiting).await), (3, 1));
    }

    #[tokio::test]
    async fn destination_that_is_alone_may_take_any_time() {
        let (slow, mut parts) = channel(1);
        let mut destinations = vec![slow];
        send_to_all(&mut destinations, &Ok(None), SOON).await;
        let take = async {
            tokio::time::sleep(10 * SOON).await;
            parts.recv().await
        };
        let part = Ok(None);
        let (taken, ()) = tokio::join!(take, send_to_all(&mut destinations, &part, SOON));
        assert!(taken.is_some());
        assert_eq!(destinations.len(), 1);
    }
}
