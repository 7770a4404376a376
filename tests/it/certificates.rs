//! TLS certificates of servers that are not accepted: one plain line states the cause, another the cure, and nothing is
//! retried.

use sandbox::{Options, ServerCertificate, Sigstore, Transport};

use crate::support::World;

#[test]
fn rejected_certificate_is_reported_with_cause_and_cure() {
    for transport in [Transport::HTTP1, Transport::HTTP2] {
        for (certificate, cause, cure) in [
            (
                ServerCertificate::ByUnknownAuthority,
                "its certificate was issued by an untrusted CA, which is not in `ca-bundle`",
                "add the certificate of its CA to `ca-bundle`",
            ),
            (
                ServerCertificate::Ended,
                "its certificate expired at 2",
                "renew the certificate of `",
            ),
            (
                ServerCertificate::NotBegun,
                "its certificate is not valid before 2",
                "check the clock of this machine",
            ),
            (
                ServerCertificate::ForAnotherName,
                "its certificate is for `elsewhere.test` only",
                "use a host name from the certificate",
            ),
            (
                ServerCertificate::ForAnAddress,
                "its certificate is for `192.0.2.1` only",
                "use a host name from the certificate",
            ),
            (
                ServerCertificate::Nameless,
                "its certificate names no server (it has no subjectAltName with a name or an address)",
                "a certificate with that name in its subjectAltName",
            ),
            (
                ServerCertificate::OfTheAuthority,
                "its certificate is a CA certificate (`CA:TRUE`), which is not valid for a server",
                "a server certificate (`CA:FALSE`) issued by that CA",
            ),
        ] {
            let options = Options::new().transport(transport.showing(certificate));
            let world = World::with(options);
            let outcome = world.create().end_with(1);
            outcome.says(&[cause, cure, "` is not trusted: its certificate"]);
            // The log contains no text of the TLS library, and no retry, which would not help.
            for word in [
                "InvalidCertificate",
                "UnknownIssuer",
                "CaUsedAsEndEntity",
                "DnsName",
                "IpAddress",
                "cannot be reached",
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
fn rejected_certificate_of_sigstore_is_reported_the_same_way() {
    let world = World::new();
    let transport = Transport::HTTP1.showing(ServerCertificate::ForAnotherName);
    let other = Sigstore::start_by(transport);
    let seal = world
        .seal()
        .input("signing-config", other.signing_config())
        .input("trusted-root", other.trusted_root());
    let cure = format!(
        "use a host name from the certificate, or give `{}",
        other.url()
    );
    let outcome = seal.end_with(1);
    outcome.says(&[
        "` is not trusted: its certificate is for `elsewhere.test` only",
        &cure,
    ]);
    outcome.does_not_say(&["InvalidCertificate", "retry", "no response"]);
    assert_eq!(world.tags().len(), 0);
}

#[test]
fn unknown_authority_suggests_ca_bundle() {
    let world = World::with(Options::new().transport(Transport::HTTP2));
    let outcome = world.create().input("ca-bundle", "").end_with(1);
    outcome.says(&[
        "its certificate was issued by an untrusted CA\n",
        "give the certificate of its CA in `ca-bundle`",
    ]);
}

#[test]
fn preflight_reports_an_untrusted_registry_once() {
    let transport = Transport::HTTP2.showing(ServerCertificate::ForAnotherName);
    let world = World::with(Options::new().transport(transport));
    let look = world.preflight().input("tags", "v1\nv2");
    let digests = look.clone().input("digests", &world.amd64.digest);
    for action in [look, digests] {
        let outcome = action.end_with(1);
        let count = outcome.log.matches("its certificate is for").count();
        assert_eq!(count, 1, "{}", outcome.log);
        outcome.says(&["unknown"]);
    }
}
