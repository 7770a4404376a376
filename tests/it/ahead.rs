//! What is done for a bundle before it is made: where a registry takes no blob with the POST, a place for it is opened
//! while the log is waited for.

use std::time::Duration;

use sandbox::{Fault, Options, Referrers};

use crate::support::World;

const REKOR: &str = "/api/v1/log/entries";

/// A registry as most hosted ones are.
fn world() -> World {
    let options = Options::new().referrers(Referrers::TagSchema);
    World::with(options.takes_whole(false))
}

/// The requests of uploads, without the places.
fn uploads(world: &World) -> Vec<String> {
    let requests = world.registry().requests().into_iter();
    let uploads = requests.filter(|request| request.path.contains("/blobs/uploads/"));
    let mut told: Vec<String> = uploads
        .map(|request| format!("{} {}", request.method, request.body_length))
        .collect();
    // Two of them are under way at once.
    told.sort();
    told
}

#[test]
fn place_that_no_bundle_comes_for_is_taken_back() {
    let world = world();
    world
        .sigstore()
        .fault(Fault::on("POST", REKOR).times(u32::MAX).status(403));
    world.registry().clear_requests();
    world.seal().end_with(1).says(&["transparency log"]);
    // The empty config, which the POST did not take, and the place.
    assert_eq!(uploads(&world), ["DELETE 0", "POST 0", "POST 2", "PUT 2"]);
    assert_eq!(world.registry().open_uploads(), 0);
    world.sigstore().clear_faults();
    let outcome = world.seal().succeed();
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
    assert_eq!(world.registry().open_uploads(), 0);
}

#[test]
fn each_bundle_has_a_place_of_its_own() {
    let world = world();
    world.registry().clear_requests();
    world.seal().input("recursive", "true").succeed();
    let mut uploads = uploads(&world);
    assert_eq!(uploads.len(), 8, "{uploads:?}");
    uploads.retain(|upload| upload == "POST 0");
    assert_eq!(uploads.len(), 3);
    assert_eq!(world.registry().open_uploads(), 0);
}

#[test]
fn registry_that_opens_no_place_is_asked_for_one_once() {
    let world = world();
    // The empty config's own goes well.
    let with_digest = Fault::on("POST", "*/blobs/uploads/?digest=*");
    world.registry().fault(with_digest.delay(Duration::ZERO));
    let refused = Fault::on("POST", "*/blobs/uploads/").times(u32::MAX);
    let refused = refused.registry_error(403, "DENIED", "no more uploads");
    world.registry().fault(refused);
    world.registry().clear_requests();
    let outcome = world.seal().end_with(1);
    outcome.says(&["could not upload blob `", "no more uploads"]);
    let mut uploads = uploads(&world);
    uploads.retain(|upload| upload == "POST 0");
    assert_eq!(uploads.len(), 1, "nothing is tried twice");
    assert_eq!(
        (world.registry().open_uploads(), world.tag("v1")),
        (0, None)
    );
}
