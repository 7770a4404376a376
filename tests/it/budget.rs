//! Limits on the number of requests of a run: services limit requests, and each costs time.

use std::time::Duration;

use sandbox::{Fault, Kind, Options, Referrers, Registry};

use crate::support::{Action, Pipeline, REPOSITORY, World, target};

const TARGET: &str = "prod/app";

/// Counts the requests that `action` sends to the registry. Requests for tokens are not counted, nor are those to Sigstore
/// (token, certificate, log).
pub(crate) fn cost(world: &World, action: &Action) -> usize {
    world.registry().clear_requests();
    action.succeed();
    let requests = world.registry().requests();
    requests
        .iter()
        .filter(|request| !request.path.starts_with("/token"))
        .count()
}

/// Counts all requests of a run, including those for token, certificate, log and timestamp.
#[test]
fn all_requests_of_a_run_have_a_budget() {
    for (kind, fresh_most, again_most) in [(Referrers::Api, 21, 9), (Referrers::TagSchema, 23, 10)]
    {
        let world = World::with(Options::new().referrers(kind));
        world.sigstore().offer_rekor_v2();
        let action = world.seal();
        // Over TLS a HEAD request opens a connection ahead of the other requests.
        let sigstore = || {
            let requests = world.sigstore().requests();
            requests.iter().filter(|one| one.method != "HEAD").count()
        };
        let asked = || {
            let before = sigstore();
            let registry = cost(&world, &action);
            registry + sigstore() - before
        };
        let (fresh, again) = (asked(), asked());
        eprintln!("{fresh} requests in all, {again} of a rerun");
        assert!(
            fresh <= fresh_most && again <= again_most,
            "{kind:?}: {fresh}, {again}"
        );
    }
}

#[test]
fn a_run_asks_no_more_than_its_budget() {
    for (kind, takes_whole, tags, fresh_most, again_most) in [
        (Referrers::Api, true, "v1", 17, 8),
        (Referrers::Api, false, "v1", 19, 8),
        (Referrers::TagSchema, true, "v1", 19, 9),
        (Referrers::TagSchema, false, "v1", 21, 9),
        (Referrers::Api, true, "v1\nv1.0\nv1.0.0", 29, 10),
        (Referrers::TagSchema, true, "v1\nv1.0\nv1.0.0", 31, 11),
    ] {
        let world = World::with(Options::new().referrers(kind).takes_whole(takes_whole));
        let action = world.seal().input("tags", tags);
        let (fresh, again) = (cost(&world, &action), cost(&world, &action));
        let elsewhere = cost(&world, &action.elsewhere());
        let count = tags.lines().count();
        eprintln!("{count} tags: {fresh} requests, {again} of a rerun, {elsewhere} elsewhere");
        assert!(
            fresh <= fresh_most && again <= again_most && elsewhere <= again_most,
            "{kind:?}: {fresh}, {again}, {elsewhere}"
        );
    }
}

/// Returns the number of sequential turns that `trace` reports, if each request takes 60 ms.
pub(crate) fn turns(world: &World, action: &Action) -> usize {
    turns_at(&[world.registry()], action)
}

fn turns_at(registries: &[&Registry], action: &Action) -> usize {
    for registry in registries {
        let slow = Fault::on("*", "*").times(u32::MAX);
        registry.fault(slow.delay(Duration::from_millis(60)));
    }
    let outcome = action.clone().input("trace", "true").succeed();
    for registry in registries {
        registry.clear_faults();
    }
    let told = outcome.log.split(" requests, at least ").nth(1).unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

/// The turns of a fresh run: children and tags; configs and the token; signatures, presence of the index and, meanwhile, the
/// certificate; the index; the log; the bundle and its config; its manifest; the list, unless the registry keeps it, and the
/// tags once more; writing the tags; checking that the tags stay. A list under the referrers tag is read again later. A
/// rerun takes the turns before the index, and two for the bundle. TLS adds one turn: a loopback host is tried by plain HTTP
/// first.
#[test]
fn a_run_takes_no_more_turns_than_one_step_needs_the_other() {
    for (kind, fresh_most, again_most, verify_most) in
        [(Referrers::Api, 10, 5, 4), (Referrers::TagSchema, 11, 6, 5)]
    {
        let world = World::with(Options::new().referrers(kind));
        let (seal, verify) = (world.seal(), world.verify("v1"));
        let found = [&seal, &seal, &verify].map(|action| turns(&world, action));
        let [fresh, again, verified] = found;
        eprintln!("{fresh} turns, {again} of a rerun, {verified} to verify");
        let asked_plain = usize::from(world.registry().transport().is_tls());
        let most = [fresh_most, again_most, verify_most].map(|most| most + asked_plain);
        assert!(
            found.iter().zip(most).all(|(found, most)| *found <= most),
            "{kind:?}: {found:?} and not {most:?}"
        );
    }
}

/// The turns of a first copy: image and tags; children, and the lists of referrers; blobs, and the referrers; the ends of
/// the uploads; the children; the index; its referrers, and the tags once more; the list, unless the registry keeps it;
/// writing the tags; checking that they and the list stay. If everything is there, the turns after the blobs are not taken,
/// and one more checks the blobs of the referrers. A run that verifies takes four more: the list, a signature and its bundle
/// before the copy, and the signature at the destination after it; where everything is there, bundles of other signatures too.
#[test]
fn a_copy_takes_no_more_turns_than_one_step_needs_the_other() {
    let (api, tags) = (Referrers::Api, Referrers::TagSchema);
    for (from, to, first_most, again_most) in [
        (api, tags, 10, 4),
        (tags, tags, 10, 4),
        (tags, api, 9, 4),
        (api, api, 9, 4),
    ] {
        let pipeline = Pipeline {
            world: World::with(Options::new().referrers(from)),
            target: target(to),
        };
        let (_, index) = pipeline.build();
        let source = format!("{}:source", pipeline.world.image());
        let tag = pipeline.world.create().input("digests", &index);
        tag.input("tags", "source").succeed();
        let registries = [pipeline.world.registry(), &pipeline.target];
        let asked_plain = usize::from(pipeline.target.transport().is_tls());
        let most = [first_most, again_most, first_most + 4, again_most + 5];
        let most = most.map(|most| most + asked_plain);
        let mut found = [usize::MAX; 4];
        // A busy machine starts some requests late, which looks like more turns, and never like fewer.
        for attempt in 0..4 {
            let tag = |name: &str| {
                let name = format!("prod/{name}{attempt}");
                format!("{}:v1", pipeline.target.repository(&name))
            };
            let publish = Action::new("publish").input("source", &source);
            let publish = publish.input("tags", tag("plain"));
            let verified = pipeline.checked(&source).input("recursive", "false");
            let verified = verified.input("moving-tags", "");
            let verified = verified.input("tags", tag("verified"));
            let runs = [&publish, &publish, &verified, &verified];
            for (found, publish) in found.iter_mut().zip(runs) {
                *found = turns_at(&registries, publish).min(*found);
            }
            if found.iter().zip(most).all(|(found, most)| *found <= most) {
                break;
            }
        }
        let [first, again, first_verified, again_verified] = found;
        eprintln!(
            "{first} turns of a first copy, {again} of another; {first_verified} and {again_verified} verified"
        );
        assert!(
            found.iter().zip(most).all(|(found, most)| *found <= most),
            "{from:?} to {to:?}: {found:?} and not {most:?}"
        );
    }
}

#[test]
fn images_of_a_record_are_copied_and_verified_at_once() {
    let turns_of = |count: usize| {
        let pipeline = Pipeline::new();
        let (world, registry) = (&pipeline.world, pipeline.world.registry());
        let mut create = world.create().input("tags", "");
        for number in 0..count {
            let platform = format!("linux/other{number}");
            let image = registry.push_image(REPOSITORY, &platform, Kind::Oci);
            create = create.input("digests", &image.digest);
            create.succeed();
        }
        let sign = world.sign("v1").input("image", "");
        let sign = sign.handed("manifest-seal.json", create.record().to_string());
        sign.succeed();
        let publish = pipeline
            .checked("built.json")
            .handed("built.json", sign.record().to_string())
            .input("image", pipeline.target.repository(TARGET))
            .input("tags", "")
            .input("moving-tags", "");
        let turns = turns_at(&[registry, &pipeline.target], &publish);
        // The index, its image, a signature of each, and the list of each.
        assert_eq!(pipeline.target.manifests(TARGET).len(), 6 * count);
        turns
    };
    let (few, many) = (turns_of(1), turns_of(20));
    eprintln!("{few} turns for one image, {many} for twenty");
    // The others wait for the limit of requests. If it does not grow, since the machine is busy, that takes 82 turns more. A
    // gate that checks one image after the other takes 132 more, even if it grows.
    assert!(many <= few + 100, "{few}, {many}");
}

/// The turns: children and tags; configs; presence of the index; the index; the tags once more; writing the tags; checking that
/// the tags stay.
#[test]
fn run_that_signs_nothing_has_a_budget_of_turns_too() {
    let world = World::new();
    let create = world.create();
    let (fresh, again) = (turns(&world, &create), turns(&world, &create));
    eprintln!("{fresh} turns, {again} of a rerun");
    let asked_plain = usize::from(world.registry().transport().is_tls());
    assert!(
        fresh <= 7 + asked_plain && again <= 2 + asked_plain,
        "{fresh}, {again}"
    );
}

#[test]
fn more_children_and_tags_take_no_more_turns() {
    let few = World::new();
    let many = World::new();
    let others = ["386", "arm/v7", "ppc64le", "riscv64", "s390x"].map(|architecture| {
        let registry = many.registry();
        let image = registry.push_image(REPOSITORY, &format!("linux/{architecture}"), Kind::Oci);
        image.digest
    });
    let both = [&many.amd64.digest, &many.arm64.digest].map(ToString::to_string);
    let digests = [&others[..], &both[..]].concat().join("\n");
    let few_seal = few.seal();
    let many_seal = many
        .seal()
        .input("digests", digests)
        .input("tags", "v1\nv1.0\nv1.0.0\nv1.0.0-1");
    // Requests run concurrently, up to a limit, so more children and tags add a few turns at most. Over TLS, requests that
    // wait at first are tried by plain HTTP too.
    let more = 3 + usize::from(many.registry().transport().is_tls());
    for run in ["fresh", "rerun"] {
        let (few, many) = (turns(&few, &few_seal), turns(&many, &many_seal));
        eprintln!("{run}: {few} turns, {many} with more of everything");
        assert!(many <= few + more, "{run}: {few}, {many}");
    }
}

/// Concurrent requests need one connection each, and one connection may be opened in vain. All other requests use these
/// connections again.
#[test]
fn connections_are_used_again() {
    let world = World::new();
    let platforms = (0..20).map(|number| format!("linux/other{number}"));
    let digests: Vec<String> = platforms
        .map(|platform| {
            world
                .registry()
                .push_image(REPOSITORY, &platform, Kind::Oci)
                .digest
        })
        .collect();
    let action = world.seal().input("digests", digests.join("\n"));
    action.input("recursive", "true").succeed();
    let (connections, requests) = (
        world.registry().connections(),
        world.registry().requests().len(),
    );
    eprintln!("{requests} requests, {connections} connections");
    assert!(
        requests > 150 && connections <= 33,
        "{requests}, {connections}"
    );
}

/// Counts the requests that another registry adds: lookups and copies.
#[test]
fn another_registry_has_a_budget_of_its_own() {
    for (kind, fresh_most, again_most) in [(Referrers::Api, 26, 6), (Referrers::TagSchema, 28, 7)] {
        let world = World::new();
        let other = Registry::start(Options::new().referrers(kind));
        let there = format!("{}:v1", other.repository("mirror/app"));
        let action = world.seal().input("tags", format!("v1\n{there}"));
        let mut costs = Vec::new();
        for here_most in [23, 8] {
            other.clear_requests();
            let here = cost(&world, &action);
            assert!(here <= here_most, "{here}");
            costs.push(other.requests().len());
        }
        eprintln!("{} requests more, {} of a rerun", costs[0], costs[1]);
        assert!(
            costs[0] <= fresh_most && costs[1] <= again_most,
            "{kind:?}: {costs:?}"
        );
    }
}

#[test]
fn the_older_format_has_a_budget_too() {
    for (kind, format, fresh_most, again_most) in [
        (Referrers::Api, "legacy", 18, 7),
        (Referrers::TagSchema, "legacy", 18, 7),
        (Referrers::Api, "both", 22, 10),
        (Referrers::TagSchema, "both", 24, 11),
    ] {
        let world = World::with(Options::new().referrers(kind));
        let action = world.seal().input("signature-format", format);
        let (fresh, again) = (cost(&world, &action), cost(&world, &action));
        eprintln!("{format}: {fresh} requests, {again} of a rerun");
        assert!(
            fresh <= fresh_most && again <= again_most,
            "{kind:?} {format}: {fresh}, {again}"
        );
    }
}
