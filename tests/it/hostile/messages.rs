//! Hostile text in responses of a registry or Sigstore: none of it has an effect in the log or in the summary.

use sandbox::Fault;

use crate::support::World;
use crate::support::hostile_runs::{ATTACKS, nothing_acts};

#[test]
fn message_of_a_registry_does_nothing() {
    for attack in ATTACKS {
        let world = World::new();
        let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
        world
            .registry()
            .fault(fault.registry_error(400, attack, attack));
        let outcome = world.create().end_with(1);
        nothing_acts(&outcome, attack);
        // Retry messages are harmless too.
        world.registry().clear_faults();
        let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
        world
            .registry()
            .fault(fault.registry_error(503, attack, attack));
        let outcome = world.create().input("max-attempts", "2").end_with(1);
        assert!(outcome.summary.contains("Retries"), "{}", outcome.summary);
        nothing_acts(&outcome, attack);
    }
}

#[test]
fn message_of_sigstore_does_nothing() {
    for attack in ATTACKS {
        let world = World::new();
        world.sigstore().offer_rekor_v2();
        for (path, format) in [
            ("/api/v2/signingCert", "bundle"),
            ("/api/v1/log/entries", "legacy"),
            ("/api/v2/log/entries", "bundle"),
            ("/api/v1/timestamp", "bundle"),
        ] {
            world.sigstore().clear_faults();
            let fault = Fault::on("POST", path).times(u32::MAX);
            world
                .sigstore()
                .fault(fault.answer(400, &[("content-type", "text/plain")], attack));
            let seal = world.seal().input("signature-format", format);
            let outcome = seal.end_with(1);
            nothing_acts(&outcome, attack);
        }
    }
}

#[test]
fn challenge_of_a_registry_does_nothing() {
    for attack in ATTACKS {
        let attack = attack.replace(['\n', '\r', '\u{1b}', '\u{7}'], " ");
        let world = World::new();
        for challenge in [
            format!("Bearer realm=\"{attack}\",service=\"{attack}\""),
            attack.clone(),
        ] {
            world.registry().clear_faults();
            let fault = Fault::on("GET", "*/manifests/v1").times(u32::MAX);
            world
                .registry()
                .fault(fault.answer(401, &[("www-authenticate", &challenge)], &attack));
            let outcome = world.create().end_with(1);
            nothing_acts(&outcome, &attack);
        }
    }
}

#[test]
fn input_that_quotes_itself_does_nothing() {
    let world = World::new();
    for attack in ATTACKS {
        for input in [
            "tags",
            "digests",
            "platforms",
            "annotations",
            "image",
            "media-type",
            "certificate-identity-regexp",
        ] {
            let outcome = world.seal().input(input, format!("({attack}")).run();
            assert_eq!(outcome.code, 2, "{input}\n{}", outcome.log);
            nothing_acts(&outcome, attack);
        }
    }
}
