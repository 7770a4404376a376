//! Connections to Sigstore are opened before the first request needs them, and a registry that hangs does not delay the
//! signatures of another.

use std::time::{Duration, Instant};

use sandbox::{Authorization, Fault, Options, Transport};

use crate::support::{REPOSITORY, Two, World, until};

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
