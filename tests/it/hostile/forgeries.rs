//! Forged signatures: content that resembles a signature of this image and is none.

use std::time::Duration;

use sandbox::Fault;
use serde_json::{Value, json};

use crate::support::hostile_runs::HostileRuns;
use crate::support::{
    ENTRY, MATERIAL, REPOSITORY, World, attach, bundle_of, refused_at_once, replace, sealed,
    statement_bundle, unsigned,
};

#[test]
fn attestation_by_the_right_identity_is_refused() {
    let (world, digest) = unsigned();
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, "https://slsa.dev/provenance/v1"),
    );
    let outcome = world.verify("v1").input("max-attempts", "2").end_with(3);
    outcome.says(&["has no signature"]);
    // The same signer with cosign's own predicate is accepted: only the predicate was refused.
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, crate::support::SIGN),
    );
    world.verify("v1").succeed();
}

#[test]
fn bundle_of_another_image_is_refused() {
    let (world, digest) = unsigned();
    world.sign(&world.amd64.digest).succeed();
    let bundle = bundle_of(&world, &world.amd64.digest);
    attach(&world, &digest, &bundle);
    refused_at_once(
        &world.verify("v1"),
        &[&format!(
            "it signs `{}`, not `{digest}`",
            world.amd64.digest
        )],
    );
}

/// Returns the bundle with one character changed in the text at `pointer`.
fn tampered(bundle: &[u8], pointer: &str) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bundle).unwrap();
    let text = value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer}"));
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'3' {
        "4"
    } else {
        "3"
    };
    let text = format!("{}{other}{}", &text[..middle], &text[middle + 1..]);
    *value.pointer_mut(pointer).unwrap() = Value::String(text);
    value.to_string().into_bytes()
}

#[test]
fn tampered_bundle_is_refused() {
    let (world, digest) = sealed();
    let bundle = bundle_of(&world, &digest);
    for pointer in [
        "/dsseEnvelope/signatures/0/sig",
        "/dsseEnvelope/payload",
        "/verificationMaterial/certificate/rawBytes",
        "/verificationMaterial/tlogEntries/0/integratedTime",
        "/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp",
        "/verificationMaterial/tlogEntries/0/inclusionProof/rootHash",
        "/verificationMaterial/tlogEntries/0/canonicalizedBody",
    ] {
        for listed in world.listed(&digest) {
            world.registry().delete_manifest(REPOSITORY, &listed);
        }
        attach(&world, &digest, &tampered(&bundle, pointer));
        let outcome = world.verify("v1").end_with(3);
        assert!(!outcome.outputs.contains_key("verified"), "{pointer}");
    }
}

#[test]
fn bundle_of_another_sigstore_is_refused() {
    let (world, digest) = sealed();
    let (other, same) = unsigned();
    assert_eq!(digest, same);
    attach(&other, &same, &bundle_of(&world, &digest));
    refused_at_once(&other.verify("v1"), &["it is not authentic"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn hostile_signatures() {
    let mut runs = HostileRuns::new("Sigstore: signatures that are none");
    let (world, digest) = sealed();
    let read = |world: &World, digest: &str| -> Value {
        serde_json::from_slice(&bundle_of(world, digest)).unwrap()
    };
    let right = read(&world, &digest);
    world.sign(&world.amd64.digest).succeed();
    let other = read(&world, &world.amd64.digest);
    let (elsewhere, same) = sealed();
    assert_eq!(digest, same);
    let foreign = read(&elsewhere, &same);
    let taken = |from: &Value, part: &str| {
        let mut bundle = right.clone();
        *bundle.pointer_mut(part).unwrap() = from.pointer(part).unwrap().clone();
        bundle
    };
    let set = |part: &str, name: &str, value: Value| {
        let mut bundle = right.clone();
        bundle.pointer_mut(part).unwrap()[name] = value;
        bundle
    };
    let proof = format!("{ENTRY}/inclusionProof");
    let without = |part: &str, name: &str| {
        let mut bundle = right.clone();
        let part = bundle.pointer_mut(part).unwrap();
        assert!(
            part.as_object_mut().unwrap().remove(name).is_some(),
            "{name}"
        );
        bundle
    };
    let size: u64 = right
        .pointer(&format!("{proof}/treeSize"))
        .unwrap()
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    for (what, bundle) in [
        ("the log's entry of another artifact", taken(&other, ENTRY)),
        (
            "the envelope of another artifact",
            taken(&other, "/dsseEnvelope"),
        ),
        (
            "the certificate of another signature",
            taken(&other, &format!("{MATERIAL}/certificate")),
        ),
        ("an entry of a foreign log", taken(&foreign, ENTRY)),
        (
            "the material of a foreign Sigstore",
            taken(&foreign, MATERIAL),
        ),
        ("all of a foreign Sigstore", foreign.clone()),
        (
            "the id of a foreign log",
            taken(&foreign, &format!("{ENTRY}/logId")),
        ),
        ("a proof for another entry", taken(&other, &proof)),
        (
            "the checkpoint of a foreign log",
            taken(&foreign, &format!("{proof}/checkpoint")),
        ),
        (
            "a proof for a larger tree",
            set(&proof, "treeSize", json!((size + 1).to_string())),
        ),
        (
            "a proof for a tree of 2^63 - 1",
            set(&proof, "treeSize", json!(i64::MAX.to_string())),
        ),
        (
            "a proof for an empty tree",
            set(&proof, "treeSize", json!("0")),
        ),
        (
            "a proof at another place",
            set(&proof, "logIndex", json!("5")),
        ),
        (
            "a proof with more hashes",
            set(
                &proof,
                "hashes",
                json!(vec!["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; 70]),
            ),
        ),
        ("no proof", without(ENTRY, "inclusionProof")),
        (
            "no promise, so that nobody says when",
            without(ENTRY, "inclusionPromise"),
        ),
        (
            "a year later",
            set(ENTRY, "integratedTime", json!("1893456000")),
        ),
        ("no time", without(ENTRY, "integratedTime")),
        (
            "another kind of entry",
            set(
                ENTRY,
                "kindVersion",
                json!({"kind": "hashedrekord", "version": "0.0.1"}),
            ),
        ),
        ("no entry", set(MATERIAL, "tlogEntries", json!([]))),
        (
            "1000 entries",
            set(
                MATERIAL,
                "tlogEntries",
                Value::Array(vec![right.pointer(ENTRY).unwrap().clone(); 300]),
            ),
        ),
        (
            "no signature",
            set("/dsseEnvelope", "signatures", json!([])),
        ),
        ("a public key in place of a certificate", {
            let mut bundle = without(MATERIAL, "certificate");
            bundle.pointer_mut(MATERIAL).unwrap()["publicKey"] = json!({"hint": "x"});
            bundle
        }),
    ] {
        replace(&world, &digest, &bundle);
        runs.play(&format!("verify: {what}"), &world.verify("v1"), 3);
    }
    replace(&world, &digest, &right);
    runs.play("nothing: the right one, as it was", &world.verify("v1"), 0);
    runs.end();
}

#[test]
fn hostile_certificates() {
    let mut runs = HostileRuns::new("Sigstore: certificates that are none");
    let (world, digest) = unsigned();
    // The log takes the entry two seconds after the certificate was issued, one second after its end.
    world
        .sigstore()
        .set_certificate_lifetime(Duration::from_secs(1));
    let late = Fault::on("POST", "/api/v2/signingCert").delay(Duration::from_millis(2500));
    world.sigstore().fault(late);
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, crate::support::SIGN),
    );
    runs.play(
        "verify: the certificate had expired",
        &world.verify("v1"),
        3,
    );
    world
        .sigstore()
        .set_certificate_lifetime(Duration::from_mins(10));
    let (world, digest) = unsigned();
    world.sigstore().leave_certificate_log_out(true);
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, crate::support::SIGN),
    );
    runs.play(
        "verify: no log has the certificate (SCT)",
        &world.verify("v1"),
        3,
    );
    runs.play(
        "seal: no log has the certificate (SCT)",
        &world.seal().input("timeout", "20s"),
        1,
    );
    assert_eq!(world.listed(&digest).len(), 1, "nothing was pushed");
    world.sigstore().leave_certificate_log_out(false);
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, crate::support::SIGN),
    );
    runs.play("nothing: a right one beside it", &world.verify("v1"), 0);
    runs.end();
}
