//! Hostile names in certificates and signatures of a hostile registry: the certificate verifies, and its text has no effect
//! anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Forged, Subject};
use serde_json::{Value, json};

use crate::support::hostile_runs::{HostileRuns, as_header, attacks};
use crate::support::{
    Action, REPOSITORY, SIGN, World, attach, bundle_of, sealed, statement_bundle, unsigned,
};

/// A pattern that matches everything, including line breaks.
const ANYBODY: &str = "(?s).*";

/// Returns a world in which `v1` has one signature, whose certificate contains these names.
fn signed_as(forged: Forged) -> World {
    let (world, digest) = unsigned();
    world.sigstore().forge(Some(forged));
    attach(&world, &digest, &statement_bundle(&world, &digest, SIGN));
    world.sigstore().forge(None);
    world
}

/// Returns a run of `verify` that accepts any identity and issuer.
fn for_anybody(world: &World) -> Action {
    let verify = world.verify("v1").input("certificate-identity", "");
    verify
        .input("certificate-oidc-issuer", "")
        .input("certificate-identity-regexp", ANYBODY)
        .input("certificate-oidc-issuer-regexp", ANYBODY)
}

#[test]
fn hostile_strings_in_certificates() {
    let mut runs = HostileRuns::new("Strings: in certificates");
    let usual = "https://issuer.example";
    let long = format!("{}\n::add-mask::evil", "y".repeat(10 << 10));
    for attack in attacks().iter().chain([&long]) {
        let shown: String = attack.chars().take(80).collect();
        // Names in a certificate are IA5 strings.
        let name = attack.replace(|letter: char| !letter.is_ascii(), "");
        let uri = Subject::Uri("https://example.com/x".to_owned());
        for (what, subject, issuer) in [
            ("subject, address", Subject::Uri(name.clone()), usual),
            ("subject, e-mail", Subject::Email(name.clone()), usual),
            ("issuer", uri, attack.as_str()),
        ] {
            let issuer = issuer.to_owned();
            let world = signed_as(Forged { subject, issuer });
            let outcome = runs.play(&format!("verify, {what}: {shown}"), &world.verify("v1"), 3);
            outcome.says(&["it is by `"]);
            let attack = format!("verify for anybody, {what}: {shown}");
            runs.play(&attack, &for_anybody(&world), 0);
        }
        for (claim, input) in [
            ("repository", "repository"),
            ("ref", "ref"),
            ("sha", "sha"),
            ("workflow", "name"),
            ("event_name", "trigger"),
        ] {
            let (world, digest) = unsigned();
            world.sigstore().set_claim(claim, attack.as_str());
            attach(&world, &digest, &statement_bundle(&world, &digest, SIGN));
            let verify = world.verify("v1");
            let verify = verify.input(&format!("certificate-github-workflow-{input}"), "x");
            let outcome = runs.play(&format!("verify, claim `{input}`: {shown}"), &verify, 3);
            outcome.says(&["its workflow's "]);
        }
        let (world, digest) = unsigned();
        let subject = Subject::Uri(name);
        let issuer = attack.clone();
        world.sigstore().forge(Some(Forged { subject, issuer }));
        let sign = world.sign(&digest);
        runs.play(&format!("sign, Fulcio names another: {shown}"), &sign, 1);
    }
    runs.end();
}

#[test]
fn hostile_strings_in_signatures() {
    let mut runs = HostileRuns::new("Strings: in signatures");
    for attack in &attacks() {
        let (world, digest) = unsigned();
        let workflow = format!("octo-org/octo-app/{}", as_header(attack));
        // A workflow or branch may have such a name, but no certificate is issued for it.
        world.as_workflow(&workflow, &as_header(attack), || {
            runs.play(
                &format!("sign, identity: {attack}"),
                &world.sign(&digest),
                1,
            );
        });
        let bundle = json!({"mediaType": attack, attack: attack}).to_string();
        attach(&world, &digest, bundle.as_bytes());
        let verify = world.verify("v1").input("max-attempts", "1");
        runs.play(&format!("verify, bundle: {attack}"), &verify, 3);
        let payload = json!({"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": attack, "predicate": {}});
        let (signed_world, digest) = sealed();
        let mut bundle: Value = serde_json::from_slice(&bundle_of(&signed_world, &digest)).unwrap();
        bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(payload.to_string()));
        for listed in signed_world.listed(&digest) {
            signed_world.registry().delete_manifest(REPOSITORY, &listed);
        }
        attach(&signed_world, &digest, bundle.to_string().as_bytes());
        runs.play(
            &format!("verify, predicate: {attack}"),
            &signed_world.verify("v1"),
            3,
        );
    }
    runs.end();
}
