//! Passes a blob that is read once on to several destinations. The slowest one sets the pace.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use super::large_uploads::Memory;
use super::shared_parts::ReadPart;
use super::stream::Stream;

/// The size of the largest part that is passed on at once.
const PART_MAX_BYTES: usize = 64 * 1024;
/// The longest time for which a destination that takes no part holds up the others. It is shorter than the silence after
/// which an upload fails: theirs are not at fault.
const PATIENCE: Duration = Duration::from_secs(10);

/// A destination that parts are passed on to, with its number.
pub(super) type PartSender = (usize, Sender<ReadPart>);

/// Reads `source` to its end and passes it on. A destination that ends its upload is left out, and so is one that holds
/// up others for too long: `on_left_out` is called with its number.
pub(super) async fn pass_on(
    mut source: Stream,
    _memory: Memory,
    mut destinations: Vec<PartSender>,
    on_left_out: impl Fn(usize),
) {
    while !destinations.is_empty() {
        let read = source.next_bytes().await;
        let Ok(Some(mut bytes)) = read else {
            // The end, or the error.
            return send_to_all(&mut destinations, &read, &on_left_out).await;
        };
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(PART_MAX_BYTES));
            send_to_all(&mut destinations, &Ok(Some(part)), &on_left_out).await;
        }
    }
}

/// Passes a part on to all at once. While none takes it, none holds up another, and each may take any time.
async fn send_to_all(
    destinations: &mut Vec<PartSender>,
    part: &ReadPart,
    on_left_out: &impl Fn(usize),
) {
    let mut without = std::mem::take(destinations);
    while destinations.is_empty() && !without.is_empty() {
        let sending = without
            .iter()
            .map(|(_, parts)| timeout(PATIENCE, parts.send(part.clone())));
        let sent = join_all(sending).await;
        let mut late = Vec::new();
        for (destination, sent) in without.into_iter().zip(sent) {
            match sent {
                Ok(Ok(())) => destinations.push(destination),
                // The upload has ended.
                Ok(Err(_)) => (),
                Err(_) => late.push(destination),
            }
        }
        without = late;
    }
    for (number, _) in without {
        on_left_out(number);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write as _;

    use super::*;
    use crate::registry::shared_parts::{PARTS_WAITING, SharedParts};

    const PARTS: usize = 40;

    fn blob() -> Stream {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; PARTS * PART_MAX_BYTES]).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Stream::File(file)
    }

    fn queues(count: usize) -> (Vec<PartSender>, Vec<SharedParts>) {
        (0..count)
            .map(|number| {
                let (sender, parts) = SharedParts::queue("example.com".to_owned());
                ((number, sender), parts)
            })
            .unzip()
    }

    /// Takes parts, each after such a wait. Returns the number of bytes, or the error.
    async fn take(mut parts: SharedParts, most: usize, wait: Duration) -> Result<usize, String> {
        let mut bytes = 0;
        for _ in 0..most {
            tokio::time::sleep(wait).await;
            match parts.next().await {
                Ok(Some(part)) => bytes += part.len(),
                Ok(None) => break,
                Err(kind) => return Err(kind.to_string()),
            }
        }
        Ok(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn slowest_destination_sets_the_pace_and_nothing_piles_up() {
        let (senders, mut parts) = queues(2);
        let left_out = RefCell::new(Vec::new());
        let slow = parts.pop().unwrap();
        let mut fast = parts.pop().unwrap();
        let (ahead, pace) = (RefCell::new(0_usize), Duration::from_secs(9));
        let taking_fast = async {
            while let Ok(Some(_)) = fast.next().await {
                *ahead.borrow_mut() += 1;
            }
        };
        let taking_slow = async {
            let mut slow = slow;
            let mut taken = 0;
            loop {
                tokio::time::sleep(pace).await;
                let most = taken + PARTS_WAITING + 1;
                assert!(*ahead.borrow() <= most, "{taken}");
                match slow.next().await.unwrap() {
                    Some(_) => taken += 1,
                    None => return taken,
                }
            }
        };
        let reading = pass_on(blob(), Memory::default(), senders, |number| {
            left_out.borrow_mut().push(number);
        });
        let ((), (), taken) = tokio::join!(reading, taking_fast, taking_slow);
        assert_eq!((*ahead.borrow(), taken), (PARTS, PARTS));
        assert!(left_out.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn destinations_that_fail_or_take_nothing_are_left_out() {
        let (senders, mut parts) = queues(4);
        let left_out = RefCell::new(Vec::new());
        let reading = pass_on(blob(), Memory::default(), senders, |number| {
            left_out.borrow_mut().push(number);
        });
        let no_wait = Duration::ZERO;
        let other = take(parts.pop().unwrap(), usize::MAX, no_wait);
        let stalled = take(parts.pop().unwrap(), usize::MAX, 2 * PATIENCE);
        let failing = take(parts.pop().unwrap(), 3, no_wait);
        let first = take(parts.pop().unwrap(), usize::MAX, no_wait);
        let ((), first, failing, stalled, other) =
            tokio::join!(reading, first, failing, stalled, other);
        let whole = PARTS * PART_MAX_BYTES;
        assert_eq!((first, other), (Ok(whole), Ok(whole)));
        assert_eq!(failing, Ok(3 * PART_MAX_BYTES));
        assert!(stalled.unwrap_err().contains("did not wait"));
        assert_eq!(left_out.take(), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn destinations_that_hold_up_nobody_may_take_any_time() {
        let (senders, parts) = queues(2);
        let reading = pass_on(blob(), Memory::default(), senders, |number| {
            panic!("{number} is left out")
        });
        let each = parts.into_iter();
        let each = each.map(|parts| take(parts, usize::MAX, 3 * PATIENCE));
        let ((), taken) = tokio::join!(reading, join_all(each));
        let whole = PARTS * PART_MAX_BYTES;
        assert_eq!(taken, [Ok(whole), Ok(whole)]);
    }
}
