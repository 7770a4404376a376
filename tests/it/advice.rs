//! The reason and the hint that a user reads after a registry has refused a request.

use sandbox::{Fault, Kind, Options, Referrers, Trigger};
use serde_json::json;

use crate::support::{MANIFEST, Outcome, Pipeline, REPOSITORY, World};

/// The pattern of a push by digest.
const BY_DIGEST: &str = "*/manifests/sha256:*";
/// The advice to run again, which must be true.
const AGAIN: &str = "run it again";

/// Returns the failed run of `create` at a registry that always answers `method pattern` with this fault.
fn refused(method: &str, pattern: &str, fault: impl FnOnce(Trigger) -> Fault) -> Outcome {
    let world = World::new();
    let trigger = Fault::on(method, pattern).times(u32::MAX);
    world.registry().fault(fault(trigger));
    let outcome = world.create().input("max-attempts", "2").end_with(1);
    assert_eq!(world.tag("v1"), None, "{}", outcome.log);
    outcome
}

/// Returns the answer of a registry in JSON.
fn answer(trigger: Trigger, status: u16, body: &str) -> Fault {
    trigger.answer(status, &[("content-type", "application/json")], body)
}

#[test]
fn detail_of_an_error_is_shown_after_code_and_message() {
    for (detail, wanted) in [
        (
            r#""subject not found""#,
            "(MANIFEST_INVALID: manifest invalid: subject not found)",
        ),
        (
            r#"[{"message": "first"}, {"Reason": "second"}]"#,
            "(MANIFEST_INVALID: manifest invalid: first, second)",
        ),
        (
            r#"{"Name": "octo-org/app"}"#,
            "(MANIFEST_INVALID: manifest invalid)",
        ),
    ] {
        let body = format!(
            r#"{{"errors": [{{"code": "MANIFEST_INVALID", "message": "manifest invalid", "detail": {detail}}}]}}"#
        );
        let outcome = refused("PUT", BY_DIGEST, |at| answer(at, 400, &body));
        outcome.says(&[&format!("answered 400 Bad Request {wanted}")]);
        let reason = wanted.replace('_', "\\_");
        assert!(outcome.summary.contains(&reason), "{}", outcome.summary);
    }
}

#[test]
fn missing_child_is_never_a_missing_repository() {
    let digest = format!("sha256:{}", "d".repeat(64));
    let named = format!(
        r#"{{"errors": [{{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown", "detail": {{"digest": "{digest}"}}}}]}}"#
    );
    // Gitea, and others.
    for status in [404, 400] {
        let outcome = refused("PUT", BY_DIGEST, |at| answer(at, status, &named));
        outcome.says(&[&format!(
            "does not have `{digest}`, which this manifest refers to"
        )]);
        outcome.does_not_say(&["check that the repository exists", AGAIN]);
        let bare = |at: Trigger| at.registry_error(status, "MANIFEST_BLOB_UNKNOWN", "");
        let outcome = refused("PUT", BY_DIGEST, bare);
        outcome.says(&[
            "does not have content that this manifest refers to: check that it was pushed",
        ]);
        outcome.does_not_say(&["check that the repository exists", AGAIN]);
    }
    let outcome = refused("PUT", BY_DIGEST, |at| {
        at.registry_error(404, "NAME_UNKNOWN", "no")
    });
    outcome.says(&["check that the repository exists"]);
}

#[test]
fn run_again_is_not_the_advice_if_a_rerun_changes_nothing() {
    type Case = (&'static str, fn(Trigger) -> Fault, &'static str);
    let immutable = "the tag may be immutable in `127.0.0.1:";
    let cases: [Case; 9] = [
        (
            "v1",
            |at| at.registry_error(409, "TAG_IMMUTABLE", "tag is immutable"),
            immutable,
        ),
        ("v1", |at| at.status(409), immutable),
        (
            "v1",
            |at| at.registry_error(400, "TAG_INVALID", "the tag already exists"),
            immutable,
        ),
        (
            "v1",
            |at| at.registry_error(412, "PRECONDITION", "configured as immutable"),
            immutable,
        ),
        (
            "v1",
            |at| at.registry_error(403, "DENIED", "tag is immutable"),
            immutable,
        ),
        (
            "sha256:*",
            |at| at.registry_error(412, "DENIED", "exceeds the quota"),
            "the quota",
        ),
        ("sha256:*", |at| at.status(413), "answered 413"),
        (
            "sha256:*",
            |at| at.redirect(307, "http://registry.invalid/v2/"),
            "redirects to `http://registry.invalid/v2/`",
        ),
        (
            "sha256:*",
            |at| at.redirect(302, "/login"),
            "redirects to `/login`",
        ),
    ];
    for (reference, fault, wanted) in cases {
        let outcome = refused("PUT", &format!("*/manifests/{reference}"), fault);
        outcome.says(&[wanted]);
        outcome.does_not_say(&[AGAIN]);
        assert!(!outcome.summary.contains(AGAIN), "{}", outcome.summary);
    }
    let outcome = refused("PUT", BY_DIGEST, |at| at.status(503));
    outcome.says(&[AGAIN]);
}

#[test]
fn immutable_list_of_referrers_is_named_with_its_rule() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let fault = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    world
        .registry()
        .fault(fault.registry_error(409, "TAG_IMMUTABLE", "tag is immutable"));
    let outcome = world.seal().end_with(1);
    outcome.says(&["exclude `sha256-*` from the rule there"]);
    outcome.does_not_say(&[AGAIN, "choose another version"]);
}

#[test]
fn read_that_never_changes_is_not_advised_again() {
    let outcome = refused("GET", "*/manifests/sha256:*", |at| {
        at.answer(200, &[("content-type", MANIFEST)], "<html>")
    });
    outcome.does_not_say(&[AGAIN]);
    let outcome = refused("GET", "*/manifests/v1", |at| {
        at.redirect(302, "http://r.invalid/")
    });
    outcome.says(&[
        "`http://r.invalid/`, which is not HTTPS",
        "X-Forwarded-Proto",
    ]);
    outcome.does_not_say(&[AGAIN]);
}

#[test]
fn refused_sizes_and_media_types_are_explained() {
    let outcome = refused("PUT", BY_DIGEST, |at| at.status(413));
    outcome.says(&["a proxy before it, limits the size of a request"]);
    let outcome = refused("PUT", BY_DIGEST, |at| at.status(400));
    outcome.says(&["gave no reason. Often a child of the index is not in the repository"]);
    outcome.does_not_say(&["media-type"]);
    let outcome = refused("PUT", BY_DIGEST, |at| {
        at.registry_error(400, "MANIFEST_INVALID", "no")
    });
    outcome.does_not_say(&["gave no reason"]);
    let outcome = refused("PUT", BY_DIGEST, |at| at.status(415));
    outcome.does_not_say(&["hint:"]);
}

#[test]
fn registry_without_docker_media_types_is_explained() {
    let world = World::new();
    let push = |platform| {
        let registry = world.registry();
        registry
            .push_image(REPOSITORY, platform, Kind::Docker)
            .digest
    };
    let digests = [push("linux/amd64"), push("linux/arm64")].join(",");
    let create = world.create().input("digests", digests);
    for (status, wanted) in [
        (
            415,
            "does not accept Docker media types: use `media-type: oci`, and build OCI images",
        ),
        (
            400,
            "its media type is not accepted (then `media-type: oci` helps)",
        ),
    ] {
        let fault = Fault::on("PUT", BY_DIGEST).times(u32::MAX).status(status);
        world.registry().fault(fault);
        create.end_with(1).says(&[wanted]);
        world.registry().clear_faults();
    }
}

#[test]
fn owner_that_does_not_exist_is_named() {
    let bare = |at: Trigger| at.answer(404, &[("content-type", "text/plain")], "Not found.\n");
    let owner = "the owner or organisation `octo-org` exists there";
    let outcome = refused("PUT", BY_DIGEST, bare);
    outcome.says(&[
        "(Not found.)",
        "check that the repository exists, and that",
        owner,
    ]);
    let outcome = refused("*", "*/manifests/*", bare);
    outcome.says(&["(Not found.)", "is the right registry, and that", owner]);
    outcome.does_not_say(&[AGAIN]);
    let outcome = refused("PUT", BY_DIGEST, |at| {
        at.registry_error(404, "NAME_UNKNOWN", "no")
    });
    outcome.does_not_say(&[owner]);
    // The registry has a config that its storage lacks.
    let (world, storage) = (World::new(), World::new());
    let absent = Fault::on("*", "*").times(u32::MAX);
    storage.registry().fault(bare(absent));
    let address = format!("http://{}/config", storage.registry().address());
    let moved = Fault::on("GET", "*/blobs/*").times(u32::MAX);
    world.registry().fault(moved.redirect(307, &address));
    let outcome = world.create().end_with(1);
    outcome.says(&["(Not found.)"]);
    outcome.does_not_say(&["right registry", owner]);
}

#[test]
fn wrong_entry_of_insecure_registries_is_named() {
    type Case = (&'static str, &'static str, fn(Trigger) -> Fault);
    let cases: [Case; 4] = [
        ("*", "*", |at| {
            at.answer(400, &[("content-type", "text/html")], "<h1>plain</h1>")
        }),
        ("*", "*", |at| {
            at.answer(400, &[], "Client sent an HTTP request to an HTTPS server.")
        }),
        ("PUT", "*", |at| at.redirect(301, "https://127.0.0.1:1/v2/")),
        ("PUT", "*", |at| {
            at.redirect(308, "https://registry.invalid/v2/")
        }),
    ];
    let hint = "remove it from `insecure-registries`";
    for (method, pattern, fault) in cases {
        let world = World::new();
        world
            .registry()
            .fault(fault(Fault::on(method, pattern).times(u32::MAX)));
        let named = world
            .create()
            .input("insecure-registries", world.registry().address());
        named.end_with(1).says(&[hint]);
        world.create().end_with(1).does_not_say(&[hint]);
    }
}

#[test]
fn denied_destination_needs_the_right_to_push() {
    for (method, pattern) in [("*", "*"), ("PUT", BY_DIGEST)] {
        let outcome = refused(method, pattern, |at| {
            at.registry_error(401, "UNAUTHORIZED", "authentication required")
        });
        outcome.says(&["permit pushing to this repository, not only pulling"]);
    }
    let world = World::new();
    world.create().succeed();
    world
        .registry()
        .fault(Fault::on("*", "*").times(u32::MAX).status(401));
    let outcome = world.verify("v1").end_with(1);
    outcome.says(&["permit pulling from this repository"]);
}

#[test]
fn throttling_and_unreachable_hosts_are_reported_with_the_repository() {
    let world = World::new();
    let image = world.image();
    world
        .registry()
        .fault(Fault::on("*", "*").times(u32::MAX).throttle(0));
    let create = world.create().input("max-attempts", "1");
    for action in [
        &create,
        &create.clone().input("command", "preflight"),
        &world.verify("v1").input("max-attempts", "1"),
    ] {
        let outcome = action.end_with(1);
        assert!(errors(&outcome).contains(&image), "{}", outcome.log);
        assert!(outcome.summary.contains(&image), "{}", outcome.summary);
    }
    let image = "registry.invalid:5000/octo-org/app";
    let create = create.input("image", image).input("max-attempts", "1");
    let outcome = create.end_with(1);
    assert!(errors(&outcome).contains(image), "{}", outcome.log);
    assert!(outcome.summary.contains(image), "{}", outcome.summary);
}

/// Returns the error lines of a run.
fn errors(outcome: &Outcome) -> String {
    let lines = outcome.log.lines();
    let errors: Vec<&str> = lines.filter(|line| line.starts_with("::error")).collect();
    errors.join("\n")
}

#[test]
fn empty_architecture_is_named() {
    let world = World::new();
    let registry = world.registry();
    for (config, wanted) in [
        (
            r#"{"architecture":"","os":"linux"}"#,
            "its `architecture` is empty",
        ),
        (r#"{"architecture":"amd64","os":""}"#, "its `os` is empty"),
    ] {
        let digest = registry.push_blob(REPOSITORY, config.as_bytes());
        let config = json!({
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest, "size": config.len(),
        });
        let image =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
        let image = registry.push_raw(REPOSITORY, None, MANIFEST, image.to_string().as_bytes());
        let outcome = world.create().input("digests", &image).end_with(2);
        outcome.says(&[&image, wanted]);
    }
}

#[test]
fn digest_that_a_job_lost_is_shown_with_its_entry() {
    let world = World::new();
    let entry = format!("{}@", world.image());
    let digests = format!("{}\n{entry}", world.amd64.digest);
    let outcome = world.create().input("digests", digests).end_with(2);
    outcome.says(&[&format!(
        "`{entry}` has no digest after its `@`: did that job hand its digest over?"
    )]);
    let entry = format!("{}@sha256:1", world.image());
    let outcome = world.create().input("digests", &entry).end_with(2);
    outcome.says(&[&format!("`{entry}`: `sha256:1` is not a digest")]);
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn folder_of_folders_is_explained() {
    let world = World::new();
    let hex = |digest: &str| digest.replacen("sha256:", "", 1);
    let create = world
        .create()
        .input("digests", "")
        .input("digests-folder", "digests");
    let outcome = create
        .elsewhere()
        .file(
            &format!("digests/digests-linux-amd64/{}", hex(&world.amd64.digest)),
            "",
        )
        .file(
            &format!("digests/digests-linux-arm64/{}", hex(&world.arm64.digest)),
            "",
        )
        .end_with(2);
    outcome.says(&[
        "it contains folders (`digests-linux-amd64`, `digests-linux-arm64`)",
        "`merge-multiple: true`",
    ]);
    create
        .elsewhere()
        .file("digests/digest.txt", "")
        .end_with(2)
        .says(&["the file name `digest.txt` is not"]);
    let sealed = create
        .elsewhere()
        .file(&format!("digests/{}", world.amd64.digest), "")
        .file(
            &format!("digests/{}", world.arm64.digest.replace(':', "-")),
            "",
        )
        .succeed();
    let platforms = sealed.json("platforms");
    assert_eq!(platforms["linux/amd64"], world.amd64.digest);
    assert_eq!(platforms["linux/arm64/v8"], world.arm64.digest);
}

#[test]
fn repository_in_upper_case_is_offered_in_lower_case() {
    let world = World::new();
    let action = world.create().input("image", "ghcr.io/Octo-Org/App");
    action.end_with(2).says(&[
        "input `image`: `ghcr.io/Octo-Org/App` is not a repository: its name must be in lower case, `ghcr.io/octo-org/app`",
    ]);
    let action = world.create().input("tags", "ghcr.io/Octo-Org/App:V1");
    action.end_with(2).says(&["`ghcr.io/octo-org/app`"]);
}

/// Harbor says this of an image that its project does not let be pulled.
#[test]
fn policy_of_a_project_is_told_as_such() {
    for (message, wanted) in [
        (
            "The image is not signed by cosign.",
            "CONTENT_TRUST_LEGACY_SIGNER_PULL_ENABLED=true",
        ),
        (
            "current image with 3 vulnerabilities cannot be pulled due to configured policy",
            "such as the limit on vulnerabilities",
        ),
    ] {
        let outcome = refused("GET", BY_DIGEST, |at| {
            at.registry_error(412, "PROJECTPOLICYVIOLATION", message)
        });
        outcome.says(&[message, wanted]);
        assert!(!outcome.log.contains(AGAIN), "{}", outcome.log);
    }
}

/// Registries need not have a layer that is available elsewhere.
#[test]
fn layer_that_is_left_at_its_address_is_a_warning() {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let (_, bytes) = world
        .registry()
        .manifest(REPOSITORY, &world.amd64.digest)
        .unwrap();
    let mut image: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let digest = format!("sha256:{}", "d".repeat(64));
    let url = "https://elsewhere.example/layer";
    let layer = json!({"mediaType": FOREIGN, "digest": digest, "size": 7, "urls": [url]});
    image["layers"].as_array_mut().unwrap().push(layer);
    let registry = world.registry();
    let image = registry.push_raw(REPOSITORY, None, MANIFEST, image.to_string().as_bytes());
    let published = pipeline.publish(&world.at(&image)).succeed();
    let warning = format!(
        "::warning::the layer `{digest}` is not copied, because no source has it: a pull gets it from `{url}`"
    );
    published.says(&[&warning]);
}
