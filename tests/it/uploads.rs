//! Slow uploads of layers: limits of a host, requests to wait, and tokens that expire meanwhile. An upload that restarts reads
//! the layer from its source again, and never buffers it.

use std::time::{Duration, Instant};

use sandbox::{Fault, Options, Request};

use crate::support::{Passage, until};

const MIB: usize = 1 << 20;
const TARGET: &str = "prod/app";
const PASSWORD: &str = "hunter2-and-more";

#[test]
fn host_that_takes_no_long_request_gets_parts() {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 9 * MIB);
    passage.publish().succeed();
    passage.has_arrived();
    let wanted = [
        "POST 0 202",
        "PUT 9437184 413",
        "DELETE 0 204",
        "POST 0 202",
        "PATCH 4194304 202",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 201",
    ];
    assert_eq!(passage.uploads(), wanted);
    assert_eq!(passage.reads(), 2);
}

#[test]
fn part_is_as_long_as_the_registry_wants_it_at_least() {
    let options = Options::new().upload_max(6 * MIB).part_min(5 * MIB);
    let passage = Passage::new(options, 11 * MIB);
    passage.publish().succeed();
    passage.has_arrived();
    let mut parts = passage.uploads();
    parts.retain(|request| request.starts_with("PATCH"));
    let wanted = [
        "PATCH 5242880 202",
        "PATCH 5242880 202",
        "PATCH 1048576 202",
    ];
    assert_eq!(parts, wanted);
}

#[test]
fn host_that_takes_no_part_either_is_told() {
    let passage = Passage::new(Options::new().upload_max(MIB), 2 * MIB);
    let refused = passage.publish().end_with(1);
    refused.says(&[
        "could not upload blob",
        "413 Payload Too Large (SIZE_INVALID",
    ]);
    assert!(passage.target.tags(TARGET).is_empty());
    assert_eq!(passage.target.open_uploads(), 0);
}

#[test]
fn part_that_was_not_taken_whole_is_no_success() {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 9 * MIB);
    let short = Fault::on("PATCH", "*").set_header("range", "0-99");
    passage.target.fault(short);
    let refused = passage.publish().end_with(1);
    refused.says(&["confirmed the content up to byte 99, but it was sent up to byte 4194303"]);
    assert!(passage.target.tags(TARGET).is_empty());
    assert_eq!(passage.target.open_uploads(), 0);
}

#[test]
fn registry_that_asks_to_wait_is_waited_for_at_each_step_of_an_upload() {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 5 * MIB);
    for (method, path) in [
        ("POST", "*/blobs/uploads/"),
        ("PUT", "*/blobs/uploads/*"),
        ("PATCH", "*/blobs/uploads/*"),
    ] {
        passage.target.fault(Fault::on(method, path).throttle(1));
    }
    let began = Instant::now();
    let waited = passage.publish().succeed();
    // Config and layer are copied concurrently: at least two of the three waits belong to the same blob.
    assert!(began.elapsed() >= Duration::from_secs(2), "{}", waited.log);
    passage.has_arrived();
    let waits = waited.log.matches("retry in 1.0 s: copy of ").count();
    assert_eq!(waits, 3, "{}", waited.log);
    // The layer is read again for the chunks, and again at PATCH. The other two waits may belong to the config.
    assert!(passage.reads() >= 3, "{}", passage.reads());
}

#[test]
fn token_that_ends_within_an_upload_is_replaced_and_the_layer_read_again() {
    for options in [Options::new(), Options::new().upload_max(4 * MIB)] {
        let passage = Passage::new(options.bearer("me", PASSWORD), 5 * MIB);
        let slow = Duration::from_millis(500);
        passage
            .target
            .fault(Fault::on("POST", "*/blobs/uploads/").times(2).delay(slow));
        let running = passage.publish().begin();
        let is_begun =
            |request: &Request| request.path.ends_with("/blobs/uploads/") && request.faulty;
        until("an upload", || {
            passage.target.requests().iter().any(is_begun)
        });
        passage.target.revoke_tokens();
        let outcome = running.end();
        assert_eq!(outcome.code, 0, "{}", outcome.log);
        passage.has_arrived();
        let refused = |request: &String| request.ends_with(" 401");
        assert!(
            passage.uploads().iter().any(refused),
            "{:?}",
            passage.uploads()
        );
        assert!(passage.reads() >= 2);
    }
}
