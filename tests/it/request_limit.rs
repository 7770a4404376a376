//! The number of concurrent requests to a host: it follows the host, up to a maximum.

use std::time::Duration;

use sandbox::{Fault, Kind, Options, Referrers, Registry, Transport};
use serde_json::{Value, json};

use crate::support::{Action, MANIFEST, Outcome, REPOSITORY, TARGET, World, target};

const PLATFORMS: usize = 60;
/// The highest number of concurrent requests to a host.
const AT_ONCE_MAX: usize = 32;
const SLOW: Duration = Duration::from_millis(60);

/// Makes a world whose registry has images for many platforms. Returns it with a run that seals them all.
fn many(options: Options) -> (World, Action) {
    let world = World::with(options);
    let digests: Vec<String> = (0..PLATFORMS)
        .map(|number| {
            let platform = format!("linux/other{number}");
            let image = world
                .registry()
                .push_image(REPOSITORY, &platform, Kind::Oci);
            image.digest
        })
        .collect();
    let seal = world.seal().input("digests", digests.join("\n"));
    (
        world,
        seal.input("recursive", "true").input("trace", "true"),
    )
}

/// Delays every answer. A fault that was added before goes first.
fn slow_down(registry: &Registry) {
    let all = Fault::on("*", "*").times(u32::MAX);
    registry.fault(all.delay(SLOW));
}

/// Returns the number of sequential turns that `trace` reports.
fn turns(outcome: &Outcome) -> usize {
    let told = outcome.log.split(" requests, at least ").nth(1).unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

/// Returns the lines of `trace` about a lower limit.
fn decreases(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.log.lines();
    lines
        .filter(|line| line.starts_with("trace ") && line.contains("requests at once from now on"))
        .collect()
}

fn publish(world: &World, digest: &str, there: &Registry) -> Action {
    Action::new("publish")
        .input("source", world.at(digest))
        .input("tags", format!("{}:v1", there.repository(TARGET)))
        .input("trace", "true")
}

#[test]
fn sixty_platforms_take_few_turns() {
    let (world, seal) = many(Options::new());
    slow_down(world.registry());
    let sealed = seal.succeed();
    let (taken, most) = (turns(&sealed), world.registry().open_max());
    eprintln!("seal: {taken} turns, {most} requests at once");
    assert!(taken <= 65, "{taken}");
    assert!(most > 8 && most <= AT_ONCE_MAX, "{most}");
    let there = target(Referrers::Api);
    slow_down(&there);
    let published = publish(&world, sealed.output("digest"), &there).succeed();
    let (taken, most) = (turns(&published), there.open_max());
    eprintln!("publish: {taken} turns, {most} requests at once");
    assert!(taken <= 65, "{taken}");
    assert!(most > 8 && most <= AT_ONCE_MAX, "{most}");
}

/// Makes a slow registry with an image that has `count` layers of `size` bytes.
fn layered(count: usize, size: usize) -> Registry {
    let registry = Registry::start(Options::new());
    let layers: Vec<Value> = (0..count)
        .map(|number| {
            let mut layer = number.to_string().into_bytes();
            layer.resize(size, 0);
            let digest = registry.push_blob(REPOSITORY, &layer);
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
        })
        .collect();
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let digest = registry.push_blob(REPOSITORY, config);
    let image = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()},
        "layers": layers,
    });
    let image = image.to_string();
    registry.push_raw(REPOSITORY, Some("v1"), MANIFEST, image.as_bytes());
    slow_down(&registry);
    registry
}

#[test]
fn small_layers_are_copied_many_at_once_and_large_ones_few() {
    for (size, at_once) in [(1000, 9..=AT_ONCE_MAX), (2 << 20, 1..=6)] {
        let (source, there) = (layered(60, size), target(Referrers::Api));
        slow_down(&there);
        let publish = Action::new("publish")
            .input("source", format!("{}:v1", source.repository(REPOSITORY)))
            .input("tags", format!("{}:v1", there.repository(TARGET)));
        publish.succeed();
        let most = source.open_max();
        eprintln!("{size} bytes: {most} at once");
        assert!(at_once.contains(&most), "{size}: {most}");
    }
}

#[test]
fn host_that_throttles_gets_fewer_requests_at_once() {
    let (world, seal) = many(Options::new());
    let registry = world.registry();
    registry.fault(Fault::beyond(5).times(u32::MAX).throttle(0));
    slow_down(registry);
    let sealed = seal.succeed();
    assert_eq!(sealed.output("signed"), "true");
    let decreases = decreases(&sealed);
    eprintln!("{}", decreases.join("\n"));
    let first = format!(
        "{}: at most 4 requests at once from now on, because it throttles requests",
        registry.address()
    );
    assert!(
        decreases.first().is_some_and(|line| line.ends_with(&first)),
        "{decreases:?}"
    );
    let throttled = registry
        .requests()
        .iter()
        .filter(|one| one.status == Some(429))
        .count();
    eprintln!("{throttled} requests were throttled");
    assert!((1..=12).contains(&throttled), "{throttled}");
}

/// Plays a host that serves ten requests at once and lets others wait.
#[test]
fn host_that_answers_more_slowly_gets_fewer_requests_at_once() {
    let (world, seal) = many(Options::new());
    let registry = world.registry();
    let beyond = Fault::beyond(10).times(u32::MAX);
    registry.fault(beyond.delay(SLOW * 20));
    slow_down(registry);
    let sealed = seal.succeed();
    let decreases = decreases(&sealed);
    eprintln!("{}", decreases.join("\n"));
    let why = "requests at once from now on, because it answers more slowly";
    assert!(
        decreases.iter().any(|line| line.ends_with(why)),
        "{decreases:?}"
    );
    assert!(registry.open_max() < AT_ONCE_MAX, "{}", registry.open_max());
}

/// A connection permits fewer requests at once than the limit: the others wait, and none fails.
#[test]
fn streams_of_a_connection_are_enough() {
    let transport = Transport::HTTP2.streams_max(10);
    let (world, seal) = many(Options::new().transport(transport));
    slow_down(world.registry());
    let sealed = seal.input("max-attempts", "1").succeed();
    assert_eq!(sealed.output("signed"), "true");
    let registry = world.registry();
    let (most, connections) = (registry.open_max(), registry.connections());
    // Requests that are sent at the very start may open a connection each.
    assert!(connections <= 4, "{connections}");
    assert!((2..=10 * connections).contains(&most), "{most}");
}
