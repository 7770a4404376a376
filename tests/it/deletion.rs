//! Deletion of tags at each hosted registry by its own API, and the errors of each. The APIs are implemented in
//! `tests/sandbox/src/registry/deletion.rs` (and `aws.rs`), with links to the sources.

use std::collections::BTreeMap;

use sandbox::{Fault, Kind, Options, Service};
use serde_json::{Value, json};

use crate::support::hosted::{Hosted, PASSWORD, auths, docker_login, kept_secret};
use crate::support::{Published, REPOSITORY, World, asked, cleanup, until};

#[test]
fn cleanup_reverts_the_whole_run_at_every_service() {
    for service in Service::ALL {
        let published = Published::new(service);
        let outcome = published.cleanup().succeed();
        kept_secret(&outcome);
        assert_eq!(
            published.tags(),
            published.before,
            "{service:?}\n{}",
            outcome.log
        );
        assert_eq!(outcome.json("remaining"), json!([]), "{service:?}");
        // The index stays at services that can delete a tag alone.
        let takes_it = matches!(service, Service::Ghcr | Service::Ecr | Service::EcrPublic);
        let index = published
            .hosted
            .registry()
            .manifest(REPOSITORY, &published.digest);
        assert_eq!(index.is_none(), takes_it, "{service:?}");
        // A second cleanup changes nothing.
        published.hosted.registry().clear_requests();
        let again = published.clean();
        assert_eq!(again.json("remaining"), json!([]), "{service:?}");
        assert_eq!(published.hosted.writes(), [], "{service:?}");
    }
}

#[test]
fn refusal_of_a_service_api_is_a_warning_and_other_tags_are_reverted() {
    for service in Service::ALL {
        let published = Published::new(service);
        let (method, path) = asked(service);
        for status in [400, 401, 403, 409, 412, 429, 500, 503] {
            published.begin_again();
            let fault = Fault::on(method, path).times(u32::MAX);
            published.hosted.registry().fault(fault.answer(
                status,
                &[],
                r#"{"message":"not today"}"#,
            ));
            let outcome = published.clean();
            published.remains(&outcome, &[&status.to_string(), "not today"]);
        }
        // The response 404 claims that the tag is gone, and a read of the tag shows that it is not.
        published.begin_again();
        let fault = Fault::on(method, path).times(u32::MAX);
        published
            .hosted
            .registry()
            .fault(fault.answer(404, &[], r#"{"message":"not found"}"#));
        published.remains(&published.clean(), &[]);
    }
}

#[test]
fn outage_of_a_service_api_is_retried() {
    for service in Service::ALL {
        let published = Published::new(service);
        let (method, path) = asked(service);
        for fault in [
            |on: sandbox::Trigger| on.status(503),
            |on: sandbox::Trigger| on.throttle(0),
            |on: sandbox::Trigger| on.reset(),
            |on: sandbox::Trigger| on.lost_response(),
        ] {
            published.begin_again();
            published
                .hosted
                .registry()
                .fault(fault(Fault::on(method, path)));
            let outcome = published.clean();
            assert_eq!(
                published.tags(),
                published.before,
                "{service:?}\n{}",
                outcome.log
            );
        }
    }
}

#[test]
fn tag_that_moves_before_a_deletion_is_repeated_stays() {
    for service in Service::ALL {
        if service == Service::Ghcr {
            // It deletes a version by its number, not a tag.
            continue;
        }
        let published = Published::new(service);
        let (method, path) = asked(service);
        let registry = published.hosted.registry();
        // The tags are deleted concurrently, and the first attempt for each of them meets the fault.
        let moved = ["v1", "v1.0", "edge"];
        registry.fault(Fault::on(method, path).times(3).throttle(2));
        registry.clear_requests();
        let cleanup = published.cleanup_logged_in().begin();
        until("the faults", || {
            let requests = registry.requests();
            requests.iter().filter(|request| request.faulty).count() == moved.len()
        });
        let theirs = &published.before["v0"];
        for tag in moved {
            registry.tag(REPOSITORY, tag, theirs);
        }
        let outcome = cleanup.end();
        assert_eq!(outcome.code, 0, "{}", outcome.log);
        let tags = published.tags();
        for tag in moved {
            assert_eq!(tags.get(tag), Some(theirs), "{service:?}\n{}", outcome.log);
        }
        assert_eq!(outcome.json("remaining"), json!([]), "{service:?}");
    }
}

#[test]
fn missing_permission_is_named() {
    for (service, needs) in [
        (Service::DockerHub, "a token with the right to delete"),
        (Service::Ghcr, "the Admin role of this repository"),
        (Service::Ecr, "the permission `ecr:BatchDeleteImage`"),
        (
            Service::EcrPublic,
            "the permission `ecr-public:BatchDeleteImage`",
        ),
        (Service::Harbor, "the right to delete tags"),
    ] {
        let published = Published::with(service, Options::new().may_delete(false));
        let outcome = published.clean();
        published.remains(&outcome, &["the deletion requires", needs]);
    }
    // If the right is part of the token, the registry denies a token without it.
    let published = Published::with(Service::Acr, Options::new().grants(&["pull", "push"]));
    published.remains(
        &published.clean(),
        &["the deletion requires the right to delete (the role AcrDelete)"],
    );
}

#[test]
fn refused_login_at_docker_hub_is_reported() {
    let published = Published::new(Service::DockerHub);
    let fault = Fault::on("POST", "/v2/auth/token").times(u32::MAX);
    let refusal = r#"{"detail":"Require secondary authentication on MFA enabled account"}"#;
    published
        .hosted
        .registry()
        .fault(fault.answer(401, &[], refusal));
    published.remains(&published.clean(), &["Require secondary authentication"]);
    // An identity token is valid at the registry, and not at Docker Hub's API.
    let wrong = docker_login(published.cleanup(), "docker.io", "wrong");
    let outcome = wrong.succeed();
    let remaining = outcome.json("remaining");
    assert!(
        remaining[0]["steps"]
            .as_str()
            .unwrap()
            .starts_with("if it points to"),
        "{remaining}"
    );
}

#[test]
fn failure_of_ecr_with_status_200_is_a_failure() {
    for service in [Service::Ecr, Service::EcrPublic] {
        let published = Published::new(service);
        // An index of somebody else has ours as a child: the last tag cannot be deleted, the others can.
        let bundle = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": published.digest, "size": 1}],
        });
        let registry = published.hosted.registry();
        registry.push_raw(
            REPOSITORY,
            None,
            "application/vnd.oci.image.index.v1+json",
            bundle.to_string().as_bytes(),
        );
        let outcome = published.clean();
        let remaining = outcome.json("remaining");
        assert_eq!(remaining.as_array().unwrap().len(), 1, "{remaining}");
        let why = remaining[0]["why"].as_str().unwrap();
        assert!(
            why.contains(
                "ImageReferencedByManifestList: Requested image referenced by manifest list"
            ),
            "{why}"
        );
        assert!(
            remaining[0]["steps"]
                .as_str()
                .unwrap()
                .contains(" batch-delete-image --region ")
        );
        assert_eq!(published.tags().len(), published.before.len() + 1);
    }
}

#[test]
fn ecr_without_the_right_to_describe_an_image_keeps_the_tag_of_one_that_existed_before() {
    for (service, needs) in [
        (Service::Ecr, "`ecr:DescribeImages`"),
        (Service::EcrPublic, "`ecr-public:DescribeImages`"),
    ] {
        let hosted = Hosted::new(service);
        let create = hosted.logged_in(hosted.world.create());
        create.elsewhere().succeed();
        hosted.registry().delete_tag(REPOSITORY, "v1");
        create.succeed();
        let refusal = json!({"__type": "AccessDeniedException", "message": "not today"});
        let fault = Fault::on("POST", "/").times(u32::MAX);
        let registry = hosted.registry();
        registry.fault(fault.answer(400, &[], &refusal.to_string()));
        let login = auths(service.hosts()[0], "AWS", PASSWORD);
        let cleanup = cleanup(&create).input("registry-auths", login);
        let why = cleanup.succeed().json("remaining")[0]["why"].clone();
        for text in ["the deletion requires the permission", needs, "not today"] {
            assert!(why.as_str().unwrap().contains(text), "{text}: {why}");
        }
        assert!(hosted.world.tag("v1").is_some());
    }
}

#[test]
fn ecr_without_keys_of_aws_is_a_warning() {
    let published = Published::new(Service::Ecr);
    let login = auths(Service::Ecr.hosts()[0], "AWS", PASSWORD);
    let action = published
        .hosted
        .anonymous(published.cleanup())
        .input("registry-auths", login);
    let outcome = action.env("AWS_ACCESS_KEY_ID", "").succeed();
    published.remains(
        &outcome,
        &["the deletion requires AWS keys in the environment, and none is given"],
    );
}

#[test]
fn immutable_tags_of_harbor_and_acr_stay_with_what_they_say() {
    for (service, says) in [
        (
            Service::Harbor,
            "configured as immutable, cannot be deleted",
        ),
        (
            Service::Acr,
            "The operation is disallowed on this registry, repository or image.",
        ),
    ] {
        let hosted = Hosted::with(service, Options::new().immutable_tags(true));
        let action = hosted.logged_in(hosted.world.create());
        action.succeed();
        let outcome = cleanup(&action).succeed();
        assert!(hosted.world.tag("v1").is_some());
        let why = outcome.json("remaining")[0]["why"].clone();
        assert!(why.as_str().unwrap().contains(says), "{why}");
    }
}

#[test]
fn signatures_at_quay_are_restored() {
    let published = Published::new(Service::Quay);
    let sibling = published.digest.replace(':', "-") + ".sig";
    let registry = published.hosted.registry();
    let image = registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 9);
    registry.tag(REPOSITORY, &sibling, &image.digest);
    published.clean();
    assert_eq!(published.tags(), published.before);
    let tags = registry.tags(REPOSITORY);
    assert_eq!(tags.get(&sibling), Some(&image.digest), "{tags:?}");
}

#[test]
fn signatures_that_another_run_writes_at_quay_are_not_replaced_by_a_retry() {
    let published = Published::new(Service::Quay);
    let sibling = published.digest.replace(':', "-") + ".sig";
    let registry = published.hosted.registry();
    let [earlier, theirs] = [9, 10].map(|seed| {
        registry
            .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, seed)
            .digest
    });
    registry.tag(REPOSITORY, &sibling, &earlier);
    registry.fault(Fault::on("PUT", "*.sig").throttle(2));
    registry.clear_requests();
    let cleanup = published.cleanup_logged_in().begin();
    until("the fault", || {
        let requests = registry.requests();
        requests.iter().any(|request| request.faulty)
    });
    registry.tag(REPOSITORY, &sibling, &theirs);
    let outcome = cleanup.end();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    let tags = registry.tags(REPOSITORY);
    assert_eq!(tags.get(&sibling), Some(&theirs), "{}", outcome.log);
}

#[test]
fn registry_that_wants_a_right_to_delete_is_asked_for_it_and_only_then() {
    // distribution and GitLab name the right in their challenge. Quay issues no token to a client that requests the right.
    let hosted = World::with(Options::new().bearer("octocat", "hunter2"));
    let login = auths(&hosted.registry().address(), "octocat", "hunter2");
    let action = hosted.create().input("registry-auths", login);
    action.succeed();
    let outcome = cleanup(&action).succeed();
    assert_eq!(hosted.tags(), BTreeMap::new(), "{}", outcome.log);
    let scopes: Vec<Value> = hosted
        .registry()
        .requests()
        .iter()
        .filter(|request| request.path.starts_with("/token"))
        .map(|request| json!(request.path.contains("delete")))
        .collect();
    assert_eq!(
        scopes.iter().filter(|asked| **asked == json!(true)).count(),
        1,
        "{scopes:?}"
    );
}

#[test]
fn names_with_slashes_lead_to_the_same_tag() {
    for service in Service::ALL {
        if service == Service::DockerHub {
            // Docker Hub has no such names.
            continue;
        }
        let hosted = Hosted::new(service);
        let name = "octo-org/team/app";
        let tag = |tag: &str| format!("{}/{name}:{tag}", service.hosts()[0]);
        let other = hosted
            .registry()
            .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
        let earlier = hosted.world.create().input("digests", &other.digest);
        hosted.logged_in(earlier.input("tags", tag("v0"))).succeed();
        let action = hosted.logged_in(hosted.world.create().input("tags", tag("v1")));
        action.succeed();
        let cleanup = action.clone().input("command", "cleanup");
        let outcome = cleanup.input("digests", "").succeed();
        let tags = hosted.registry().tags(name);
        let tags: Vec<&String> = tags.keys().collect();
        assert_eq!(tags, ["v0"], "{service:?}\n{}", outcome.log);
        assert_eq!(outcome.json("remaining"), json!([]), "{service:?}");
    }
}
