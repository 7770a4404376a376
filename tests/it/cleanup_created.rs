//! An index is deleted with its tag only if the run created it: the same bytes may belong to somebody else.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options, Service};
use serde_json::{Value, json};

use crate::support::cleanup::{nothing_remains, remaining};
use crate::support::hosted::Hosted;
use crate::support::{Action, INDEX, Outcome, Pipeline, REPOSITORY, TARGET, World, cleanup, until};

const FOR_EVER: Duration = Duration::from_mins(10);
const WHY: &str = "the record does not state that the run created the image";

/// The registries that delete manifests only, or that delete the manifest with its last tag.
enum Place {
    Plain(World),
    Hosted(Hosted),
}

impl Place {
    fn all() -> Vec<Self> {
        let plain = World::with(Options::new().deletes(Deletes::Digests));
        let services = [Service::Ghcr, Service::Ecr, Service::EcrPublic];
        let hosted = services.map(|service| Self::Hosted(Hosted::new(service)));
        [Self::Plain(plain)].into_iter().chain(hosted).collect()
    }

    fn world(&self) -> &World {
        match self {
            Self::Plain(world) => world,
            Self::Hosted(hosted) => &hosted.world,
        }
    }

    /// Returns a run of `create` for the tag `v1`. Another tag exists, since GitHub does not delete the last tagged version.
    fn create(&self) -> Action {
        let registry = self.world().registry();
        registry.tag(REPOSITORY, "v0", &self.world().amd64.digest);
        match self {
            Self::Plain(world) => world.create(),
            Self::Hosted(hosted) => hosted.logged_in(hosted.world.create()),
        }
    }
}

/// Pushes the index of `create` from another machine, and deletes its tag.
fn push_before(world: &World, create: &Action) -> String {
    let digest = create.elsewhere().succeed().output("digest").to_owned();
    world.registry().delete_tag(REPOSITORY, "v1");
    digest
}

fn kept(world: &World, digest: &str, outcome: &Outcome) {
    let held = world.registry().manifest(REPOSITORY, digest);
    assert!(held.is_some(), "{}", outcome.log);
    assert_eq!(world.tag("v1").as_deref(), Some(digest), "{}", outcome.log);
    let remaining = remaining(outcome);
    assert_eq!(remaining.keys().collect::<Vec<_>>(), ["v1"]);
    let why = remaining["v1"]["why"].as_str().unwrap();
    assert!(why.contains(WHY), "{why}");
    assert_ne!(remaining["v1"]["steps"], json!(""));
    outcome.says(&["::warning", "Manual steps: "]);
}

fn gone(world: &World, digest: &str, outcome: &Outcome) {
    nothing_remains(outcome);
    assert_eq!(world.tag("v1"), None, "{}", outcome.log);
    let held = world.registry().manifest(REPOSITORY, digest);
    assert!(held.is_none(), "{}", outcome.log);
}

#[test]
fn created_index_is_deleted_with_its_tag() {
    for place in Place::all() {
        let (world, create) = (place.world(), place.create());
        let digest = create.succeed().output("digest").to_owned();
        assert_eq!(create.record()["images"][0]["created"], json!(true));
        // A rerun finds the index present. The earlier record says that the run created it.
        create.succeed();
        gone(world, &digest, &cleanup(&create).succeed());
    }
}

#[test]
fn index_that_was_there_before_the_run_stays() {
    for place in Place::all() {
        let (world, create) = (place.world(), place.create());
        let digest = push_before(world, &create);
        create.succeed();
        let record = create.record();
        assert_eq!(record["images"][0].get("created"), None, "{record}");
        kept(world, &digest, &cleanup(&create).succeed());
        // The index also stays if an index of somebody else lists it.
        let child = json!({"mediaType": INDEX, "digest": digest, "size": 1});
        let bundle = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
        let bundle = bundle.to_string();
        let registry = world.registry();
        registry.push_raw(REPOSITORY, Some("theirs"), INDEX, bundle.as_bytes());
        kept(world, &digest, &cleanup(&create).succeed());
    }
}

#[test]
fn index_with_another_tag_loses_only_its_own_tag() {
    for service in [Service::Ecr, Service::EcrPublic] {
        let place = Place::Hosted(Hosted::new(service));
        let (world, create) = (place.world(), place.create());
        let digest = push_before(world, &create);
        world.registry().tag(REPOSITORY, "theirs", &digest);
        create.succeed();
        nothing_remains(&cleanup(&create).succeed());
        assert_eq!((world.tag("v1"), world.tag("theirs")), (None, Some(digest)));
    }
    let world = World::new();
    let digest = push_before(&world, &world.create());
    let create = world.create();
    create.succeed();
    nothing_remains(&cleanup(&create).succeed());
    assert_eq!(world.tag("v1"), None);
    assert!(world.registry().manifest(REPOSITORY, &digest).is_some());
}

#[test]
fn index_of_unknown_origin_stays() {
    for status in [401, 403, 404, 429, 500, 503] {
        let world = World::with(Options::new().deletes(Deletes::Digests));
        let create = world.create();
        let plan = create.clone().input("dry-run", "true").succeed();
        let digest = plan.output("digest");
        for method in ["HEAD", "GET"] {
            let path = format!("*/manifests/{digest}");
            let fault = Fault::on(method, &path).times(u32::MAX);
            world.registry().fault(fault.status(status));
        }
        create.succeed();
        world.registry().clear_faults();
        let outcome = cleanup(&create).succeed();
        if status == 404 {
            gone(&world, digest, &outcome);
        } else {
            kept(&world, digest, &outcome);
        }
    }
}

#[test]
fn record_that_does_not_say_who_created_the_index_deletes_only_tags() {
    let world = World::with(Options::new().deletes(Deletes::Digests));
    let create = world.create();
    let digest = create.succeed().output("digest").to_owned();
    let mut record = create.record();
    let image = record["images"][0].as_object_mut().unwrap();
    assert_eq!(image.remove("created"), Some(Value::Bool(true)));
    let older = cleanup(&create.elsewhere()).handed("manifest-seal.json", record.to_string());
    kept(&world, &digest, &older.succeed());
}

#[test]
fn record_names_a_manifest_before_it_is_created() {
    let world = World::with(Options::new().deletes(Deletes::Digests));
    let create = world.create();
    let held = Fault::on("PUT", "*/manifests/sha256:*").delay(FOR_EVER);
    world.registry().fault(held);
    let running = create.begin();
    until("the index", || {
        world
            .registry()
            .requests()
            .iter()
            .any(|request| request.faulty)
    });
    running.kill();
    assert_eq!(create.record()["images"][0]["created"], json!(true));
    world.registry().clear_faults();
    let digest = create.succeed().output("digest").to_owned();
    gone(&world, &digest, &cleanup(&create).succeed());
}

#[test]
fn published_image_is_deleted_only_where_the_run_created_it() {
    for was_there in [false, true] {
        let pipeline = Pipeline {
            world: World::new(),
            target: sandbox::Registry::start(Options::new().deletes(Deletes::Digests)),
        };
        let (_, index) = pipeline.build();
        let publish = pipeline.publish(&pipeline.world.at(&index));
        let publish = publish.input("moving-tags", "");
        if was_there {
            publish.elsewhere().succeed();
            pipeline.target.delete_tag(TARGET, "v1");
        }
        let held = Fault::on("PUT", &format!("*/manifests/{index}")).delay(FOR_EVER);
        pipeline.target.fault(held);
        if was_there {
            publish.succeed();
        } else {
            let running = publish.begin();
            until("the index", || {
                pipeline
                    .target
                    .requests()
                    .iter()
                    .any(|request| request.faulty)
            });
            running.kill();
        }
        pipeline.target.clear_faults();
        publish.succeed();
        assert_eq!(publish.record()["images"][0]["digest"], json!(index));
        let cleanup = cleanup(&publish).input("source", "").succeed();
        let is_there = pipeline.target.manifest(TARGET, &index).is_some();
        assert_eq!(is_there, was_there, "{}", cleanup.log);
        assert_eq!(
            remaining(&cleanup).len(),
            usize::from(was_there),
            "{}",
            cleanup.log
        );
    }
}
