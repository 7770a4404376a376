//! Interrupted runs of `publish`: the next run reaches the same result, and no upload stays open.

use std::time::Duration;

use sandbox::{Fault, Referrers};
use serde_json::json;

use crate::support::{Pipeline, REPOSITORY, TARGET, World, listed, target, until};

#[test]
fn run_that_fails_half_way_is_finished_by_the_next() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.checked(&pipeline.world.at(&index));
    for k in 1.. {
        pipeline
            .target
            .fault(Fault::at(k * 9).times(u32::MAX).reset());
        let outcome = publish.clone().input("max-attempts", "1").run();
        pipeline.target.clear_faults();
        if outcome.code == 0 {
            break;
        }
        assert!(k < 30, "{}", outcome.log);
        let tags = pipeline.target.tags(TARGET);
        if let Some(held) = tags.get("v1") {
            assert_eq!(*held, index);
        }
    }
    let mut built = pipeline.world.registry().manifests(REPOSITORY);
    built.sort();
    assert_eq!(pipeline.manifests_there(), built);
    pipeline.target.clear_requests();
    publish.succeed();
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

/// The content of a registry after a complete publish.
#[derive(Debug, PartialEq)]
struct End {
    index: String,
    tags: Vec<(String, String)>,
    manifests: Vec<String>,
    /// The referrers of each manifest.
    lists: Vec<Vec<String>>,
}

fn end(pipeline: &Pipeline, index: &str) -> End {
    let tags = pipeline.target.tags(TARGET).into_iter();
    let manifests = pipeline.manifests_there();
    let lists = manifests.iter().map(|digest| {
        let mut listed = listed(&pipeline.target, TARGET, digest);
        listed.sort();
        listed
    });
    End {
        index: index.to_owned(),
        // Lists of referrers are compared by their entries, in any order.
        tags: tags
            .filter(|(tag, _)| !tag.starts_with("sha256-"))
            .collect(),
        lists: lists.collect(),
        manifests,
    }
}

/// Kills a run at its `k`-th request to the destination, the only registry that changes. Compares the result of the rerun with
/// `expected`. Returns false if the run ended before.
fn killed_at(pipeline: &mut Pipeline, kind: Referrers, k: u64, expected: &End) -> bool {
    pipeline.target = target(kind);
    let fault = Fault::at(k).delay(Duration::from_mins(10));
    pipeline.target.fault(fault);
    let publish = pipeline.checked(&pipeline.world.at(&expected.index));
    let mut running = publish.begin();
    let mut ended = false;
    until("a request", || {
        ended = running.has_ended();
        let requests = pipeline.target.requests();
        ended || requests.iter().any(|request| request.faulty)
    });
    running.kill();
    pipeline.target.clear_faults();
    publish.elsewhere().succeed();
    assert_eq!(end(pipeline, &expected.index), *expected, "killed at {k}");
    !ended
}

#[test]
fn run_that_is_killed_anywhere_is_finished_by_the_next() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        // Threads run concurrently: most of their time they wait for lists to settle.
        let counts = std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3, 4, 5].map(|thread| {
                scope.spawn(move || {
                    let mut pipeline = Pipeline::new();
                    let (_, index) = pipeline.build();
                    pipeline.target = target(kind);
                    pipeline.checked(&pipeline.world.at(&index)).succeed();
                    let expected = end(&pipeline, &index);
                    let requests = pipeline.target.requests().len() as u64;
                    let own = (1..=requests).filter(|k| k % 6 == thread);
                    own.map(|k| killed_at(&mut pipeline, kind, k, &expected))
                        .collect::<Vec<bool>>()
                })
            });
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        let killed = counts.iter().filter(|killed| **killed).count();
        eprintln!("killed at {killed} of {} requests", counts.len());
        assert!(
            killed + 3 >= counts.len() && killed > 30,
            "{killed} of {}",
            counts.len()
        );
    }
}

/// Pushes an image of two layers, each too large for a single request, the second with the stated size `size`. Returns its
/// digest and those of the layers.
fn push_large(world: &World, size: usize) -> (String, [String; 2]) {
    let registry = world.registry();
    let layers = [1, 2].map(|byte| registry.push_blob(REPOSITORY, &vec![byte; 300_000]));
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let image = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": registry.push_blob(REPOSITORY, config), "size": config.len()},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layers[0], "size": 300_000},
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layers[1], "size": size},
        ],
    });
    let image = registry.push_raw(REPOSITORY, None, media_type, image.to_string().as_bytes());
    (image, layers)
}

#[test]
fn upload_that_is_just_being_begun_is_taken_back_too() {
    let pipeline = Pipeline::new();
    let (image, _) = push_large(&pipeline.world, 300_000);
    let begin = Fault::on("POST", "*/blobs/uploads/*").times(u32::MAX);
    pipeline
        .target
        .fault(begin.delay(Duration::from_millis(500)));
    let running = pipeline.publish(&pipeline.world.at(&image)).begin();
    until("an upload", || pipeline.target.open_uploads() > 0);
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    assert_eq!(pipeline.target.open_uploads(), 0, "{}", outcome.log);
}

#[test]
fn run_that_fails_or_is_told_to_end_leaves_no_upload_open() {
    for is_told in [true, false] {
        let pipeline = Pipeline::new();
        let size = if is_told { 300_000 } else { 300_001 };
        let (image, [stalled, other]) = push_large(&pipeline.world, size);
        let source = pipeline.world.registry();
        let get = |blob: &str| Fault::on("GET", &format!("*/blobs/{blob}"));
        source.fault(get(&stalled).stalled_body());
        // The wrong size is detected while the first layer is in flight.
        source.fault(get(&other).delay(Duration::from_millis(700)));
        let publish = pipeline.publish(&pipeline.world.at(&image));
        let running = publish.begin();
        until("an upload", || pipeline.target.open_uploads() > 0);
        let outcome = if is_told {
            running.terminate()
        } else {
            running.end()
        };
        assert_eq!(outcome.code, 1, "{}", outcome.log);
        assert_eq!(pipeline.target.open_uploads(), 0, "{}", outcome.log);
        let writes = pipeline.writes_there();
        let is_cancel = |write: &&String| write.starts_with("DELETE");
        assert_eq!(writes.iter().filter(is_cancel).count(), 1, "{writes:?}");
        assert!(!pipeline.target.tags(TARGET).contains_key("v1"));
        if is_told {
            source.clear_faults();
            publish.succeed();
            assert_eq!(pipeline.target.tags(TARGET)["v1"], image);
        }
    }
}
