//! Slow uploads of layers: limits of a host, requests to wait, broken connections, and tokens that expire meanwhile. An upload
//! that goes on or restarts reads the layer from its source again, and never buffers it.

use std::time::{Duration, Instant};

use sandbox::{Fault, Options, Request, Trigger};

use crate::support::{Outcome, Passage, until};

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

/// Returns the form of uploads after a host has refused a large request: chunks of 4 MiB.
const TO_CHUNKS: [&str; 4] = [
    "POST 0 202",
    "PUT 9437184 413",
    "DELETE 0 204",
    "POST 0 202",
];

/// Returns a copy of a layer of 9 MiB in chunks, and the requests of its upload from the first chunk on.
fn in_chunks(change: impl FnOnce(&Passage)) -> (Passage, Outcome, Vec<String>) {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 9 * MIB);
    change(&passage);
    let outcome = passage.publish().succeed();
    passage.has_arrived();
    let mut uploads = passage.uploads();
    let chunks = uploads.split_off(TO_CHUNKS.len());
    assert_eq!(uploads, TO_CHUNKS);
    (passage, outcome, chunks)
}

/// Returns the trigger of a chunk that begins at this byte.
fn chunk_at(start: usize) -> Trigger {
    Fault::on("PATCH", &format!("*?_state={start}"))
}

#[test]
fn chunk_that_is_cut_goes_on_where_it_was_cut() {
    let (passage, outcome, chunks) = in_chunks(|passage| {
        passage.target.fault(chunk_at(4 * MIB).cut_request());
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 0",
        "GET 0 204",
        // From 6 to 9 MiB.
        "PATCH 3145728 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!(passage.reads(), 3);
    // The source is asked for the rest alone.
    assert_eq!(passage.read_statuses(), [200, 200, 206]);
    assert_eq!(outcome.log.matches("retry in").count(), 1);
}

#[test]
fn registry_that_is_down_is_asked_for_the_offset_again() {
    let (passage, _, chunks) = in_chunks(|passage| {
        passage.target.fault(chunk_at(4 * MIB).cut_request());
        let status = Fault::on("GET", "*/blobs/uploads/*");
        passage.target.fault(status.status(503));
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 0",
        "GET 0 503",
        "GET 0 204",
        "PATCH 3145728 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!(passage.read_statuses(), [200, 200, 206]);
}

#[test]
fn upload_goes_on_as_often_as_the_registry_has_more_of_it() {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 17 * MIB);
    for start in [4, 6, 8, 10] {
        passage.target.fault(chunk_at(start * MIB).cut_request());
    }
    // One attempt and one more, for each chunk.
    let publish = passage.publish().input("max-attempts", "2");
    publish.succeed();
    passage.has_arrived();
    let sent = passage.bytes_of("PATCH");
    // Each cut chunk of 4 MiB has half an effect; the others are sent once.
    assert_eq!(sent, (17 + 4 * 2) * MIB);
}

#[test]
fn upload_begins_anew_unless_the_registry_states_a_usable_offset() {
    let cases: [fn(Trigger) -> Fault; 8] = [
        |at| at.registry_error(404, "BLOB_UPLOAD_UNKNOWN", ""),
        |at| at.status(405),
        |at| at.status(500),
        // Less than was confirmed, and more than was sent.
        |at| at.set_header("range", "0-0"),
        |at| at.set_header("range", "0-4194302"),
        |at| at.set_header("range", "0-8388608"),
        |at| at.set_header("range", "somewhere"),
        |at| at.drop_header("range"),
    ];
    for fault in cases {
        let status = || fault(Fault::on("GET", "*/blobs/uploads/*"));
        let (passage, _, chunks) = in_chunks(|passage| {
            passage.target.fault(chunk_at(4 * MIB).cut_request());
            passage.target.fault(status());
        });
        let asked = &*chunks[2];
        assert!(asked.starts_with("GET 0"), "{chunks:?}");
        let wanted = [
            "PATCH 4194304 202",
            "PATCH 4194304 0",
            asked,
            "DELETE 0 204",
            "POST 0 202",
            "PATCH 4194304 202",
            "PATCH 4194304 202",
            "PATCH 1048576 202",
            "PUT 0 201",
        ];
        assert_eq!(chunks, wanted, "{:?}", status());
        assert_eq!(passage.read_statuses(), [200, 200, 200]);
    }
}

#[test]
fn wrong_offset_is_no_dead_end() {
    // Six MiB arrived, and the registry states one byte more.
    let (_, _, chunks) = in_chunks(|passage| {
        passage.target.fault(chunk_at(4 * MIB).cut_request());
        let status = Fault::on("GET", "*/blobs/uploads/*");
        passage
            .target
            .fault(status.set_header("range", "0-6291456"));
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 0",
        "GET 0 204",
        "PATCH 3145727 416",
        "DELETE 0 204",
        "POST 0 202",
        "PATCH 4194304 202",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
}

#[test]
fn chunk_out_of_order_goes_on_at_the_offset_of_the_registry() {
    let (_, outcome, chunks) = in_chunks(|passage| {
        let odd = chunk_at(4 * MIB);
        passage
            .target
            .fault(odd.registry_error(416, "RANGE_INVALID", "invalid content range"));
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 416",
        "GET 0 204",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
    outcome.does_not_say(&["retry in"]);
}

#[test]
fn registry_that_takes_no_chunk_at_any_offset_is_not_asked_for_ever() {
    let passage = Passage::new(Options::new().upload_max(4 * MIB), 9 * MIB);
    let odd = chunk_at(4 * MIB).times(u32::MAX);
    passage
        .target
        .fault(odd.registry_error(416, "RANGE_INVALID", "invalid content range"));
    let refused = passage.publish().end_with(1);
    refused.says(&["416 Range Not Satisfiable (RANGE_INVALID"]);
    assert!(passage.uploads().len() < 20, "{:?}", passage.uploads());
    assert_eq!(passage.target.open_uploads(), 0);
}

#[test]
fn blob_whose_last_response_was_lost_is_not_sent_again() {
    let last = Fault::on("PUT", "*/blobs/uploads/*?*digest=*");
    let (passage, outcome, chunks) = in_chunks(|passage| {
        let after_413 = Fault::on("PUT", "*?_state=9437184*");
        passage.target.fault(after_413.lost_response());
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 0",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!(passage.reads(), 2);
    assert_eq!(outcome.log.matches("retry in").count(), 1);

    let passage = Passage::new(Options::new(), 9 * MIB);
    passage.target.fault(last.lost_response());
    passage.publish().succeed();
    passage.has_arrived();
    assert_eq!(passage.uploads(), ["POST 0 202", "PUT 9437184 0"]);
    assert_eq!(passage.reads(), 1);
}

#[test]
fn last_request_of_chunks_is_sent_again_alone() {
    let (passage, _, chunks) = in_chunks(|passage| {
        let last = Fault::on("PUT", "*?_state=9437184*").times(2);
        passage.target.fault(last.status(503));
    });
    let wanted = [
        "PATCH 4194304 202",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 503",
        "GET 0 204",
        "PUT 0 503",
        "GET 0 204",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!(passage.reads(), 2);
}

#[test]
fn source_that_breaks_off_is_read_on_where_the_registry_is() {
    let (passage, _, chunks) = in_chunks(|passage| {
        // The read for the whole blob is not cut.
        let path = format!("*/blobs/{}", passage.layer);
        let whole = Fault::on("GET", &path);
        passage.source.fault(whole.delay(Duration::ZERO));
        let read = Fault::on("GET", &path).times(2);
        passage.source.fault(read.cut_body());
    });
    // The first read ends within the second chunk, and the next one, of the rest, too.
    let wanted = [
        "PATCH 4194304 202",
        "GET 0 204",
        "GET 0 204",
        "PATCH 4194304 202",
        "PATCH 1048576 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!(passage.read_statuses(), [200, 200, 206, 206]);
}

#[test]
fn token_that_ends_within_an_upload_is_renewed() {
    // Each token lasts for 6 MiB: not for the whole layer, but for a chunk.
    let options = Options::new().bearer("me", PASSWORD).token_bytes(6 * MIB);
    let passage = Passage::new(options, 15 * MIB);
    passage.publish().succeed();
    passage.has_arrived();
    let uploads = passage.uploads();
    let (first, chunks) = uploads.split_at(uploads.len() - 9);
    let sent_whole = first.iter().filter(|request| request.starts_with("PUT"));
    assert_eq!(sent_whole.collect::<Vec<_>>(), ["PUT 15728640 401"]);
    let wanted = [
        "POST 0 202",
        "PATCH 4194304 202",
        "PATCH 4194304 401",
        "PATCH 4194304 202",
        "PATCH 4194304 401",
        "PATCH 4194304 202",
        "PATCH 3145728 401",
        "PATCH 3145728 202",
        "PUT 0 201",
    ];
    assert_eq!(chunks, wanted);
}

#[test]
fn blob_is_sent_once_more_to_a_registry_without_chunks_whose_token_ends() {
    let options = Options::new().bearer("me", PASSWORD).token_bytes(6 * MIB);
    let passage = Passage::new(options, 9 * MIB);
    let chunk = Fault::on("PATCH", "*").times(u32::MAX);
    passage.target.fault(chunk.status(405));
    let refused = passage.publish().end_with(1);
    refused.says(&[
        "401 Unauthorized",
        "the credentials came from `registry-auths`",
    ]);
    refused.does_not_say(&["no credentials were given"]);
    assert_eq!(passage.bytes_of("PUT"), 2 * 9 * MIB);
    assert_eq!(passage.target.open_uploads(), 0);
}

#[test]
fn token_that_was_revoked_within_an_upload_is_replaced() {
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

#[test]
fn timeout_ends_a_run_whose_content_is_being_stored() {
    let never = Duration::from_mins(10);
    for path in ["*/blobs/uploads/*?*digest=*", "*/manifests/*"] {
        let passage = Passage::new(Options::new(), MIB);
        passage
            .target
            .fault(Fault::on("*", path).times(u32::MAX).delay(never));
        let outcome = passage.publish().input("timeout", "2s").end_with(1);
        outcome.says(&["the run exceeded `timeout`", "; or raise `timeout`"]);
    }
}

#[test]
fn hint_names_the_blobs_that_start_again() {
    let passage = Passage::new(Options::new(), 9 * MIB);
    let layer = format!("*/blobs/{}", passage.layer);
    passage
        .source
        .fault(Fault::on("GET", &layer).stalled_body());
    let stopped = passage.publish().input("timeout", "4s").end_with(1);
    let hint = "hint: run it again; completed steps are skipped. The next run sends 1 large blob (4 of 9 MB were sent) again from the start; or raise `timeout`";
    stopped.says(&[hint]);
    // Nothing is in progress.
    let late = Fault::on("GET", "*/manifests/*").delay(Duration::from_mins(10));
    passage.source.fault(late);
    let stopped = passage.publish().input("timeout", "4s").end_with(1);
    stopped.says(&["hint: run it again; completed steps are skipped; or raise `timeout`"]);
}
