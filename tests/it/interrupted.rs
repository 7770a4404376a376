//! Stopped runs of `publish` and `cleanup`: the next run finishes the work, and no upload stays open. The grid kills runs at
//! every write.

use std::time::Duration;

use sandbox::Fault;
use serde_json::json;

use crate::support::cleanup::{earlier, nothing_remains, remaining, sealing};
use crate::support::{MANIFEST, Pipeline, REPOSITORY, TARGET, World, cleanup, until};

#[test]
fn failed_publish_is_completed_by_the_next_run() {
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
fn upload_session_that_is_being_opened_is_cancelled() {
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
fn failed_or_stopped_run_leaves_no_upload_session_open() {
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
        assert!(writes.iter().any(|write| is_cancel(&write)), "{writes:?}");
        assert!(!pipeline.target.tags(TARGET).contains_key("v1"));
        if is_told {
            source.clear_faults();
            publish.succeed();
            assert_eq!(pipeline.target.tags(TARGET)["v1"], image);
        }
    }
}

/// Publishes an image of four layers of this size, whose content never arrives. Returns the number of layers in progress.
fn in_progress(size: usize) -> usize {
    let pipeline = Pipeline::new();
    let registry = pipeline.world.registry();
    let layers: Vec<_> = (0..4)
        .map(|number| {
            let layer = registry.push_blob(REPOSITORY, &vec![number; size]);
            let get = Fault::on("GET", &format!("*/blobs/{layer}"));
            registry.fault(get.stalled_body());
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size})
        })
        .collect();
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let config_digest = registry.push_blob(REPOSITORY, config);
    let image = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": layers,
    });
    let image = registry.push_raw(REPOSITORY, None, MANIFEST, image.to_string().as_bytes());
    let begun = || {
        registry
            .requests()
            .iter()
            .filter(|request| request.faulty)
            .count()
    };
    let running = pipeline.publish(&pipeline.world.at(&image)).begin();
    until("two layers", || begun() >= 2);
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    begun()
}

#[test]
fn stopped_run_loses_little_of_large_layers() {
    assert_eq!(in_progress(17 << 20), 2);
}

#[test]
fn stopped_cleanup_reports_the_remaining_tags() {
    let world = World::new();
    let before = earlier(&world, "latest");
    let seal = sealing(&world);
    seal.succeed();
    let registry = world.registry();
    registry.fault(Fault::on("DELETE", "*/manifests/v1").delay(Duration::from_mins(10)));
    let running = cleanup(&seal).begin();
    until("the deletion", || {
        registry.requests().iter().any(|request| request.faulty)
    });
    let outcome = running.terminate();
    assert_eq!(outcome.code, 1, "{}", outcome.log);
    // The report does not list the work that was finished before.
    assert_eq!(world.tag("latest"), Some(before));
    let remaining = remaining(&outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["edge", "v1", "v1.0"]);
    assert_eq!(remaining["v1"]["why"], "the run ended before");
    assert!(
        outcome.summary.contains("not&nbsp;reverted"),
        "{}",
        outcome.summary
    );
    // The next cleanup finishes the work.
    nothing_remains(&cleanup(&seal).succeed());
    assert_eq!(world.tags().len(), 1);
}
