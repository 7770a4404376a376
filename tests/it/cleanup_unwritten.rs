//! A cleanup reverts only what its own run wrote. Another run may publish the same digest under the same tags meanwhile.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options};

use crate::support::{Action, World, cleanup, until};

/// Returns a run with a fixed and a moving tag, on a machine of its own.
fn run(world: &World, id: &str) -> Action {
    world
        .seal()
        .elsewhere()
        .env("GITHUB_RUN_ID", id)
        .input("tags", "1.0.0")
        .input("moving-tags", "latest")
}

/// Ends a run before it has written a tag, each in another way.
type End = fn(&World, &Action);

const ENDS: [(&str, End); 4] = [
    ("no certificate", |world, run| {
        let refusal = Fault::on("POST", "*/signingCert").times(1).status(403);
        world.sigstore().fault(refusal);
        run.end_with(1);
        world.sigstore().clear_faults();
    }),
    ("index refused", |world, run| {
        let refusal = Fault::on("PUT", "*/manifests/sha256:*").times(1);
        world.registry().fault(refusal.status(403));
        run.end_with(1);
    }),
    ("tag refused", |world, run| {
        let refusal = Fault::on("PUT", "*/manifests/1.0.0").times(1);
        world.registry().fault(refusal.status(403));
        run.end_with(1);
    }),
    ("killed before the push", |world, run| {
        let never = Duration::from_mins(10);
        let push = Fault::on("PUT", "*/manifests/*").times(u32::MAX);
        world.registry().fault(push.delay(never));
        let running = run.begin();
        let record = run.workspace().join("manifest-seal.json");
        until("the record", || record.exists());
        running.kill();
    }),
];

#[test]
fn tags_of_another_run_with_the_same_digest_stay() {
    for deletes in [Deletes::Tags, Deletes::Digests] {
        for (name, end) in ENDS {
            let world = World::with(Options::new().deletes(deletes));
            let earlier = world.seal().elsewhere().input("tags", "0.9.0");
            let earlier = earlier.input("digests", &world.amd64.digest);
            earlier.input("moving-tags", "latest").succeed();
            let failed = run(&world, "100");
            end(&world, &failed);
            world.registry().clear_faults();

            let digest = run(&world, "200").succeed().output("digest").to_owned();
            let cleaned = cleanup(&failed).succeed();
            for tag in ["1.0.0", "latest"] {
                let held = world.tag(tag);
                assert_eq!(
                    held.as_ref(),
                    Some(&digest),
                    "{name}: {tag}\n{}",
                    cleaned.log
                );
            }
            cleaned.says(&["left unchanged: the run did not write it"]);
        }
    }
}

/// A write whose response was lost is the run's own, as far as the registry can tell.
#[test]
fn tag_whose_write_was_not_confirmed_is_reverted() {
    let world = World::new();
    let lost = Fault::on("PUT", "*/manifests/1.0.0").times(u32::MAX);
    world.registry().fault(lost.delay(Duration::from_mins(10)));
    let failed = run(&world, "100");
    let running = failed.begin();
    until("the tag", || world.tag("1.0.0").is_some());
    running.kill();
    world.registry().clear_faults();
    cleanup(&failed).succeed();
    assert_eq!(world.tag("1.0.0"), None);
}
