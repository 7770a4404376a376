//! A registry that once denies that a list of signatures exists: no signature is lost, and none is made twice.

use std::time::Duration;

use sandbox::{Fault, Options, Referrers, Trigger};

use crate::support::{REPOSITORY, World};

/// Returns the response of a registry for a tag that it does not have.
fn denied(at: Trigger) -> Fault {
    at.registry_error(404, "MANIFEST_UNKNOWN", "manifest unknown")
}

/// Counts the listed signatures of `digest`: bundles, and those of the older format.
fn signatures(world: &World, digest: &str) -> (usize, usize) {
    let found = world.registry().signatures(REPOSITORY, digest);
    (found.bundles.len(), found.legacy.len())
}

#[test]
fn signature_that_the_record_names_is_not_made_twice() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let seal = world.seal().input("signature-format", "both");
        let digest = seal.succeed().output("digest").to_owned();
        let (entries, list) = (world.sigstore().entries(), digest.replace(':', "-"));
        for path in [
            format!("*/referrers/{digest}"),
            format!("*/manifests/{list}"),
            format!("*/manifests/{list}.sig"),
        ] {
            world.registry().fault(denied(Fault::on("GET", &path)));
            let outcome = seal.succeed();
            world.registry().clear_faults();
            assert_eq!(
                signatures(&world, &digest),
                (1, 1),
                "{path}\n{}",
                outcome.log
            );
            assert_eq!(
                world.sigstore().entries(),
                entries,
                "{path}\n{}",
                outcome.log
            );
        }
    }
}

#[test]
fn list_that_was_read_is_not_replaced() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.create().succeed().output("digest").to_owned();
    let other = "octo-org/other/.github/workflows/nightly.yml@refs/heads/main";
    world.as_workflow(other, "octo-org/other", || {
        let sign = world.sign(&digest).input("signature-format", "both");
        sign.succeed();
    });
    let list = format!("*/manifests/{}", digest.replace(':', "-"));
    for tag in [list.clone(), format!("{list}.sig")] {
        // The list is found in the search for signatures, and denied when the new signature is to be added.
        let registry = world.registry();
        registry.fault(Fault::on("GET", &tag).delay(Duration::ZERO));
        registry.fault(denied(Fault::on("GET", &tag)));
    }
    let outcome = world.seal().input("signature-format", "both").succeed();
    assert_eq!(signatures(&world, &digest), (2, 2), "{}", outcome.log);
}
