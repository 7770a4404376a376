//! Large blobs that `publish` copies to several destinations: the source is read once.

use std::collections::BTreeMap;

use sandbox::{Fault, Kind, Options, Registry, Request};
use serde_json::json;

use crate::support::{Action, REPOSITORY};

const MIB: usize = 1 << 20;
const TARGET: &str = "prod/app";

/// A registry with an image of some large layers, and several to copy it to.
struct Fan {
    source: Registry,
    targets: Vec<Registry>,
    layers: Vec<String>,
}

impl Fan {
    fn new(targets: usize, layers: usize) -> Self {
        let source = Registry::start(Options::new());
        let targets: Vec<Registry> = (0..targets)
            .map(|_| Registry::start(Options::new()))
            .collect();
        let layers: Vec<(String, usize)> = (1..=layers)
            .map(|number| {
                let size = 2 * MIB + number;
                let bytes: Vec<u8> = (0_u8..251).cycle().take(size).collect();
                (source.push_blob(REPOSITORY, &bytes), size)
            })
            .collect();
        // The config is so long that it is looked for at the destinations, which have it: only layers are uploaded.
        let comment = "long ".repeat(20_000);
        let config = json!({"architecture": "amd64", "os": "linux", "comment": comment});
        let config = config.to_string();
        let config_digest = source.push_blob(REPOSITORY, config.as_bytes());
        for target in &targets {
            target.push_blob(TARGET, config.as_bytes());
        }
        let listed = layers.iter().map(|(digest, size)| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
        });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let image = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": listed.collect::<Vec<_>>(),
        });
        source.push_raw(
            REPOSITORY,
            Some("v1"),
            media_type,
            image.to_string().as_bytes(),
        );
        Self {
            source,
            targets,
            layers: layers.into_iter().map(|(digest, _)| digest).collect(),
        }
    }

    fn publish(&self) -> Action {
        let tags = self.targets.iter();
        let tags: Vec<String> = tags
            .map(|target| format!("{}:v1", target.repository(TARGET)))
            .collect();
        Action::new("publish")
            .input(
                "source",
                format!("{}:v1", self.source.repository(REPOSITORY)),
            )
            .input("tags", tags.join("\n"))
    }

    /// Reports which destinations have the tag and all layers.
    fn arrived(&self) -> Vec<bool> {
        let targets = self.targets.iter();
        targets
            .map(|target| {
                let has = |layer: &String| {
                    target.blob(TARGET, layer) == self.source.blob(REPOSITORY, layer)
                };
                self.layers.iter().all(has) && target.tags(TARGET).contains_key("v1")
            })
            .collect()
    }

    /// Counts the reads of each layer.
    fn reads(&self) -> Vec<usize> {
        let requests = self.source.requests();
        let of = |layer: &String| {
            let is_read = |request: &&Request| {
                request.method == "GET" && request.path.ends_with(layer.as_str())
            };
            requests.iter().filter(is_read).count()
        };
        self.layers.iter().map(of).collect()
    }
}

#[test]
fn layers_are_read_once_for_all_destinations() {
    let fan = Fan::new(3, 4);
    fan.publish().succeed();
    assert_eq!(fan.arrived(), [true; 3]);
    assert_eq!(fan.reads(), [1; 4]);
}

#[test]
fn destination_that_has_a_layer_takes_no_part() {
    let fan = Fan::new(3, 2);
    let layer = fan.source.blob(REPOSITORY, &fan.layers[0]).unwrap();
    fan.targets[0].push_blob(TARGET, &layer);
    fan.publish().succeed();
    assert_eq!(fan.arrived(), [true; 3]);
    assert_eq!(fan.reads(), [1; 2]);
    let uploads = fan.targets[0].requests();
    let uploads = uploads.iter().filter(|request| request.body_length > MIB);
    assert_eq!(uploads.count(), 1);
}

#[test]
fn many_layers_to_many_repositories_of_two_hosts_do_not_wait_for_one_another() {
    let fan = Fan::new(2, 40);
    let repositories = ["a/b", "c/d", "e/f", "g/h"];
    let tags = fan.targets.iter().flat_map(|target| {
        repositories.map(|repository| format!("{}:v1", target.repository(repository)))
    });
    let tags: Vec<String> = tags.collect();
    fan.publish().input("tags", tags.join("\n")).succeed();
    assert_eq!(fan.reads(), [1; 40]);
}

#[test]
fn destination_that_fails_drops_out() {
    let fan = Fan::new(3, 2);
    let refused = Fault::on("PUT", "*/blobs/uploads/*").times(u32::MAX);
    fan.targets[1].fault(refused.registry_error(403, "DENIED", "no"));
    let failed = fan.publish().end_with(1);
    failed.says(&["403 Forbidden (DENIED"]);
    let has = |target: &Registry| {
        let mut layers = fan.layers.iter();
        layers.all(|layer| target.blob(TARGET, layer).is_some())
    };
    let have: Vec<bool> = fan.targets.iter().map(has).collect();
    assert_eq!(have, [true, false, true]);
    assert_eq!(fan.reads(), [1; 2]);
    // The rerun completes it.
    fan.targets[1].clear_faults();
    fan.publish().succeed();
    assert_eq!(fan.arrived(), [true; 3]);
}

#[test]
fn destination_that_breaks_off_amid_a_layer_drops_out() {
    let fan = Fan::new(3, 2);
    let cut = Fault::on("PUT", "*/blobs/uploads/*").times(u32::MAX);
    fan.targets[2].fault(cut.cut_request());
    fan.publish().input("max-attempts", "2").end_with(1);
    let has = |target: &Registry| {
        let mut layers = fan.layers.iter();
        layers.all(|layer| target.blob(TARGET, layer).is_some())
    };
    let have: Vec<bool> = fan.targets.iter().map(has).collect();
    assert_eq!(have, [true, true, false]);
    // It tried again alone, once per layer that it had begun.
    let reads = fan.reads();
    assert!(
        reads.iter().all(|reads| (1..=2).contains(reads)),
        "{reads:?}"
    );
}

#[test]
fn manifests_and_small_blobs_are_read_once_for_all_destinations() {
    let source = Registry::start(Options::new());
    let children = ["linux/amd64", "linux/arm64", "linux/s390x"];
    let children = children.map(|platform| {
        let image = source.push_image(REPOSITORY, platform, Kind::Oci);
        let (media_type, bytes) = source.manifest(REPOSITORY, &image.digest).unwrap();
        json!({"mediaType": media_type, "digest": image.digest, "size": bytes.len()})
    });
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": children});
    let index = index.to_string();
    source.push_raw(REPOSITORY, Some("v1"), media_type, index.as_bytes());
    let targets = [(); 4].map(|()| Registry::start(Options::new()));
    let tags: Vec<String> = targets
        .iter()
        .map(|target| format!("{}:v1", target.repository(TARGET)))
        .collect();
    Action::new("publish")
        .input("source", format!("{}:v1", source.repository(REPOSITORY)))
        .input("tags", tags.join("\n"))
        .succeed();
    for target in &targets {
        assert_eq!(target.manifests(TARGET).len(), 4);
    }
    let mut reads: BTreeMap<String, usize> = BTreeMap::new();
    for request in source.requests() {
        let is_content = request.path.contains("sha256:") && !request.path.contains("/referrers/");
        if request.method == "GET" && is_content {
            *reads.entry(request.path).or_default() += 1;
        }
    }
    assert!(reads.len() >= 6, "{reads:#?}");
    assert!(reads.values().all(|reads| *reads == 1), "{reads:#?}");
}

#[test]
fn destination_that_cannot_be_asked_holds_up_nobody() {
    let fan = Fan::new(3, 2);
    let refused = Fault::on("HEAD", "*").times(u32::MAX);
    fan.targets[2].fault(refused.registry_error(500, "UNKNOWN", "no"));
    fan.publish().end_with(1).says(&["500"]);
    let has = |target: &Registry| target.blob(TARGET, &fan.layers[0]).is_some();
    let have: Vec<bool> = fan.targets.iter().map(has).collect();
    assert_eq!(have, [true, true, false]);
}

#[test]
fn destination_that_must_try_again_reads_alone() {
    let fan = Fan::new(3, 2);
    let busy = Fault::on("PUT", "*/blobs/uploads/*");
    fan.targets[0].fault(busy.registry_error(500, "UNKNOWN", "busy"));
    fan.publish().succeed();
    assert_eq!(fan.arrived(), [true; 3]);
    let mut reads = fan.reads();
    reads.sort_unstable();
    assert_eq!(reads, [1, 2]);
}

#[test]
fn source_that_breaks_off_is_read_again() {
    let fan = Fan::new(3, 2);
    let layer = format!("*/blobs/{}", fan.layers[0]);
    fan.source.fault(Fault::on("GET", &layer).cut_body());
    fan.publish().succeed();
    assert_eq!(fan.arrived(), [true; 3]);
    assert_eq!(fan.reads()[1], 1);
}

#[test]
fn source_that_refuses_all_reads_for_a_while_holds_up_no_later_ones() {
    let fan = Fan::new(2, 12);
    let busy = Fault::on("GET", "*/blobs/*").times(24);
    fan.source
        .fault(busy.registry_error(503, "UNAVAILABLE", "busy"));
    fan.publish().input("timeout", "1m").succeed();
    assert_eq!(fan.arrived(), [true; 2]);
}

#[test]
fn source_that_cannot_mount_is_a_destination_like_others() {
    let fan = Fan::new(2, 12);
    let source = fan.source.repository("prod/copy");
    let session = Fault::on("POST", "*/blobs/uploads/*mount=*").times(u32::MAX);
    fan.source
        .fault(session.registry_error(405, "UNSUPPORTED", "no mounts"));
    let tags = fan.targets.iter().map(|target| target.repository(TARGET));
    let tags: Vec<String> = tags
        .chain([source])
        .map(|repository| format!("{repository}:v1"))
        .collect();
    fan.publish().input("tags", tags.join("\n")).succeed();
    assert_eq!(fan.arrived(), [true; 2]);
}

#[test]
fn wrong_content_reaches_no_destination() {
    let fan = Fan::new(2, 1);
    let layer = format!("*/blobs/{}", fan.layers[0]);
    let wrong = Fault::on("GET", &layer).times(u32::MAX);
    fan.source
        .fault(wrong.answer(200, &[], &"x".repeat(2 * MIB + 1)));
    fan.publish().end_with(1).says(&["digest"]);
    for target in &fan.targets {
        assert_eq!(target.blob(TARGET, &fan.layers[0]), None);
        assert_eq!(target.open_uploads(), 0);
    }
}
