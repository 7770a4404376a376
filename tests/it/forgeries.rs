//! What is no signature of this image, however much it looks like one.

use serde_json::Value;

use crate::support::{REPOSITORY, attach, bundle_of, statement_bundle};
use crate::verify::{refused_at_once, sealed, unsigned};

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
    // The same maker with cosign's own predicate is believed: it is the predicate that was refused.
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, crate::sign::SIGN),
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

/// Somewhere in the bundle a text becomes another.
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
    refused_at_once(&other.verify("v1"), &["it does not hold"]);
}
