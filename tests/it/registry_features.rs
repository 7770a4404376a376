//! The registry protocol of 2026: several tags in one request, conditions on writes, redirects. Whatever a registry announces
//! or leaves out, a run reaches its result, and a rerun changes nothing.

use std::time::Duration;

use sandbox::{Algorithm, Conditions, Fault, ManifestReads, Options, Referrers, TagParameter};

use crate::support::legacy::signatures;
use crate::support::{Action, REPOSITORY, World, descriptor, index_of, push, until};

const TAG_PARAMETERS: [TagParameter; 7] = [
    TagParameter::Ignored,
    TagParameter::Honoured,
    TagParameter::Silent,
    TagParameter::Boastful,
    TagParameter::First,
    TagParameter::TooLong,
    TagParameter::Refused,
];

const CONDITIONS: [Conditions; 6] = [
    Conditions::Ignored,
    Conditions::NoEtag,
    Conditions::Honoured,
    Conditions::AsInvalid,
    Conditions::Unannounced,
    Conditions::Broken,
];

#[test]
fn many_tags_are_written_however_the_registry_treats_the_query() {
    for support in TAG_PARAMETERS {
        let world = World::with(Options::new().tag_parameter(support));
        let seal = world.seal().input("tags", "v1.2.3\nv1.2\nv1");
        let seal = seal
            .input("moving-tags", "latest\nedge")
            .input("trace", "true");
        let outcome = seal.succeed();
        let digest = outcome.output("digest");
        for tag in ["v1.2.3", "v1.2", "v1", "latest", "edge"] {
            assert_eq!(world.tag(tag).as_deref(), Some(digest), "{support:?} {tag}");
        }
        let requests = world.registry().requests();
        let puts = requests.iter().filter(|request| request.method == "PUT");
        let paths: Vec<&str> = puts.map(|request| request.path.as_str()).collect();
        let together = paths.iter().filter(|path| path.contains("?tag=")).count();
        let is_single = |path: &&&str| {
            let name = path.rsplit('/').next().unwrap();
            path.contains("/manifests/") && !name.contains(':')
        };
        let alone = paths.iter().filter(is_single).count();
        let wanted = match support {
            // Two requests: fixed tags, then moving ones.
            TagParameter::Honoured => (2, 0),
            TagParameter::Boastful => (2, 5),
            TagParameter::First => (2, 3),
            // The registry is not asked a second time.
            TagParameter::Ignored | TagParameter::TooLong | TagParameter::Refused => (1, 5),
            // The fixed tags have their content when they are read again.
            TagParameter::Silent => (1, 2),
        };
        assert_eq!((together, alone), wanted, "{support:?}: {paths:?}");
        outcome.says(&["(3 tags)"]);
        world.registry().clear_requests();
        seal.elsewhere().succeed();
        assert_eq!(world.writes(), [""; 0], "{support:?}");
    }
}

#[test]
fn more_than_ten_tags_take_several_requests() {
    let world = World::with(Options::new().tag_parameter(TagParameter::Honoured));
    let tags: Vec<String> = (0..23).map(|number| format!("v1.{number}")).collect();
    let create = world.create().input("tags", tags.join("\n"));
    let digest = create.succeed().output("digest").to_owned();
    assert!(
        tags.iter()
            .all(|tag| world.tag(tag).as_ref() == Some(&digest))
    );
    let requests = world.registry().requests();
    let together = requests
        .iter()
        .filter(|request| request.path.contains("?tag="));
    assert_eq!(together.count(), 3);
}

#[test]
fn lost_response_to_many_tags_is_completed_and_replaces_no_tag_of_another_run() {
    for fault in [
        |on: sandbox::Trigger| on.lost_response(),
        |on: sandbox::Trigger| on.status(503),
        |on: sandbox::Trigger| on.reset(),
    ] {
        let world = World::with(Options::new().tag_parameter(TagParameter::Honoured));
        world.registry().fault(fault(Fault::on("PUT", "*?tag=*")));
        let create = world.create().input("tags", "v1\nv1.0");
        let digest = create.succeed().output("digest").to_owned();
        assert_eq!(world.tag("v1").as_ref(), Some(&digest));
        assert_eq!(world.tag("v1.0").as_ref(), Some(&digest));
    }
}

#[test]
fn conditions_are_used_or_left_out_as_the_registry_treats_them() {
    for support in CONDITIONS {
        for format in ["bundle", "legacy"] {
            let options = Options::new().referrers(Referrers::TagSchema);
            let world = World::with(options.conditions(support));
            let seal = world.seal().input("signature-format", format);
            let seal = seal.input("moving-tags", "latest").input("trace", "true");
            let outcome = seal.succeed();
            let sends_etag = !matches!(support, Conditions::NoEtag | Conditions::Unannounced);
            assert_eq!(
                outcome.log.contains("If-None-Match"),
                sends_etag,
                "{support:?}"
            );
            world.verify("v1").succeed();
            world.registry().clear_requests();
            seal.elsewhere().succeed();
            assert_eq!(world.writes(), [""; 0], "{support:?} {format}");
            // Another signer's entry is added to the list, and a moving tag moves.
            let next = world
                .seal()
                .input("tags", "v2")
                .input("moving-tags", "latest");
            let next = next.input("annotations", "by=next").succeed();
            assert_eq!(world.tag("latest").as_deref(), Some(next.output("digest")));
        }
    }
}

/// Runs `stalled` until its last read of `tag` before it writes it, runs `other` to its end, and lets `stalled` go on. The
/// last read follows `before`, a write of the stalled run.
fn overtaken(world: &World, tag: &str, before: &str, stalled: &Action, other: &Action) -> [i32; 2] {
    let faulty = || {
        let requests = world.registry().requests();
        requests.iter().filter(|request| request.faulty).count()
    };
    world.registry().clear_requests();
    world
        .registry()
        .fault(Fault::on("*", before).delay(Duration::from_secs(1)));
    let stalled = stalled.begin();
    until("the write before", || faulty() == 1);
    let read = Fault::on("*", &format!("*/manifests/{tag}"));
    world.registry().fault(read.delay(Duration::from_secs(3)));
    until("the last read", || faulty() == 2);
    let other = other.run();
    let stalled = stalled.end();
    [stalled.code, other.code]
}

#[test]
fn run_that_stalls_before_its_write_of_a_fixed_tag_ends_in_a_conflict() {
    for support in [Conditions::Honoured, Conditions::AsInvalid] {
        // The tag `latest` shows that the registry sends an `ETag`.
        let world = World::with(Options::new().conditions(support));
        let stalled = world.create().input("annotations", "by=stalled");
        let stalled = stalled.input("moving-tags", "latest");
        world.create().input("tags", "latest").succeed();
        let other = world.create().input("annotations", "by=other");
        let digest = "*/manifests/sha256:*";
        let codes = overtaken(&world, "v1", digest, &stalled, &other);
        assert_eq!(codes, [3, 0], "{support:?}");
        let held = world.tag("v1").unwrap();
        let annotations = &world.manifest(&held)["annotations"];
        assert_eq!(annotations["by"], "other", "{support:?}");
    }
}

#[test]
fn run_that_stalls_before_its_write_of_a_list_removes_no_entry() {
    for support in [Conditions::Honoured, Conditions::AsInvalid] {
        for (format, upload) in [
            ("bundle", "*/manifests/sha256:*"),
            ("legacy", "*/uploads/*"),
        ] {
            let options = Options::new().referrers(Referrers::TagSchema);
            let world = World::with(options.conditions(support));
            let digest = world.create().succeed().output("digest").to_owned();
            let by = |name: &str| -> Action {
                let workflow =
                    format!("octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main");
                world.as_workflow(&workflow, "octo-org/octo-app", || {
                    let token = world.sigstore().identity_token();
                    let sign = world.sign("v1").without_token();
                    sign.input("identity-token", token)
                        .input("signature-format", format)
                })
            };
            // The list exists, and its registry is known to send an `ETag`.
            by("first").succeed();
            let suffix = if format == "legacy" { ".sig" } else { "" };
            let tag = format!("{}{suffix}", digest.replace(':', "-"));
            let codes = overtaken(&world, &tag, upload, &by("stalled"), &by("other"));
            assert_eq!(codes, [0, 0], "{support:?} {format}");
            let held = match format {
                "legacy" => signatures(&world, &digest).len(),
                _ => world.listed(&digest).len(),
            };
            assert_eq!(held, 3, "{support:?} {format}");
        }
    }
}

#[test]
fn manifests_that_are_redirected_are_sealed_verified_and_left_alone() {
    for reads in [ManifestReads::SameHost, ManifestReads::OtherHost] {
        for referrers in [Referrers::Api, Referrers::TagSchema] {
            let options = Options::new()
                .referrers(referrers)
                .redirects_manifests(reads);
            let world = World::with(options.basic("me", "password"));
            let log_in = |action: Action| {
                let host = world.registry().address();
                action.input(
                    "registry-auths",
                    format!("- registry: {host}\n  username: me\n  password: password"),
                )
            };
            let seal = log_in(world.seal().input("recursive", "true"));
            seal.succeed();
            log_in(world.verify("v1")).succeed();
            world.registry().clear_requests();
            seal.elsewhere().succeed();
            assert_eq!(world.writes(), [""; 0], "{reads:?} {referrers:?}");
        }
    }
}

#[test]
fn entry_that_a_tool_without_conditions_removes_is_written_again() {
    for support in [Conditions::Honoured, Conditions::Ignored] {
        let options = Options::new().referrers(Referrers::TagSchema);
        let world = World::with(options.conditions(support));
        let seal = world.seal().input("moving-tags", "latest");
        // The tag `latest` shows that the registry sends an `ETag`.
        let earlier = world.create().input("annotations", "by=earlier");
        earlier.input("tags", "latest").succeed();
        let running = seal.begin();
        let mut list = None;
        until("the list", || {
            let mut tags = world.registry().tags(REPOSITORY).into_keys();
            list = tags.find(|tag| tag.starts_with("sha256-"));
            list.is_some()
        });
        // The tool read the tag before the list was there.
        let theirs = index_of(&[descriptor(&world, &world.amd64.digest)]).to_string();
        push(&world, list.as_deref(), &theirs);
        let sealed = running.end();
        assert_eq!(sealed.code, 0, "{}", sealed.log);
        assert_eq!(
            world.listed(sealed.output("digest")).len(),
            2,
            "{support:?}"
        );
        world.verify("v1").succeed();
    }
}

#[test]
fn tag_that_another_host_answers_approves_nothing() {
    let options = Options::new().redirects_manifests(ManifestReads::OtherHost);
    let world = World::with(options);
    let digest = world.create().succeed().output("digest").to_owned();
    world.registry().clear_requests();
    let refused = world.sign("v1").end_with(2);
    refused.says(&["redirects", "to another host", "give the image by it"]);
    let publish = Action::new("publish").input("source", world.at("v1"));
    let publish = publish.input("image", world.registry().repository("octo-org/copy"));
    publish.input("tags", "v1").end_with(2);
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.certificates(), 0);
    world.sign(&digest).succeed();
}

#[test]
fn fixed_tag_that_another_run_writes_during_the_request_for_many_tags_stays() {
    let world = World::with(Options::new());
    let query = Fault::on("PUT", "*?tag=*").delay(Duration::from_secs(2));
    world.registry().fault(query);
    world.registry().clear_requests();
    let stalled = world.create().input("tags", "v1\nv1.0");
    let stalled = stalled.input("annotations", "by=stalled").begin();
    until("the request", || {
        let requests = world.registry().requests();
        requests.iter().any(|request| request.faulty)
    });
    let other = world.create().input("annotations", "by=other").succeed();
    let stalled = stalled.end();
    assert_eq!(stalled.code, 3, "{}", stalled.log);
    assert_eq!(world.tag("v1").as_deref(), Some(other.output("digest")));
}

#[test]
fn tag_that_is_bound_to_the_sha512_digest_of_the_same_bytes_is_unchanged() {
    let world = World::new();
    let seal = world.seal();
    let digest = seal.succeed().output("digest").to_owned();
    let (media_type, bytes) = world.registry().manifest(REPOSITORY, &digest).unwrap();
    let registry = world.registry();
    registry.push_raw_as(
        Algorithm::Sha512,
        REPOSITORY,
        Some("v1"),
        &media_type,
        &bytes,
    );
    let again = seal.elsewhere().succeed();
    assert_eq!(again.output("digest"), digest);
    world.verify("v1").succeed();
    assert_eq!(world.sign("v1").succeed().output("sign-skipped"), "true");
}
