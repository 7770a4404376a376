//! Tags that several runs write: a run that stalls between its read and its write, or has to repeat the write, replaces nothing
//! that another run wrote in the meantime and that was stable by then.

use std::time::Duration;

use sandbox::{Fault, Options, Referrers};

use crate::support::legacy::signatures;
use crate::support::{Action, World, until};

/// Longer than a run waits for others that write its tag.
const STALL: Duration = Duration::from_secs(3);

#[test]
fn stalled_run_removes_no_concurrent_write() {
    let upload = || Fault::on("POST", "*/blobs/uploads/*").delay(STALL);
    let refused = || Fault::on("PUT", "*/manifests/sha256-*").throttle(3);
    let lacking = || {
        let put = Fault::on("PUT", "*/manifests/sha256-*");
        put.registry_error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown")
    };
    let faults: [(&str, &dyn Fn() -> Fault); 3] = [
        ("an upload takes long", &upload),
        ("the write is refused for a time", &refused),
        ("an uploaded part is not there yet", &lacking),
    ];
    for format in ["legacy", "bundle"] {
        for (what, fault) in faults {
            let world = World::with(Options::new().referrers(Referrers::TagSchema));
            let digest = world.create().succeed().output("digest").to_owned();
            let by = |name: &str| -> Action {
                let workflow =
                    format!("octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main");
                world.as_workflow(&workflow, "octo-org/octo-app", || {
                    let token = world.sigstore().identity_token();
                    let sign = world.sign("v1").without_token();
                    sign.input("identity-token", token)
                        .input("signature-format", format)
                        .input("retry-delay", "3s")
                })
            };
            let (stalled, other) = (by("stalled"), by("other"));
            world.registry().clear_requests();
            world.registry().fault(fault());
            let stalled = stalled.begin();
            until_fault(&world);
            let other = other.succeed();
            assert_eq!(other.output("sign-skipped"), "false");
            let stalled = stalled.end();
            assert_eq!(stalled.code, 0, "{}", stalled.log);
            let held = match format {
                "legacy" => signatures(&world, &digest).len(),
                _ => world.listed(&digest).len(),
            };
            assert_eq!(held, 2, "{format}, {what}");
        }
    }
}

#[test]
fn fixed_tag_of_another_run_is_not_replaced_by_a_retry() {
    let world = World::new();
    let refused = Fault::on("PUT", "*/manifests/v1").throttle(2);
    world.registry().fault(refused);
    let stalled = world.create().input("annotations", "by=stalled").begin();
    until_fault(&world);
    let other = world.create().input("annotations", "by=other").succeed();
    let stalled = stalled.end();
    assert_eq!(stalled.code, 3, "{}", stalled.log);
    stalled.says(&["another run wrote it during this run"]);
    assert_eq!(world.tag("v1").as_deref(), Some(other.output("digest")));
}

#[test]
fn moving_tag_that_moves_before_a_retry_does_not_go_back_to_an_older_version() {
    for (theirs, is_newer) in [("2.0.0", true), ("1.0.0", false)] {
        let world = World::new();
        let release = |version: &str| {
            let version = format!("org.opencontainers.image.version={version}");
            let create = world.create().input("tags", "");
            let create = create.input("moving-tags", "latest");
            create.input("annotations", version)
        };
        let refused = Fault::on("PUT", "*/manifests/latest").throttle(2);
        world.registry().fault(refused);
        let stalled = release("1.5.0").begin();
        until_fault(&world);
        let other = release(theirs).succeed();
        let stalled = stalled.end();
        assert_eq!(stalled.code, 0, "{}", stalled.log);
        let last = if is_newer { &other } else { &stalled };
        assert_eq!(world.tag("latest").as_deref(), Some(last.output("digest")));
    }
}

#[test]
fn cleanup_does_not_move_a_tag_back_that_moves_before_a_retry() {
    let world = World::new();
    let release = |by: &str| {
        let create = world.create().input("tags", "");
        let create = create.input("moving-tags", "latest");
        create.input("annotations", format!("by={by}"))
    };
    release("earlier").succeed();
    let ours = release("ours");
    ours.succeed();
    world
        .registry()
        .fault(Fault::on("PUT", "*/manifests/latest").throttle(2));
    world.registry().clear_requests();
    let cleanup = crate::support::cleanup(&ours).begin();
    until_fault(&world);
    let other = release("other").succeed();
    let cleanup = cleanup.end();
    assert_eq!(cleanup.code, 0, "{}", cleanup.log);
    assert_eq!(world.tag("latest").as_deref(), Some(other.output("digest")));
}

/// Waits until a fault was applied to a request.
fn until_fault(world: &World) {
    until("the fault", || {
        let requests = world.registry().requests();
        requests.iter().any(|request| request.faulty)
    });
}
