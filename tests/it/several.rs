//! One run for several repositories and registries: one digest and one signature in all of them.

use std::time::Duration;

use sandbox::Fault;

use crate::support::{Action, MIRROR, REPOSITORY, Two, World, listed, told, until, writes};

/// A delay longer than any test.
const FOR_EVER: Duration = Duration::from_mins(10);

#[test]
fn one_digest_and_one_signature_end_up_in_two_registries() {
    let two = Two::new();
    let outcome = two.seal().succeed();
    let digest = outcome.output("digest");
    assert_eq!(two.world.tag("v1").as_deref(), Some(digest));
    assert_eq!(two.other.tags(MIRROR)["v1"], digest);
    assert_eq!(
        two.other.manifest(MIRROR, digest),
        two.world.registry().manifest(REPOSITORY, digest)
    );
    assert!(two.is_whole_in_both(&two.world.amd64) && two.is_whole_in_both(&two.world.arm64));
    let here = listed(two.world.registry(), REPOSITORY, digest);
    assert_eq!(
        (
            here.len(),
            two.world.certificates(),
            two.world.sigstore().entries()
        ),
        (1, 1, 1)
    );
    assert_eq!(here, listed(&two.other, MIRROR, digest));
    two.world.verify("v1").succeed();
    two.verify_there().succeed();
    let references = outcome.json("references");
    for name in [
        two.world.at("v1"),
        two.there("v1"),
        two.world.at(digest),
        format!("{}@{digest}", two.other.repository(MIRROR)),
    ] {
        assert!(
            references
                .as_array()
                .unwrap()
                .contains(&name.clone().into()),
            "{name}: {references}"
        );
    }
    // A rerun, here and on another machine, changes nothing in either registry.
    for action in [two.seal(), two.seal().elsewhere()] {
        two.world.registry().clear_requests();
        two.other.clear_requests();
        let again = action.succeed();
        assert_eq!(
            (again.output("result"), again.output("sign-skipped")),
            ("unchanged", "true")
        );
        assert_eq!(two.world.writes(), [""; 0]);
        assert_eq!(writes(&two.other), [""; 0]);
    }
}

#[test]
fn run_for_two_registries_is_reported() {
    let two = Two::new();
    let action = two.seal();
    // The delay makes this tag the last one in the log.
    let tag = Fault::on("PUT", "*/manifests/v1");
    two.other.fault(tag.delay(Duration::from_millis(300)));
    insta::assert_snapshot!(told(&two.world, &action.succeed()));
    let images = action.record()["images"].clone();
    let images = images.as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        assert_eq!(image["tags"][0]["state"], "written");
        assert_eq!(image["signatures"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn half_published_version_is_completed_with_the_signature_that_is_there() {
    for format in ["bundle", "legacy", "both"] {
        let two = Two::new();
        let signing = |action: Action| {
            action
                .input("signature-format", format)
                .input("recursive", "true")
        };
        let first = signing(two.world.seal()).succeed();
        let entries = two.world.sigstore().entries();
        let both = signing(two.seal()).elsewhere().succeed();
        assert_eq!(both.output("digest"), first.output("digest"));
        assert_eq!(
            (both.output("result"), both.output("sign-skipped")),
            ("completed", "true")
        );
        assert_eq!(
            two.world.sigstore().entries(),
            entries,
            "{format} was signed anew"
        );
        assert_eq!(two.world.certificates(), 1);
        two.verify_there().input("recursive", "true").succeed();
        if format == "both" {
            let digest = both.output("digest");
            assert_eq!(listed(&two.other, MIRROR, digest).len(), 1);
            let legacy = format!("{}.sig", digest.replace(':', "-"));
            assert!(two.other.manifest(MIRROR, &legacy).is_some());
        }
    }
}

#[test]
fn only_the_named_repositories_get_anything() {
    let two = Two::new();
    let outcome = two.seal().input("tags", two.there("v1")).succeed();
    assert_eq!(two.world.tags().len(), 0);
    assert_eq!(two.world.writes(), [""; 0]);
    assert_eq!(outcome.output("image"), two.other.repository(MIRROR));
    two.verify_there().succeed();
}

#[test]
fn index_of_another_tool_in_one_registry_is_what_all_get() {
    let two = Two::new();
    let (theirs, pretty) = two.push_theirs("elsewhere");
    let outcome = two.seal().succeed();
    assert_eq!(outcome.output("digest"), theirs);
    assert_eq!(outcome.output("result"), "completed");
    assert_eq!(
        two.world.registry().manifest(REPOSITORY, "v1").unwrap().1,
        pretty
    );
    two.world.verify("v1").succeed();
    two.verify_there().succeed();
}

#[test]
fn two_repositories_of_one_registry_share_blobs_by_mounting() {
    let world = World::new();
    let second = world.registry().repository(MIRROR);
    let tags = format!("v1\n{second}:v1");
    world.seal().input("tags", tags).succeed();
    let requests = world.registry().requests();
    let mounts = requests
        .iter()
        .filter(|request| request.path.contains("mount=") && request.status == Some(201));
    // The mounted blobs are two configs and two layers.
    assert_eq!(mounts.count(), 4);
    let reads = requests
        .iter()
        .filter(|request| request.method == "GET" && request.path.contains(&world.amd64.layer));
    assert_eq!(reads.count(), 0);
}

#[test]
fn record_of_two_registries_is_signed_once_each() {
    let two = Two::new();
    let tags = format!("v1\n{}", two.there("v1"));
    let action = two.seal().input("command", "create").input("tags", tags);
    let digest = action.succeed().output("digest").to_owned();
    let outcome = action.input("command", "sign").input("image", "").succeed();
    // The signed digests are the index and two platforms.
    assert_eq!(
        (
            two.world.sigstore().entries(),
            outcome.json("signatures").as_array().unwrap().len()
        ),
        (3, 6)
    );
    for subject in [&digest, &two.world.amd64.digest] {
        assert_eq!(
            listed(two.world.registry(), REPOSITORY, subject),
            listed(&two.other, MIRROR, subject)
        );
    }
    two.verify_there().input("recursive", "true").succeed();
}

#[test]
fn plan_for_two_registries_changes_nothing() {
    let two = Two::new();
    let outcome = two.seal().input("dry-run", "true").succeed();
    assert_eq!(outcome.output("result"), "planned");
    assert_eq!((two.world.writes(), writes(&two.other)), (vec![], vec![]));
}

#[test]
fn run_killed_at_any_request_to_a_second_registry_is_completed() {
    let whole = Two::new();
    let expected = whole.seal().succeed().output("digest").to_owned();
    let requests = whole.other.requests().len() as u64;
    let killed = |k: u64| {
        let two = Two::new();
        two.other.fault(Fault::at(k).delay(FOR_EVER));
        let mut running = two.seal().begin();
        let mut ended = false;
        until("a request", || {
            ended = running.has_ended();
            ended || two.other.requests().iter().any(|request| request.faulty)
        });
        running.kill();
        two.other.clear_faults();
        let digest = two.seal().succeed().output("digest").to_owned();
        assert_eq!(digest, expected, "killed at request {k}");
        assert_eq!(two.other.tags(MIRROR)["v1"], digest);
        for (registry, name) in [(two.world.registry(), REPOSITORY), (&two.other, MIRROR)] {
            assert_eq!(
                listed(registry, name, &digest).len(),
                1,
                "killed at request {k}"
            );
        }
        two.verify_there().succeed();
        u64::from(!ended)
    };
    let killed: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|thread| {
                let killed = &killed;
                scope.spawn(move || {
                    (1..=requests)
                        .filter(|k| k % 6 == thread)
                        .map(killed)
                        .sum::<u64>()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    eprintln!("killed at {killed} of {requests} requests");
    assert!(
        killed + 3 >= requests && killed > 15,
        "{killed} of {requests}"
    );
}
