//! The parsers of this room, for the table in `src/fuzz`: none of them accepts damaged content.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderMap;
use serde_json::Value;
use sigstore_types::KindVersion;

use super::super::endpoint::Endpoint;
use super::super::identity::github_subject;
use super::super::legacy::authenticate_legacy;
use super::super::log::{held_id, single_entry};
use super::super::payload::check_payload;
use super::super::pem::{first_certificate, pem};
use super::super::protojson::read_bundle;
use super::super::provenance::{Provenance, verify_statement};
use super::super::session::chain;
use super::super::surplus::surplus;
use super::super::timestamp::is_granted;
use super::super::token::Token;
use super::super::trust::{Trust, read_services};
use super::super::verify::{Authentic, authenticate};
use super::services::{ID, certificate, decoded, entry_v1, signing_config};
use super::{fixture, trust};
use crate::domain::{Digest, GithubClaims, Matcher, Policy, Secret};
use crate::fuzz::{Parser, of_bytes, of_text};
use crate::http::Response;

const LEGACY: &str = "sha256:1edf9d581605711aef8259909046fc02c240887ab3c1107d24e766ceada81d3f";
const BUNDLES: [&str; 2] = ["rekor-v1.json", "rekor-v2.json"];

/// The parts of a bundle that are base64 of another format, by name and position.
const INNER: [(&str, &str); 6] = [
    ("certificate", "/verificationMaterial/certificate/rawBytes"),
    (
        "timestamp",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    ),
    (
        "entry of the log",
        "/verificationMaterial/tlogEntries/0/canonicalizedBody",
    ),
    ("statement", "/dsseEnvelope/payload"),
    ("signature", "/dsseEnvelope/signatures/0/sig"),
    (
        "checkpoint",
        "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope",
    ),
];

fn load(root: &str) -> Arc<Trust> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    Arc::new(runtime.block_on(trust(root, None)))
}

pub(crate) fn parsers() -> Vec<Parser> {
    let mut parsers = verified();
    parsers.extend(inner());
    parsers.extend(services());
    parsers
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

fn verified() -> Vec<Parser> {
    let trust = load("trusted_root.json");
    let subject = Digest::of(b"first");
    let seeds: Vec<Vec<u8>> = BUNDLES.map(fixture).to_vec();
    let rights: Vec<_> = seeds
        .iter()
        .map(|seed| said(&authenticate(seed, &subject, &trust).unwrap()))
        .collect();
    let (statements, stated) = (seeds.clone(), subject.clone());
    let statement_trust = Arc::clone(&trust);
    let signers: Vec<String> = rights.iter().map(|(signer, ..)| signer.clone()).collect();
    let anybody = Provenance::of(
        &Policy {
            identity: Matcher::pattern(".*").unwrap(),
            issuer: Matcher::pattern(".*").unwrap(),
            github: GithubClaims::default(),
        },
        [],
    );
    let legacy_trust = load("legacy/trusted_root.json");
    let legacy_subject: Digest = LEGACY.parse().unwrap();
    let payload = fixture("legacy/payload.json");
    let own_payload = payload.clone();
    let manifest: Value = serde_json::from_slice(&fixture("legacy/manifest-of-two.json")).unwrap();
    let annotations = [0, 1].map(|number| {
        manifest["layers"][number]["annotations"]
            .to_string()
            .into_bytes()
    });
    vec![
        of_bytes(
            "bundle as protojson",
            "src/signing/protojson.rs",
            seeds.clone(),
            |bytes| std::str::from_utf8(bytes).is_ok_and(|text| read_bundle(text).is_ok()),
        ),
        of_bytes("bundle", "src/signing/verify.rs", seeds, move |bytes| {
            let verified = authenticate(bytes, &subject, &trust);
            if let Ok(verified) = &verified {
                assert!(rights.contains(&said(verified)), "{verified:?}");
            }
            verified.is_ok()
        }),
        of_bytes(
            "statement",
            "src/signing/provenance.rs",
            statements,
            move |bytes| {
                let found = verify_statement(bytes, &stated, &statement_trust, &anybody);
                if let Ok((signer, _)) = &found {
                    assert!(signers.contains(signer), "{signer}");
                }
                found.is_ok()
            },
        ),
        of_bytes(
            "what is beside a signature",
            "src/signing/surplus.rs",
            vec![fixture(BUNDLES[0])],
            |bytes| {
                let known: Value = serde_json::from_slice(&fixture(BUNDLES[0])).unwrap();
                let is_plain = surplus(bytes, &known).is_none();
                if is_plain {
                    let document: Value = serde_json::from_slice(bytes).unwrap();
                    let mut long = texts(&document);
                    long.retain(|text| !texts(&known).contains(text) && text.len() > "0".len());
                    assert!(long.is_empty(), "{long:?}");
                }
                is_plain
            },
        ),
        of_bytes(
            "legacy signature",
            "src/signing/legacy.rs",
            annotations.to_vec(),
            move |bytes| {
                let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(bytes)
                else {
                    return false;
                };
                let verified =
                    authenticate_legacy(&own_payload, &annotations, &legacy_subject, &legacy_trust);
                if let Ok(verified) = &verified {
                    assert!(
                        verified
                            .identity
                            .starts_with("https://github.com/octo-org/octo-app/")
                    );
                }
                verified.is_ok()
            },
        ),
        of_bytes(
            "legacy payload",
            "src/signing/payload.rs",
            vec![payload],
            |bytes| check_payload(bytes, &LEGACY.parse().unwrap()).is_ok(),
        ),
    ]
}

/// Parsers of the parts within a bundle, each damaged by itself: the outer document stays valid.
fn inner() -> Vec<Parser> {
    let trust = load("trusted_root.json");
    let one = |(name, pointer): (&'static str, &'static str)| {
        let trust = Arc::clone(&trust);
        // The log attests no time here, so only the timestamp does.
        let whole: Value = serde_json::from_slice(&fixture("rekor-v2.json")).unwrap();
        let authentic = authenticate(&fixture("rekor-v2.json"), &Digest::of(b"first"), &trust);
        let authentic = said(&authentic.unwrap());
        let text = whole.pointer(pointer).unwrap();
        let is_plain = name == "checkpoint";
        let right = if is_plain {
            text.as_str().unwrap().as_bytes().to_vec()
        } else {
            decoded(text)
        };
        let seed = right.clone();
        of_bytes(name, "src/signing/verify.rs", vec![seed], move |bytes| {
            let mut bundle = whole.clone();
            let text = if is_plain {
                String::from_utf8_lossy(bytes).into_owned()
            } else {
                STANDARD.encode(bytes)
            };
            *bundle.pointer_mut(pointer).unwrap() = text.into();
            let bundle = bundle.to_string();
            let verified = authenticate(bundle.as_bytes(), &Digest::of(b"first"), &trust);
            if let Ok(verified) = &verified {
                assert_eq!(said(verified), authentic);
                // A timestamp has parts that are not signed, and a checkpoint may contain signatures of others.
                let may_differ = ["timestamp", "checkpoint"].contains(&name);
                assert!(
                    may_differ || right == bytes,
                    "{name} was damaged and believed"
                );
            }
            verified.is_ok()
        })
    };
    INNER.map(one).into()
}

fn services() -> Vec<Parser> {
    let url = || {
        Endpoint::parse("https://log.example")
            .unwrap()
            .url()
            .clone()
    };
    let config = signing_config("https://services.example", 1).to_string();
    let chain_of_one = certificate("long-lived.pem").content().to_vec();
    let pem_of_one = String::from_utf8(fixture("long-lived.pem")).unwrap();
    let claims = br#"{"iss":"https://token.actions.githubusercontent.com","sub":"s","exp":1900000000,"repository":"o/r","job_workflow_ref":"o/r/.github/workflows/x.yml@refs/tags/v1"}"#;
    vec![
        of_bytes(
            "identity token",
            "src/signing/token.rs",
            vec![claims.to_vec()],
            |bytes| {
                Token::read(Secret::new(format!(
                    "e30.{}.x",
                    URL_SAFE_NO_PAD.encode(bytes)
                )))
                .is_ok()
            },
        ),
        of_text(
            "reference of a workflow",
            "src/signing/identity.rs",
            &["o/r/.github/workflows/x.yml@refs/heads/a%20b#c"],
            |text| github_subject(None, text).is_some(),
        ),
        of_bytes(
            "entry as Rekor v1 shows it",
            "src/signing/log.rs",
            vec![entry_v1().into_bytes()],
            move |bytes| single_entry(&url(), bytes, KindVersion::DsseV001).is_ok(),
        ),
        of_bytes(
            "entry that Rekor v1 holds",
            "src/signing/log.rs",
            vec![format!("an equivalent entry already exists with UUID {ID}").into_bytes()],
            move |bytes| {
                let answer = Response {
                    url: url(),
                    status: reqwest::StatusCode::CONFLICT,
                    headers: HeaderMap::new(),
                    body: bytes.to_vec(),
                };
                held_id(&answer).is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            },
        ),
        of_bytes(
            "certificates of Fulcio",
            "src/signing/session.rs",
            vec![chain_of_one],
            |bytes| chain(bytes).is_ok(),
        ),
        of_text(
            "certificate as PEM",
            "src/signing/pem.rs",
            &[&pem_of_one],
            |text| {
                let first = first_certificate(text);
                if let Some(first) = &first {
                    assert_eq!(first_certificate(&pem([first])).as_ref(), Some(first));
                }
                first.is_some()
            },
        ),
        of_bytes(
            "timestamp's status",
            "src/signing/timestamp.rs",
            vec![vec![0x30, 0x82, 2, 0, 0x30, 3, 2, 1, 1]],
            is_granted,
        ),
        of_bytes(
            "trusted root",
            "src/signing/trust.rs",
            vec![fixture("trusted_root.json")],
            |bytes| Trust::read(bytes, None).is_ok(),
        ),
        of_bytes(
            "signing config",
            "src/signing/trust.rs",
            vec![config.into_bytes()],
            |bytes| read_services(bytes).is_ok(),
        ),
        of_text(
            "address of a service",
            "src/signing/endpoint.rs",
            &["https://a.example/x?y", "http://[::1]:2"],
            |text| Endpoint::parse(text).is_ok(),
        ),
    ]
}
