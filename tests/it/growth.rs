//! The cost of a run as its work grows: requests, turns, and bytes of the record. Each grows at most as fast as the work.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sandbox::{Deletes, Kind, Options, Service};
use serde_json::{Value, json};

use crate::budget::{cost, turns};
use crate::support::cleanup::{earlier, nothing_remains};
use crate::support::hosted::Hosted;
use crate::support::{Action, REPOSITORY, World, child, cleanup, created, index_of, push};

/// Returns `count` names of tags, one on each line.
fn names(prefix: &str, count: usize) -> String {
    (0..count).fold(String::new(), |mut names, number| {
        let _ = writeln!(names, "{prefix}{number}");
        names
    })
}

/// Returns a run for `fixed` new tags, and `moving` tags that exist.
fn publishing(world: &World, fixed: usize, moving: usize) -> Action {
    let moving = names("m", moving);
    if !moving.is_empty() {
        earlier(world, &moving);
    }
    let create = world.create().input("tags", names("v", fixed));
    create.input("moving-tags", moving)
}

#[test]
fn cleanup_takes_two_requests_for_each_tag() {
    for (kind, deletes, more) in [
        ("tags", Deletes::Tags, 6),
        // One request to delete a tag in vain for each that is in work at the time; these are read again, as are the two
        // other tags; and the deletion of the digest.
        ("digests", Deletes::Digests, 24),
    ] {
        for (fixed, moving) in [(25, 0), (50, 0), (100, 0), (50, 50), (0, 100)] {
            let world = World::with(Options::new().deletes(deletes));
            let publishing = publishing(&world, fixed, moving);
            let before = world.tags();
            publishing.succeed();
            let cleanup = cleanup(&publishing);
            let asked = cost(&world, &cleanup);
            assert_eq!(world.tags(), before);
            let again = cost(&world, &cleanup);
            eprintln!("{kind}, {fixed} + {moving} tags: {asked} requests, {again} once more");
            let most = 2 * (fixed + moving) + more;
            assert!(
                asked <= most && again <= most,
                "{kind}, {fixed} + {moving}: {asked}, {again}"
            );
        }
    }
}

#[test]
fn cleanup_of_many_tags_takes_few_turns() {
    for (fixed, moving) in [(100, 0), (50, 50)] {
        let world = World::new();
        let publishing = publishing(&world, fixed, moving);
        publishing.succeed();
        let turns = turns(&world, &cleanup(&publishing));
        eprintln!("{fixed} + {moving} tags: {turns} turns");
        let asked_plain = usize::from(world.registry().transport().is_tls());
        assert!(turns <= 40 + asked_plain, "{fixed} + {moving}: {turns}");
    }
}

/// A registry that deletes only digests deletes every tag of the digest. The other tags are compared if they are few.
#[test]
fn one_tag_does_not_cost_a_request_for_each_tag_of_its_repository() {
    for (others, most) in [(10, 20), (300, 16), (900, 16), (1500, 16)] {
        let world = World::with(Options::new().deletes(Deletes::Digests));
        for number in 0..others {
            let tag = format!("other{number}");
            world.registry().tag(REPOSITORY, &tag, &world.amd64.digest);
        }
        let before = world.tags();
        let publishing = publishing(&world, 1, 0);
        publishing.succeed();
        let cleanup = cleanup(&publishing);
        let asked = cost(&world, &cleanup);
        eprintln!("{others} other tags: {asked} requests");
        assert!(asked <= most, "{others}: {asked}");
        assert_eq!(world.tags(), before);
        nothing_remains(&cleanup.succeed());
    }
}

#[test]
fn cleanup_at_every_service_takes_two_requests_for_each_tag() {
    const STEP: usize = 15;
    for service in Service::ALL {
        let costs = [STEP, 2 * STEP].map(|count| {
            let hosted = Hosted::new(service);
            let world = &hosted.world;
            world.registry().tag(REPOSITORY, "v0", &world.amd64.digest);
            let create = world.create().input("tags", names("v1.", count));
            hosted.logged_in(create.clone()).succeed();
            let asked = cost(world, &hosted.logged_in(cleanup(&create)));
            let before = BTreeMap::from([("v0".to_owned(), world.amd64.digest.clone())]);
            assert_eq!(world.tags(), before, "{service:?}");
            asked
        });
        let [few, many] = costs;
        let [host, ..] = service.hosts();
        eprintln!("{host}: {STEP} tags: {few} requests, twice as many: {many}");
        assert!(
            many - few <= 2 * STEP && many <= 4 * STEP + 16,
            "{service:?}: {few}, {many}"
        );
    }
}

/// Amazon ECR deletes an image with its last tag. One request tells the tags of an image.
#[test]
fn tag_of_an_image_that_existed_before_costs_no_request_for_each_other_tag() {
    for service in [Service::Ecr, Service::EcrPublic] {
        let hosted = Hosted::new(service);
        let world = &hosted.world;
        let create = hosted.logged_in(world.create());
        let digest = created(&create.elsewhere());
        world.registry().delete_tag(REPOSITORY, "v1");
        for number in 0..100 {
            let tag = format!("other{number}");
            world.registry().tag(REPOSITORY, &tag, &world.amd64.digest);
        }
        world.registry().tag(REPOSITORY, "theirs", &digest);
        let before = world.tags();
        create.succeed();
        let asked = cost(world, &hosted.logged_in(cleanup(&create)));
        assert_eq!(world.tags(), before, "{service:?}");
        let [host, ..] = service.hosts();
        eprintln!("{host}: {asked} requests");
        assert!(asked <= 12, "{service:?}: {asked}");
    }
}

/// The record is written whole. A write for each result would cost bytes by the square of the work.
#[test]
fn record_is_written_a_few_times_however_much_there_is_to_record() {
    for count in [50, 100, 200] {
        let world = World::new();
        let create = publishing(&world, count, 0);
        create.succeed();
        let writes = create.record_writes();
        eprintln!("{count} tags: the record is written {writes} times");
        assert!(writes <= 16, "{count}: {writes}");
    }
    for count in [12, 24] {
        let world = World::new();
        let image = |number| {
            let platform = format!("linux/other{number}");
            let image = world
                .registry()
                .push_image(REPOSITORY, &platform, Kind::Oci);
            image.digest
        };
        let digests: Vec<String> = (0..count).map(image).collect();
        let seal = world.seal().input("digests", digests.join("\n"));
        let seal = seal.input("recursive", "true");
        seal.succeed();
        assert_eq!(world.sigstore().entries(), count + 1);
        let writes = seal.record_writes();
        eprintln!("{count} images: the record is written {writes} times");
        assert!(writes <= 20, "{count}: {writes}");
    }
}

#[test]
fn children_that_several_indexes_share_are_read_once() {
    const CHILDREN: usize = 20;
    let world = World::new();
    let child = |number| {
        let architecture = format!("other{number}");
        let platform = format!("linux/{architecture}");
        let image = world
            .registry()
            .push_image(REPOSITORY, &platform, Kind::Oci);
        child(&world, &image.digest, &architecture)
    };
    let children: Vec<Value> = (0..CHILDREN).map(child).collect();
    for count in [20, 40, 60] {
        let index = |number| {
            let mut index = index_of(&children);
            index["annotations"] = json!({"number": format!("{count}-{number}")});
            push(&world, None, &index.to_string())
        };
        let digests: Vec<String> = (0..count).map(index).collect();
        let create = world.create().input("digests", digests.join("\n"));
        let create = create.input("tags", format!("v{count}"));
        let asked = cost(&world, &create);
        eprintln!("{count} indexes of {CHILDREN} images: {asked} requests");
        // Each image has a manifest and a config.
        let most = count + 2 * CHILDREN + 12;
        assert!(asked <= most, "{count}: {asked}");
    }
}
