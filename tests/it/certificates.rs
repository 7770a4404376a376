//! TLS certificates of servers that are not accepted: one plain line states the cause, another the cure, and nothing is
//! retried.

use sandbox::{Options, ServerCertificate, Sigstore, Transport};

use crate::support::World;

#[test]
fn certificate_that_is_not_accepted_is_told_with_its_cause_and_its_cure() {
    for transport in [Transport::HTTP1, Transport::HTTP2] {
        for (certificate, cause, cure) in [
            (
                ServerCertificate::ByUnknownAuthority,
                "its certificate is by an authority that is not trusted here",
                "give the certificate of its authority in `ca-bundle`",
            ),
            (
                ServerCertificate::Ended,
                "its certificate ended at 2",
                "renew the certificate of `",
            ),
            (
                ServerCertificate::NotBegun,
                "its certificate begins only at 2",
                "is the clock of this machine wrong?",
            ),
            (
                ServerCertificate::ForAnotherName,
                "its certificate is for ",
                "name the server as its certificate does",
            ),
            (
                ServerCertificate::OfTheAuthority,
                "its certificate is itself an authority's (`CA:TRUE`), with which no server may answer",
                "a certificate of its own (`CA:FALSE`), issued by that authority",
            ),
        ] {
            let options = Options::new().transport(transport.showing(certificate));
            let world = World::with(options);
            let outcome = world.create().end_with(1);
            outcome.says(&[cause, cure]);
            // The log contains no text of the TLS library, and no retry, which would not help.
            for word in [
                "InvalidCertificate",
                "UnknownIssuer",
                "CaUsedAsEndEntity",
                "::notice",
            ] {
                assert!(
                    !outcome.log.contains(word),
                    "{certificate:?}: {}",
                    outcome.log
                );
            }
            assert!(!outcome.log.contains("retry"), "{}", outcome.log);
            assert_eq!(world.registry().requests(), []);
        }
        let right = World::with(Options::new().transport(transport));
        right.create().succeed();
    }
}

#[test]
fn certificate_of_a_service_of_sigstore_has_the_same_words() {
    let world = World::new();
    let transport = Transport::HTTP1.showing(ServerCertificate::ForAnotherName);
    let other = Sigstore::start_by(transport);
    let seal = world
        .seal()
        .input("signing-config", other.signing_config())
        .input("trusted-root", other.trusted_root());
    let cure = format!(
        "name the server as its certificate does, or give `{}",
        other.url()
    );
    let outcome = seal.end_with(1);
    outcome.says(&["its certificate is for ", &cure]);
    outcome.does_not_say(&["InvalidCertificate", "retry"]);
    assert_eq!(world.tags().len(), 0);
}
