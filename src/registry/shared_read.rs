//! Reads a large blob once for all destinations that lack it. One task reads the source and passes each part on to every
//! destination. Parts are not kept: a destination that fails tries again by itself, and one that lacks the blob later than
//! the others reads it by itself.
//!
//! No two reads wait for one another. Every destination decides about each blob before it waits for anything but a
//! response. A read takes the slots of its hosts in their order, and memory last; so does a copy that reads alone. A
//! destination whose slot is taken needs nothing else of this program to send. Two rules keep a destination that does not
//! respond from holding up others without end:
//!
//! - The reads wait [`GATHERING`] for its decision about a blob, and not again until it decides about one.
//! - A destination that takes no part while another does is left out, and reads alone from then on. This takes none of its
//!   attempts: nothing has failed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::blob_source::BlobSource;
use super::error::RegistryErrorKind;
use super::fan_out::pass_on;
use super::large_uploads::{HostSlot, LargeUploads, Memory, Slot};
use super::participants::Participants;
use super::sender::RequestSender;
use super::shared_parts::SharedParts;
use super::stream::Stream;
use crate::domain::{Descriptor, Host, Repository};

/// The longest time for which a read waits for destinations that have not said whether they lack the blob.
const GATHERING: Duration = Duration::from_secs(5);

/// The read of one large blob.
#[derive(Debug, Default)]
pub(super) struct SharedRead {
    /// The destinations that have decided whether they take part.
    decided: RefCell<BTreeSet<usize>>,
    /// The hosts of those that do.
    members: RefCell<BTreeMap<usize, Host>>,
    gathered: OnceCell<Gathered>,
    /// The source that is read. `None` if it could not be opened.
    opened: OnceCell<Option<Repository>>,
    streams: RefCell<BTreeMap<usize, Stream>>,
}

/// The place of one destination in the read of a large blob. If it is dropped, the others no longer wait for this one.
#[derive(Debug)]
pub struct LargePlace {
    number: usize,
    read: Rc<SharedRead>,
    participants: Arc<Participants>,
}

/// The members of a read, once each of them may send.
#[derive(Debug)]
struct Gathered {
    numbers: BTreeSet<usize>,
    /// The slots that they have not taken yet.
    slots: RefCell<BTreeMap<usize, HostSlot>>,
    memory: RefCell<Memory>,
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

impl LargePlace {
    pub(super) fn new(
        number: usize,
        read: Rc<SharedRead>,
        participants: Arc<Participants>,
    ) -> Self {
        Self {
            number,
            read,
            participants,
        }
    }

    /// Takes part, for a destination on `host`.
    pub(super) fn join(&self, host: &Host) {
        let mut members = self.read.members.borrow_mut();
        members.insert(self.number, host.clone());
        drop(members);
        self.decide();
    }

    fn decide(&self) {
        self.read.decided.borrow_mut().insert(self.number);
        self.participants.note_decision(self.number);
    }

    /// Waits until each destination has decided and every one that takes part may send. Returns `None` if the read goes on
    /// without this one.
    pub(super) async fn slot(&self, large: &LargeUploads, size: u64) -> Option<Slot> {
        let gathered = self.read.gathered.get_or_init(|| self.gather(large, size));
        let slot = gathered.await.slots.borrow_mut().remove(&self.number);
        slot.map(Slot::from)
    }

    async fn gather(&self, large: &LargeUploads, size: u64) -> Gathered {
        self.wait_for_decisions().await;
        let mut slots = BTreeMap::new();
        for (host, numbers) in self.read.members_by_host() {
            tokio::select! {
                slot = large.slot_at(&host, size) => {
                    slots.extend(numbers.into_iter().map(|number| (number, slot.clone())));
                }
                () = self.wait_until_left(&numbers) => (),
            }
        }
        let memory = large.memory(size).await;
        slots.retain(|number, _| self.takes_part(*number));
        Gathered {
            numbers: slots.keys().copied().collect(),
            slots: RefCell::new(slots),
            memory: RefCell::new(memory),
        }
    }

    fn takes_part(&self, number: usize) -> bool {
        self.read.members.borrow().contains_key(&number) && self.participants.contains(number)
    }

    /// Waits until every destination has decided whether it takes part, but not for long.
    async fn wait_for_decisions(&self) {
        let deadline = Instant::now() + GATHERING;
        loop {
            let changed = self.participants.changed.notified();
            let undecided = self.participants.undecided(&self.read.decided.borrow());
            if undecided.is_empty() {
                return;
            }
            if timeout_at(deadline, changed).await.is_err() {
                self.participants.note_late(undecided);
                return;
            }
        }
    }

    /// Waits until none of these destinations takes part any more.
    async fn wait_until_left(&self, numbers: &[usize]) {
        loop {
            let changed = self.participants.changed.notified();
            if !numbers.iter().any(|number| self.takes_part(*number)) {
                return;
            }
            changed.await;
        }
    }

    /// Returns the content of `blob` from `from`. Returns `None` if this destination has to read it alone: the others read
    /// another source, or could not open this one.
    pub(super) async fn stream(
        self,
        sender: &RequestSender,
        from: &Repository,
        blob: &Descriptor,
    ) -> Result<Option<Stream>, RegistryErrorKind> {
        let mut failure = None;
        let open = async || match BlobSource::Repository(from).open(sender, blob, 0).await {
            Ok((stream, _)) => {
                self.begin(from.host(), stream.release_permit());
                Some(from.clone())
            }
            Err(kind) => {
                failure = Some(kind);
                None
            }
        };
        let opened = self.read.opened.get_or_init(open).await.as_ref();
        let stream = self.read.streams.borrow_mut().remove(&self.number);
        failure.map_or(Ok(stream.filter(|_| opened == Some(from))), Err)
    }

    /// Begins to pass on the content of `source` to all that may send.
    fn begin(&self, host: &Host, source: Stream) {
        let Some(gathered) = self.read.gathered.get() else {
            return;
        };
        let mut streams = self.read.streams.borrow_mut();
        let mut senders = Vec::new();
        let members = self.read.members.borrow();
        for number in &gathered.numbers {
            // One that has failed meanwhile has no place any more, and one that came late has no slot.
            if !members.contains_key(number) {
                continue;
            }
            let (sender, parts) = SharedParts::queue(host.to_string());
            senders.push((*number, sender));
            streams.insert(*number, Stream::Shared(parts));
        }
        let participants = Arc::clone(&self.participants);
        let leave = move |number| participants.remove(number);
        tokio::spawn(pass_on(source, gathered.memory.take(), senders, leave));
    }
}

impl Drop for LargePlace {
    fn drop(&mut self) {
        let mut members = self.read.members.borrow_mut();
        members.remove(&self.number);
        self.read.streams.borrow_mut().remove(&self.number);
        if let Some(gathered) = self.read.gathered.get() {
            gathered.slots.borrow_mut().remove(&self.number);
            if members.is_empty() {
                gathered.memory.take();
            }
        }
        drop(members);
        self.decide();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Barrier;
    use tokio::time::timeout;

    use super::*;
    use crate::domain::{Algorithm, Events};
    use crate::http::Client;
    use crate::registry::shared_reads::{ReadPlace, SharedReads, SharingDestination};

    /// Blobs of this size are sent to a host two at a time.
    const HUGE: u64 = u64::MAX;

    fn large_uploads() -> LargeUploads {
        LargeUploads::new(Client::for_tests().unwrap(), Events::silent())
    }

    fn blob(number: u64) -> Descriptor {
        let digest = Algorithm::Sha256.digest(&number.to_le_bytes());
        let text = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{HUGE}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn host(name: &str) -> Host {
        name.parse().unwrap()
    }

    fn place(destination: &SharingDestination<'_>, number: u64) -> LargePlace {
        match destination.place(&blob(number)) {
            Some(ReadPlace::Large(place)) => place,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn blobs_in_opposite_orders_do_not_wait_for_one_another() {
        let (large, reads, began) = (large_uploads(), SharedReads::among(2), Instant::now());
        let barriers: Vec<Barrier> = (0..8).map(|_| Barrier::new(2)).collect();
        let copy = async |destination: &SharingDestination<'_>, to: &Host, number: u64| {
            let place = place(destination, number);
            tokio::task::yield_now().await;
            place.join(to);
            let slot = place.slot(&large, HUGE).await.unwrap();
            // Both have to be there for the content to move.
            barriers[usize::try_from(number).unwrap()].wait().await;
            drop((place, slot));
        };
        let alone = async |to: &Host| drop(large.slot(to, HUGE).await);
        let (first, second) = (reads.destination(0), reads.destination(1));
        let (a, b) = (host("a.example"), host("b.example"));
        let ascending = join_all((0..8).map(|number| copy(&first, &a, number)));
        let descending = join_all((0..8).rev().map(|number| copy(&second, &b, number)));
        let others = join_all([&a, &b, &a, &b].map(alone));
        let all = async { tokio::join!(ascending, descending, others) };
        timeout(GATHERING * 100, all).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn destination_that_does_not_decide_is_waited_for_once() {
        let (large, reads, began) = (large_uploads(), SharedReads::among(3), Instant::now());
        let (first, second, third) = (
            reads.destination(0),
            reads.destination(1),
            reads.destination(2),
        );
        let copy = async |number: u64| {
            let places = [place(&first, number), place(&second, number)];
            for place in &places {
                place.join(&host("a.example"));
            }
            let slots = join_all(places.iter().map(|place| place.slot(&large, HUGE))).await;
            assert!(slots.iter().all(Option::is_some));
            began.elapsed()
        };
        assert_eq!(copy(0).await, GATHERING);
        assert_eq!(copy(1).await, GATHERING);
        // It comes too late for this blob, and is waited for again.
        let late = place(&third, 1);
        late.join(&host("b.example"));
        assert!(late.slot(&large, HUGE).await.is_none());
        drop(late);
        assert_eq!(copy(2).await, 2 * GATHERING);
        drop(third);
        assert_eq!(copy(3).await, 2 * GATHERING);
    }

    #[tokio::test(start_paused = true)]
    async fn destination_that_has_left_takes_no_slot_and_holds_up_nobody() {
        let (large, reads, began) = (large_uploads(), SharedReads::among(3), Instant::now());
        let (first, second, third) = (
            reads.destination(0),
            reads.destination(1),
            reads.destination(2),
        );
        let (a, b) = (host("a.example"), host("b.example"));
        let busy = (large.slot_at(&b, HUGE).await, large.slot_at(&b, HUGE).await);
        let places = [place(&first, 0), place(&second, 0), place(&third, 0)];
        for (place, host) in places.iter().zip([&a, &b, &b]) {
            place.join(host);
        }
        let [one, two, three] = places;
        let mut slot = Box::pin(one.slot(&large, HUGE));
        assert!((&mut slot).now_or_never().is_none());
        // One that fails, and one that took no parts of another blob.
        drop(two);
        three.participants.remove(2);
        assert!(timeout(GATHERING, slot).await.unwrap().is_some());
        assert!(three.slot(&large, HUGE).await.is_none());
        assert!(third.place(&blob(1)).is_none());
        drop(busy);
        assert!(large.slot_at(&b, HUGE).now_or_never().is_some());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn destination_that_leaves_while_others_wait_keeps_no_slot() {
        let (large, reads) = (large_uploads(), SharedReads::among(2));
        let (first, second) = (reads.destination(0), reads.destination(1));
        let (a, b) = (host("a.example"), host("b.example"));
        let busy = (large.slot_at(&b, HUGE).await, large.slot_at(&b, HUGE).await);
        let (one, two) = (place(&first, 0), place(&second, 0));
        one.join(&a);
        two.join(&b);
        let mut slot = Box::pin(two.slot(&large, HUGE));
        assert!((&mut slot).now_or_never().is_none());
        drop((one, busy));
        assert!(timeout(GATHERING, slot).await.unwrap().is_some());
        let at_once = (large.slot_at(&a, HUGE), large.slot_at(&a, HUGE));
        let at_once = (at_once.0.now_or_never(), at_once.1.now_or_never());
        assert!(matches!(at_once, (Some(_), Some(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn read_that_nobody_begins_keeps_neither_slot_nor_memory() {
        let (large, reads) = (large_uploads(), SharedReads::among(2));
        let (first, second) = (reads.destination(0), reads.destination(1));
        for number in 0..20 {
            let places = [place(&first, number), place(&second, number)];
            for place in &places {
                place.join(&host("a.example"));
            }
            // One of them has its slot, and then both fail.
            let gathered = places[0].slot(&large, HUGE).now_or_never();
            assert!(gathered.flatten().is_some(), "{number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repositories_of_a_host_share_its_slot() {
        let (large, reads) = (large_uploads(), SharedReads::among(4));
        let destinations: Vec<_> = (0..4).map(|number| reads.destination(number)).collect();
        let a = host("a.example");
        let places: Vec<_> = destinations.iter().map(|each| place(each, 0)).collect();
        for place in &places {
            place.join(&a);
        }
        let slots = join_all(places.iter().map(|place| place.slot(&large, HUGE)));
        let mut slots = timeout(GATHERING * 100, slots).await.unwrap();
        let other = large.slot_at(&a, HUGE).now_or_never();
        assert!(other.is_some());
        // It is free when the last of them has sent the blob.
        while slots.pop().is_some() {
            let is_free = large.slot_at(&a, HUGE).now_or_never().is_some();
            assert_eq!(is_free, slots.is_empty());
        }
    }
}
