//! Work done for a bundle before it exists. Connections to Sigstore are opened while the run waits for the token. For
//! registries that take no blob with the POST, an upload session is opened while the run waits for the log.

use std::time::{Duration, Instant};

use sandbox::{Authorization, Fault, Options, Referrers, Transport, Trigger};

use crate::support::{Outcome, REPOSITORY, Two, World, until};

const REKOR: &str = "/api/v1/log/entries";

/// A world whose registry works as most hosted ones do: no referrers API, and no whole blob with the POST.
fn world() -> World {
    let options = Options::new().referrers(Referrers::TagSchema);
    World::with(options.takes_whole(false))
}

/// Returns method and body length of each upload request, without the upload sessions' paths.
fn uploads(world: &World) -> Vec<String> {
    let requests = world.registry().requests().into_iter();
    let uploads = requests.filter(|request| request.path.contains("/blobs/uploads/"));
    let mut told: Vec<String> = uploads
        .map(|request| format!("{} {}", request.method, request.body_length))
        .collect();
    // Two uploads run concurrently.
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
    // The uploads are the empty config, which the POST did not take, and the upload session of the bundle.
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
    world.sigstore().fault(refused.status(503));
    let seal = world.seal().input("on-signing-failure", "warn");
    assert_eq!(seal.succeed().output("signed"), "false");
    assert_eq!(world.registry().open_uploads(), 0);
}

/// Work done ahead that failed is done again when it is needed.
#[test]
fn trouble_beforehand_is_no_trouble() {
    let of_config = || Fault::on("POST", "*/blobs/uploads/?digest=*");
    let of_place = || Fault::on("POST", "*/blobs/uploads/");
    let put = || Fault::on("PUT", "*/blobs/uploads/*");
    let well = Duration::ZERO;
    // An upload session stays open if the response that names it is lost.
    for (faults, lost) in [
        (vec![of_config().status(503)], 0),
        (vec![of_config().lost_response()], 1),
        (vec![of_config().delay(well), of_place().status(403)], 0),
        (vec![of_config().delay(well), of_place().throttle(1)], 0),
        (vec![of_config().delay(well), of_place().lost_response()], 1),
        (vec![put().status(503)], 0),
        (vec![put().status(403)], 0),
        // The first PUT uploads the config, the second the bundle.
        (vec![put().delay(well), put().status(403)], 0),
        (vec![put().delay(well), unknown(put())], 0),
    ] {
        let shown = format!("{faults:?}");
        let world = world();
        for fault in faults {
            world.registry().fault(fault);
        }
        let outcome = world.seal().input("max-attempts", "1").succeed();
        assert_eq!(world.listed(outcome.output("digest")).len(), 1, "{shown}");
        assert_eq!(world.registry().open_uploads(), lost, "{shown}");
    }
}

fn unknown(on: Trigger) -> Fault {
    on.registry_error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
}

/// Returns start and end of each matching request in milliseconds, as `trace` reports them.
fn times(outcome: &Outcome, request: &str) -> Vec<(u64, u64)> {
    let lines = outcome.log.lines().filter(|line| line.contains(request));
    let times = lines.filter_map(|line| {
        let mut numbers = line.strip_prefix("trace ")?.split(" ms ");
        let mut next = || numbers.next()?.trim().parse::<u64>().ok();
        let start = next()?;
        Some((start, start + next()?))
    });
    times.collect()
}

#[test]
fn place_is_open_before_the_log_answers() {
    let world = world();
    let log = Fault::on("POST", REKOR).delay(Duration::from_secs(1));
    world.sigstore().fault(log);
    let outcome = world.seal().input("trace", "true").succeed();
    let [(asked, answered)] = times(&outcome, REKOR).try_into().unwrap();
    let posts = times(&outcome, "/blobs/uploads/ 202");
    assert_eq!(posts.len(), 2, "{}", outcome.log);
    for (_, opened) in posts {
        assert!((asked..answered).contains(&opened), "{}", outcome.log);
    }
}

#[test]
fn registry_that_hangs_keeps_no_signature_from_another() {
    let two = Two::new();
    // The images and the index already exist.
    let create = two.seal().input("command", "create").succeed();
    let digest = create.output("digest");
    let hangs = Fault::on("POST", "*/blobs/uploads/*").times(u32::MAX);
    two.other.fault(hangs.delay(Duration::from_secs(25)));
    let began = Instant::now();
    let seal = two.seal().begin();
    until("the signature", || {
        let found = two.world.registry().signatures(REPOSITORY, digest);
        !found.bundles.is_empty()
    });
    assert!(began.elapsed() < Duration::from_secs(20));
    seal.kill();
}

#[test]
fn registry_that_hangs_once_is_asked_again_soon() {
    let world = world();
    let hangs = Fault::on("POST", "*/blobs/uploads/*").delay(Duration::from_secs(25));
    world.registry().fault(hangs);
    let began = Instant::now();
    let outcome = world.seal().succeed();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
}

/// The positions of the requests that open a connection to Sigstore, among all requests that Sigstore received.
fn openings(world: &World) -> Vec<usize> {
    let requests = world.sigstore().requests();
    let numbered = requests.iter().enumerate();
    let openings =
        numbered.filter(|(_, request)| (&*request.method, &*request.path) == ("HEAD", "/"));
    openings.map(|(place, _)| place).collect()
}

#[test]
fn connection_to_sigstore_is_opened_once_and_before_it_is_needed() {
    for transport in [Transport::HTTP1, Transport::HTTP2] {
        let world = World::with(Options::new().transport(transport));
        world.seal().input("recursive", "true").succeed();
        let opened = openings(&world);
        assert_eq!(opened.len(), 1, "{transport:?}");
        let requests = world.sigstore().requests();
        let first = requests.iter().position(|one| one.method == "POST");
        assert!(opened[0] < first.unwrap(), "{requests:?}");
        // The opening request carries no credentials and no body.
        let opening = &requests[opened[0]];
        assert_eq!(
            (&opening.authorization, opening.body_length),
            (&Authorization::None, 0)
        );
        // A run that signs nothing opens no connection to Sigstore.
        world.sigstore().clear_requests();
        world.seal().input("recursive", "true").succeed();
        assert_eq!(openings(&world), [0; 0]);
    }
}

#[test]
fn plain_connection_is_not_opened_ahead() {
    let world = World::with(Options::new().transport(Transport::PLAIN));
    world.seal().succeed();
    assert_eq!(openings(&world), [0; 0]);
}

#[test]
fn connection_that_is_not_opened_ahead_is_opened_when_it_is_needed() {
    for fault in [
        Fault::on("HEAD", "/").status(503),
        Fault::on("HEAD", "/").reset(),
        Fault::on("HEAD", "/").delay(Duration::from_secs(25)),
    ] {
        let world = World::with(Options::new().transport(Transport::HTTP1));
        world.sigstore().fault(fault);
        let began = Instant::now();
        let outcome = world.seal().succeed();
        assert_eq!(outcome.output("signed"), "true");
        outcome.does_not_say(&["::warning::", "retry"]);
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(openings(&world).len(), 1);
    }
}
