//! The properties of the parsers of this room: none of them accepts damaged content.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderMap;
use serde_json::Value;
use sigstore_types::KindVersion;

use super::super::endpoint::Endpoint;
use super::super::identity::github_subject;
use super::super::legacy::authenticate_legacy;
use super::super::log::{existing_entry_id, single_entry};
use super::super::payload::check_payload;
use super::super::pem::{first_certificate, pem};
use super::super::protojson::read_bundle;
use super::super::signing_certificate::chain;
use super::super::source_policy::{SourcePolicy, verify_statement};
use super::super::timestamp::is_granted;
use super::super::token::IdentityToken;
use super::super::trust::{Trust, read_services};
use super::super::unsigned_content::unsigned_content;
use super::super::verify::{Authentic, authenticate};
use super::services::{ID, certificate, decoded, entry_v1, signing_config};
use super::{fixture, trust};
use crate::domain::{Digest, GithubClaims, Matcher, Policy, Secret};
use crate::http::Response;
use crate::properties::{of_bytes, of_text, properties};

const LEGACY: &str = "sha256:1edf9d581605711aef8259909046fc02c240887ab3c1107d24e766ceada81d3f";
const BUNDLES: [&str; 2] = ["rekor-v1.json", "rekor-v2.json"];

properties! {
    bundle_is_read_or_refused in "src/sigstore/protojson.rs" {
        of_bytes(&BUNDLES.map(fixture), |bytes| std::str::from_utf8(bytes).is_ok_and(|text| read_bundle(text).is_ok()));
    }
    damaged_bundle_names_no_other_signer_or_time in "src/sigstore/verify.rs" {
        let (trust, subject) = (load("trusted_root.json"), Digest::of(b"first"));
        let seeds = BUNDLES.map(fixture);
        let right = seeds.each_ref().map(|seed| said(&authenticate(seed, &subject, &trust).unwrap()));
        of_bytes(&seeds, |bytes| {
            let verified = authenticate(bytes, &subject, &trust);
            verified.inspect(|verified| assert!(right.contains(&said(verified)), "{verified:?}")).is_ok()
        });
    }
    damaged_certificate_is_refused in "src/sigstore/verify.rs" {
        part_of_a_bundle("/verificationMaterial/certificate/rawBytes", SignedPart::Signed);
    }
    damaged_timestamp_changes_nothing in "src/sigstore/verify.rs" {
        let pointer = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp";
        part_of_a_bundle(pointer, SignedPart::PartlySigned);
    }
    damaged_entry_of_the_log_is_refused in "src/sigstore/verify.rs" {
        part_of_a_bundle("/verificationMaterial/tlogEntries/0/canonicalizedBody", SignedPart::Signed);
    }
    damaged_statement_is_refused in "src/sigstore/verify.rs" { part_of_a_bundle("/dsseEnvelope/payload", SignedPart::Signed); }
    damaged_signature_is_refused in "src/sigstore/verify.rs" {
        part_of_a_bundle("/dsseEnvelope/signatures/0/sig", SignedPart::Signed);
    }
    damaged_checkpoint_changes_nothing in "src/sigstore/verify.rs" {
        let pointer = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
        part_of_a_bundle(pointer, SignedPart::Checkpoint);
    }
    damaged_statement_names_no_other_signer in "src/sigstore/source_policy.rs" {
        let (trust, subject) = (load("trusted_root.json"), Digest::of(b"first"));
        let seeds = BUNDLES.map(fixture);
        let signers = seeds.each_ref().map(|seed| said(&authenticate(seed, &subject, &trust).unwrap()).0);
        let anybody = Policy {
            identity: Matcher::pattern(".*").unwrap(),
            issuer: Matcher::pattern(".*").unwrap(),
            github: GithubClaims::default(),
        };
        let anybody = SourcePolicy::of(&anybody, []);
        of_bytes(&seeds, |bytes| {
            let found = verify_statement(bytes, &subject, &trust, &anybody);
            found.inspect(|(signer, _)| assert!(signers.contains(signer), "{signer}")).is_ok()
        });
    }
    bundle_without_surplus_has_no_text_of_others in "src/sigstore/unsigned_content.rs" {
        let seed = fixture(BUNDLES[0]);
        let known: Value = serde_json::from_slice(&seed).unwrap();
        of_bytes(&[seed], |bytes| {
            let is_plain = unsigned_content(bytes, &known).is_none();
            if is_plain {
                let document: Value = serde_json::from_slice(bytes).unwrap();
                let mut long = texts(&document);
                long.retain(|text| !texts(&known).contains(text) && text.len() > "0".len());
                assert!(long.is_empty(), "{long:?}");
            }
            is_plain
        });
    }
    damaged_legacy_signature_names_no_other_signer in "src/sigstore/legacy.rs" {
        let (trust, subject) = (load("legacy/trusted_root.json"), LEGACY.parse().unwrap());
        let payload = fixture("legacy/payload.json");
        let manifest: Value = serde_json::from_slice(&fixture("legacy/manifest-of-two.json")).unwrap();
        let seeds = [0, 1].map(|number| manifest["layers"][number]["annotations"].to_string());
        of_bytes(&seeds, |bytes| {
            let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else { return false };
            let verified = authenticate_legacy(&payload, &annotations, &subject, &trust);
            let is_right = |signer: &str| signer.starts_with("https://github.com/octo-org/octo-app/");
            verified.inspect(|verified| assert!(is_right(&verified.identity), "{verified:?}")).is_ok()
        });
    }
    legacy_payload_is_read_or_refused in "src/sigstore/payload.rs" {
        let subject = LEGACY.parse().unwrap();
        of_bytes(&[fixture("legacy/payload.json")], |bytes| check_payload(bytes, &subject).is_ok());
    }
    identity_token_is_read_or_refused in "src/sigstore/token.rs" {
        let claims = r#"{"iss":"https://token.actions.githubusercontent.com","sub":"s","exp":1900000000,"repository":"o/r","job_workflow_ref":"o/r/.github/workflows/x.yml@refs/tags/v1"}"#;
        of_bytes(&[claims], |bytes| {
            IdentityToken::read(Secret::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(bytes)))).is_ok()
        });
    }
    reference_of_a_workflow_is_read_or_refused in "src/sigstore/identity.rs" {
        of_text(&["o/r/.github/workflows/x.yml@refs/heads/a%20b#c"], |text| github_subject(None, text).is_some());
    }
    entry_of_rekor_is_read_or_refused in "src/sigstore/log.rs" {
        of_bytes(&[entry_v1()], |bytes| single_entry(&log_url(), bytes, KindVersion::DsseV001).is_ok());
    }
    id_of_an_existing_entry_is_hex in "src/sigstore/log.rs" {
        of_bytes(&[format!("an equivalent entry already exists with UUID {ID}")], |bytes| {
            let conflict = Response {
                url: log_url(),
                status: reqwest::StatusCode::CONFLICT,
                headers: HeaderMap::new(),
                body: bytes.to_vec(),
            };
            let id = existing_entry_id(&conflict);
            id.inspect(|id| assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}")).is_some()
        });
    }
    certificates_of_fulcio_are_read_or_refused in "src/sigstore/signing_certificate.rs" {
        of_bytes(&[certificate("long-lived.pem").content()], |bytes| chain(bytes).is_ok());
    }
    first_certificate_is_read_again_as_written in "src/sigstore/pem.rs" {
        of_text(&[&String::from_utf8(fixture("long-lived.pem")).unwrap()], |text| {
            let first = first_certificate(text);
            first.inspect(|first| assert_eq!(first_certificate(&pem([first])).as_ref(), Some(first))).is_some()
        });
    }
    status_of_a_timestamp_is_read_or_refused in "src/sigstore/timestamp.rs" {
        of_bytes(&[[0x30, 0x82, 2, 0, 0x30, 3, 2, 1, 1]], is_granted);
    }
    trusted_root_is_read_or_refused in "src/sigstore/trust.rs" {
        of_bytes(&[fixture("trusted_root.json")], |bytes| Trust::read(bytes, None).is_ok());
    }
    signing_config_is_read_or_refused in "src/sigstore/trust.rs" {
        let config = signing_config("https://services.example", 1).to_string();
        of_bytes(&[config], |bytes| read_services(bytes).is_ok());
    }
    address_of_a_service_is_read_or_refused in "src/sigstore/endpoint.rs" {
        of_text(&["https://a.example/x?y", "http://[::1]:2"], |text| Endpoint::parse(text).is_ok());
    }
}

fn load(root: &str) -> Trust {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(trust(root, None))
}

fn log_url() -> reqwest::Url {
    Endpoint::parse("https://log.example")
        .unwrap()
        .url()
        .clone()
}

/// Collects all texts in `value`.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The identity, the issuer and the time of a signature: damaged content must not result in others.
fn said(authentic: &Authentic) -> (String, String, String) {
    let Authentic {
        identity,
        issuer,
        signed_at,
        ..
    } = authentic.clone();
    (identity, issuer, signed_at)
}

/// A part of a bundle, by how much of it is signed.
#[derive(Clone, Copy, PartialEq)]
enum SignedPart {
    /// Base64 of content of which every byte is signed.
    Signed,
    /// Base64 of a timestamp, which has parts that are not signed.
    PartlySigned,
    /// Text that may contain signatures of others.
    Checkpoint,
}

/// Checks a bundle that is damaged in one part, so that the outer document stays valid.
fn part_of_a_bundle(pointer: &str, part: SignedPart) {
    let (trust, subject) = (load("trusted_root.json"), Digest::of(b"first"));
    // The log attests no time here, so only the timestamp does.
    let seed = fixture("rekor-v2.json");
    let whole: Value = serde_json::from_slice(&seed).unwrap();
    let authentic = said(&authenticate(&seed, &subject, &trust).unwrap());
    let text = whole.pointer(pointer).unwrap();
    let right = match part {
        SignedPart::Checkpoint => text.as_str().unwrap().as_bytes().to_vec(),
        SignedPart::Signed | SignedPart::PartlySigned => decoded(text),
    };
    of_bytes(std::slice::from_ref(&right), |bytes| {
        let mut bundle = whole.clone();
        *bundle.pointer_mut(pointer).unwrap() = match part {
            SignedPart::Checkpoint => String::from_utf8_lossy(bytes).into(),
            SignedPart::Signed | SignedPart::PartlySigned => STANDARD.encode(bytes).into(),
        };
        let verified = authenticate(bundle.to_string().as_bytes(), &subject, &trust);
        if let Ok(verified) = &verified {
            assert_eq!(said(verified), authentic);
            assert!(
                part != SignedPart::Signed || right == bytes,
                "it was damaged and believed"
            );
        }
        verified.is_ok()
    });
}
