//! What is done for a bundle before it is made: where a registry takes no blob with the POST, a place for it is opened
//! while the log is waited for.

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
fn run_that_goes_on_unsigned_takes_its_place_back_too() {
    let world = world();
    let refused = Fault::on("POST", REKOR).times(u32::MAX);
    world.sigstore().fault(refused.status(403));
    let seal = world.seal().input("on-signing-failure", "warn");
    assert_eq!(seal.succeed().output("signed"), "false");
    assert_eq!(world.registry().open_uploads(), 0);
}

/// What is done ahead is done again when it matters, and not before.
#[test]
fn trouble_beforehand_is_no_trouble() {
    for fault in [
        Fault::on("POST", "*/blobs/uploads/?digest=*").status(503),
        Fault::on("POST", "*/blobs/uploads/?digest=*").lost_response(),
        Fault::on("POST", "*/blobs/uploads/").status(403),
        Fault::on("PUT", "*/blobs/uploads/*").status(503),
        Fault::on("PUT", "*/blobs/uploads/*").status(403),
    ] {
        let shown = format!("{fault:?}");
        let world = world();
        let lost_place = usize::from(shown.contains("Lost"));
        world.registry().fault(fault);
        let outcome = world.seal().input("max-attempts", "1").succeed();
        assert_eq!(world.listed(outcome.output("digest")).len(), 1, "{shown}");
        // The place that was lost with its answer is nobody's.
        assert_eq!(world.registry().open_uploads(), lost_place, "{shown}");
    }
}
