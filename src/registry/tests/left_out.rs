//! Tests a destination that the others, which read the same blob, did not wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{advance, pause, resume};

use super::super::shared_reads::{ReadPlace, SharedReads, SharingDestination};
use super::super::stream::Stream;
use super::copies::{copy, descriptor, plain};
use super::*;
use crate::domain::Descriptor;
use crate::registry::Copied;

const MIB: usize = 1 << 20;
/// Longer than the others wait for a destination that takes no part.
const PATIENCE_OVER: Duration = Duration::from_secs(11);

/// Returns content in which no part is like another.
fn content(length: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(length).collect()
}

/// Returns the places of two destinations that lack `blob`, of which the second is `to`.
fn places<'a>(
    destinations: [&SharingDestination<'a>; 2],
    blob: &Descriptor,
    to: &Repository,
) -> [ReadPlace<'a>; 2] {
    let places = destinations.map(|each| each.place(blob).unwrap());
    places[0].join(&"other.example".parse().unwrap());
    places[1].join(to.host());
    places
}

/// Begins the read for the destination of `place`, as its copy does.
async fn begin(
    bench: &Bench,
    place: ReadPlace<'_>,
    from: &Repository,
    blob: &Descriptor,
) -> Stream {
    let ReadPlace::Large(place) = place else {
        panic!("{place:?}")
    };
    let uploader = &bench.registry.uploader;
    place.slot(&uploader.large, blob.size).await.unwrap();
    let stream = place.stream(&uploader.sender, from, blob).await;
    stream.unwrap().unwrap()
}

/// Takes all parts of `stream`, while another destination takes none once `is_stopped`. Returns the content.
async fn take_all(mut stream: Stream, is_stopped: &AtomicBool) -> Vec<u8> {
    let (mut taken, mut waits) = (Vec::new(), 0);
    loop {
        // The task that reads and the servers go on meanwhile.
        let next = tokio::time::timeout(Duration::from_millis(20), stream.next_bytes()).await;
        match next {
            Ok(part) => match part.unwrap() {
                Some(bytes) => taken.extend_from_slice(&bytes),
                None => return taken,
            },
            Err(_) if is_stopped.load(Ordering::Relaxed) => {
                pause();
                advance(PATIENCE_OVER).await;
                resume();
            }
            Err(_) => {
                waits += 1;
                assert!(waits < 1000, "nobody stops");
            }
        }
    }
}

#[tokio::test]
async fn copy_that_was_left_out_reads_alone_in_the_same_attempt() {
    let content = content(2 * MIB);
    let given = content.clone();
    let source = Server::start(move |request| plain(request, &given)).await;
    let destination = Server::start(|request| plain(request, b"")).await;
    let (from, to) = (repository(&source, "a/b"), repository(&destination, "c/d"));
    let (bench, blob, reads) = (
        Bench::nobody(1),
        descriptor(&content),
        SharedReads::among(2),
    );
    let (first, second) = (reads.destination(0), reads.destination(1));
    let [place, late] = places([&first, &second], &blob, &to);
    let stream = begin(&bench, place, &from, &blob).await;
    let taken = take_all(stream, &AtomicBool::new(true)).await;
    assert!(taken == content, "the others have it");

    let registry = &bench.registry;
    let copied = registry.copy_blob_together(&from, &to, &blob, Some(late));
    assert_eq!(copied.await.unwrap(), Copied::Streamed);
    let uploads = destination.seen().into_iter();
    let mut uploads = uploads.filter(|seen| seen.method == "PUT");
    assert!(uploads.any(|seen| seen.body == content), "it is whole");
    assert_eq!(source.seen().len(), 2);
    assert!(bench.retries().is_empty());
    assert!(second.place(&blob).is_none());
}

#[tokio::test]
async fn upload_in_chunks_that_was_left_out_goes_on_where_the_registry_is() {
    let (content, short) = (content(9 * MIB), content(MIB));
    let given = [content.clone(), short.clone()];
    let source = Server::start(move |request| {
        let is_asked =
            |content: &&Vec<u8>| request.target.ends_with(descriptor(content).digest.hex());
        plain(request, given.iter().find(is_asked).unwrap())
    })
    .await;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&is_stopped);
    // It accepts chunks alone, and takes long to store the first large one.
    let destination = Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).header("location", "/upload"),
        "PUT" if request.body.is_empty() => Reply::new(201),
        "PUT" => Reply::new(413),
        "PATCH" if request.body.len() == 4 * MIB && !stops.swap(true, Ordering::Relaxed) => {
            Reply::new(202).late(3 * PATIENCE_OVER)
        }
        "PATCH" => Reply::new(202),
        "GET" => Reply::new(204).header("range", format!("0-{}", 4 * MIB - 1)),
        _ => Reply::new(404),
    })
    .await;
    let bench = Bench::nobody(1);
    // This shows that it accepts chunks alone.
    let copied = copy(&bench, (&source, "a/b"), (&destination, "c/d"), &short).await;
    copied.unwrap();
    let before = destination.seen().len();

    let (from, to) = (repository(&source, "a/b"), repository(&destination, "c/d"));
    let (blob, reads) = (descriptor(&content), SharedReads::among(2));
    let (first, second) = (reads.destination(0), reads.destination(1));
    let [place, late] = places([&first, &second], &blob, &to);
    let others = async {
        let stream = begin(&bench, place, &from, &blob).await;
        let taken = take_all(stream, &is_stopped).await;
        assert!(taken == content, "the others have it");
        // The registry has stored the chunk.
        pause();
        advance(3 * PATIENCE_OVER).await;
        resume();
    };
    let registry = &bench.registry;
    let copied = registry.copy_blob_together(&from, &to, &blob, Some(late));
    let (copied, ()) = tokio::join!(copied, others);
    assert_eq!(copied.unwrap(), Copied::Streamed);
    let requests = destination.seen().into_iter().skip(before);
    let requests: Vec<String> = requests
        .map(|seen| {
            let range = seen.header("content-range").unwrap_or_default();
            format!("{} {range}", seen.method)
        })
        .collect();
    let wanted = [
        "POST ",
        "PATCH 0-4194303",
        "GET ",
        "PATCH 4194304-8388607",
        "PATCH 8388608-9437183",
        "PUT ",
    ];
    assert_eq!(requests, wanted);
    assert!(bench.retries().is_empty());
}
