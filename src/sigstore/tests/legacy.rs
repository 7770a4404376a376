//! Recorded signatures of cosign 2: beside each that verifies, a changed copy must not verify.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::domain::{Digest, GithubClaims, Matcher, Policy};

use super::super::pem::{first_certificate, pem};
use super::super::{VerificationError, Verified, verify_legacy};
use super::{fixture, trust};

const SUBJECT: &str = "sha256:1edf9d581605711aef8259909046fc02c240887ab3c1107d24e766ceada81d3f";
const IDENTITY: &str =
    "https://github.com/octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// The recorded signatures: the first has a log entry only, the second a timestamp as well.
const BOTH: [usize; 2] = [0, 1];

type SignatureAnnotations = BTreeMap<String, String>;

fn annotations(number: usize) -> SignatureAnnotations {
    let manifest: Value = serde_json::from_slice(&fixture("legacy/manifest-of-two.json")).unwrap();
    serde_json::from_value(manifest["layers"][number]["annotations"].clone()).unwrap()
}

fn issuer() -> String {
    let certificate = first_certificate(&annotations(0)[CERTIFICATE]).unwrap();
    let info = sigstore_crypto::parse_certificate_info(&certificate).unwrap();
    info.issuer.unwrap()
}

fn policy() -> Policy {
    Policy {
        identity: Matcher::Exact(IDENTITY.into()),
        issuer: Matcher::Exact(issuer()),
        github: GithubClaims::default(),
    }
}

async fn check_all(
    payload: &[u8],
    annotations: &SignatureAnnotations,
    subject: &str,
    policy: &Policy,
) -> Result<Verified, VerificationError> {
    let trust = trust("legacy/trusted_root.json", None).await;
    let subject: Digest = subject.parse().unwrap();
    verify_legacy(payload, annotations, &subject, &trust, policy)
}

/// Verifies a recorded signature after `change`.
async fn changed(
    number: usize,
    change: impl FnOnce(&mut Vec<u8>, &mut SignatureAnnotations),
) -> Result<Verified, VerificationError> {
    let (mut payload, mut annotations) = (fixture("legacy/payload.json"), annotations(number));
    change(&mut payload, &mut annotations);
    check_all(&payload, &annotations, SUBJECT, &policy()).await
}

fn flipped(text: &str, at: usize) -> String {
    let mut bytes = STANDARD.decode(text).unwrap();
    bytes[at] ^= 1;
    STANDARD.encode(bytes)
}

/// Changes the JSON in an annotation.
fn edit(annotations: &mut SignatureAnnotations, name: &str, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&annotations[name]).unwrap();
    change(&mut value);
    annotations.insert(name.to_owned(), value.to_string());
}

fn is_invalid(result: &Result<Verified, VerificationError>) -> bool {
    matches!(result, Err(VerificationError::Invalid { .. }))
}

fn is_unreadable(result: &Result<Verified, VerificationError>) -> bool {
    matches!(result, Err(VerificationError::Unreadable { .. }))
}

#[tokio::test]
async fn signatures_by_cosign_2_verify() {
    for number in BOTH {
        let verified = changed(number, |_, _| ()).await.unwrap();
        assert_eq!(
            (verified.identity.as_str(), verified.issuer.clone()),
            (IDENTITY, issuer())
        );
        assert!(
            verified.signed_at.starts_with("2026-11-21T14:"),
            "{}",
            verified.signed_at
        );
        assert_eq!(verified.log_index, Some(number as u64));
        assert!(verified.log.is_some());
        assert_eq!(
            verified.github.repository.as_deref(),
            Some("octo-org/octo-app")
        );
    }
}

#[tokio::test]
async fn chain_is_nobodys_to_trust() {
    let other = String::from_utf8(fixture("long-lived.pem")).unwrap();
    for chain in [None, Some(String::new()), Some(other)] {
        let verified = changed(0, |_, annotations| {
            annotations.remove(CHAIN).unwrap();
            annotations.extend(chain.map(|chain| (CHAIN.to_owned(), chain)));
        });
        verified.await.unwrap();
    }
}

/// Cosign reads the chain, and refuses a signature whose chain is anything else.
#[tokio::test]
async fn annotations_that_cosign_does_not_read_are_refused() {
    let no_certificate = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
    let text = |annotations: &BTreeMap<String, String>, name: &str| annotations[name].clone();
    let genuine = annotations(1);
    for (name, value) in [
        (CHAIN, "garbage".to_owned()),
        (CHAIN, no_certificate.to_owned()),
        (CHAIN, format!("{}garbage", text(&genuine, CHAIN))),
        (
            CERTIFICATE,
            format!("{}garbage", text(&genuine, CERTIFICATE)),
        ),
        (
            BUNDLE,
            format!("{{\"payload\":{{}},{}", &text(&genuine, BUNDLE)[1..]),
        ),
        (
            BUNDLE,
            format!("{{\"note\":1,{}", &text(&genuine, BUNDLE)[1..]),
        ),
    ] {
        let refused = changed(1, |_, annotations| {
            annotations.insert(name.to_owned(), value.clone());
        });
        let refused = refused.await;
        assert!(
            matches!(refused, Err(VerificationError::Unreadable { .. })),
            "{name} {value}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn signature_of_another_digest_is_refused() {
    for number in BOTH {
        let (payload, annotations) = (fixture("legacy/payload.json"), annotations(number));
        let other = Digest::of(b"other").to_string();
        let moved = check_all(&payload, &annotations, &other, &policy()).await;
        let Err(VerificationError::OtherSubject { found, .. }) = moved else {
            panic!("{moved:?}");
        };
        assert_eq!(found.unwrap().to_string(), SUBJECT);
        // A payload that is changed to match is not the signed payload.
        let fitted = String::from_utf8(payload).unwrap().replace(SUBJECT, &other);
        let fitted = check_all(fitted.as_bytes(), &annotations, &other, &policy()).await;
        assert!(is_invalid(&fitted), "{fitted:?}");
    }
}

#[tokio::test]
async fn changed_bytes_do_not_hold() {
    for number in BOTH {
        // A reader of JSON still reads the same document.
        let payload = changed(number, |payload, _| payload.push(b' ')).await;
        assert!(is_invalid(&payload), "{payload:?}");
        let signature = changed(number, |_, annotations| {
            let signature = flipped(&annotations[SIGNATURE_ANNOTATION], 40);
            annotations.insert(SIGNATURE_ANNOTATION.to_owned(), signature);
        });
        assert!(is_invalid(&signature.await));
        for at in [60, 300, 800] {
            let certificate = changed(number, |_, annotations| {
                let mut der = first_certificate(&annotations[CERTIFICATE])
                    .unwrap()
                    .into_bytes();
                der[at] ^= 1;
                annotations.insert(CERTIFICATE.to_owned(), pem([&der.into()]));
            });
            assert!(is_invalid(&certificate.await), "{at}");
        }
    }
}

#[tokio::test]
async fn word_of_the_log_must_be_the_logs() {
    for number in BOTH {
        let promise = changed(number, |_, annotations| {
            edit(annotations, BUNDLE, |bundle| {
                let promise = bundle["SignedEntryTimestamp"].as_str().unwrap();
                bundle["SignedEntryTimestamp"] = flipped(promise, 40).into();
            });
        });
        assert!(is_invalid(&promise.await));
        let body = changed(number, |_, annotations| {
            edit(annotations, BUNDLE, |bundle| {
                let body = bundle["Payload"]["body"].as_str().unwrap();
                bundle["Payload"]["body"] = flipped(body, 120).into();
            });
        });
        assert!(is_invalid(&body.await));
        for field in ["integratedTime", "logIndex"] {
            let counted = changed(number, |_, annotations| {
                edit(annotations, BUNDLE, |bundle| {
                    let count = bundle["Payload"][field].as_i64().unwrap();
                    bundle["Payload"][field] = (count + 1).into();
                });
            });
            assert!(is_invalid(&counted.await), "{field}");
        }
        let log = changed(number, |_, annotations| {
            edit(annotations, BUNDLE, |bundle| {
                bundle["Payload"]["logID"] = "00".repeat(32).into();
            });
        });
        assert!(is_invalid(&log.await));
    }
}

#[tokio::test]
async fn parts_of_another_signature_do_not_hold() {
    for number in BOTH {
        let other = annotations(1 - number);
        for part in [SIGNATURE_ANNOTATION, CERTIFICATE, BUNDLE] {
            let swapped = changed(number, |_, annotations| {
                annotations.insert(part.to_owned(), other[part].clone());
            });
            let swapped = swapped.await;
            assert!(is_invalid(&swapped), "{part}: {swapped:?}");
        }
    }
    let timestamp = annotations(1)[TIMESTAMP].clone();
    let swapped = changed(0, |_, annotations| {
        annotations.insert(TIMESTAMP.to_owned(), timestamp);
    });
    assert!(is_invalid(&swapped.await));
}

#[tokio::test]
async fn what_is_missing_or_garbage_is_no_signature() {
    for part in [SIGNATURE_ANNOTATION, CERTIFICATE, BUNDLE] {
        for text in [None, Some(""), Some("garbage"), Some("{}")] {
            let without = changed(1, |_, annotations| {
                annotations.remove(part).unwrap();
                annotations.extend(text.map(|text| (part.to_owned(), text.to_owned())));
            });
            let without = without.await;
            assert!(is_unreadable(&without), "{part} {text:?}: {without:?}");
        }
    }
    let timestamp = changed(1, |_, annotations| {
        annotations.insert(TIMESTAMP.to_owned(), "{}".to_owned());
    });
    assert!(is_unreadable(&timestamp.await));
    let twice = changed(1, |_, annotations| {
        let bundle = &annotations[BUNDLE];
        let bundle = bundle.replace("\"logIndex\":1", "\"logIndex\":1,\"logIndex\":1");
        annotations.insert(BUNDLE.to_owned(), bundle);
    });
    assert!(is_unreadable(&twice.await));
    let payload = changed(0, |payload, _| payload.clear()).await;
    assert!(is_unreadable(&payload));
    for (field, value) in [
        ("logID", Value::from("xyz")),
        ("logIndex", (-1).into()),
        ("integratedTime", i64::MAX.into()),
    ] {
        let odd = changed(0, |_, annotations| {
            edit(annotations, BUNDLE, |bundle| {
                bundle["Payload"][field] = value;
            });
        });
        assert!(is_unreadable(&odd.await), "{field}");
    }
}

#[tokio::test]
async fn other_signers_and_other_roots_are_refused() {
    let payload = fixture("legacy/payload.json");
    let somebody = Policy {
        identity: Matcher::pattern("https://github.com/octo-org/other/.*").unwrap(),
        ..policy()
    };
    let elsewhere = Policy {
        issuer: Matcher::Exact("https://token.actions.githubusercontent.com".into()),
        ..policy()
    };
    let run = Policy {
        github: GithubClaims {
            reference: Some("refs/heads/other".into()),
            ..GithubClaims::default()
        },
        ..policy()
    };
    for number in BOTH {
        let annotations = annotations(number);
        for policy in [&somebody, &elsewhere, &run] {
            let refusal = check_all(&payload, &annotations, SUBJECT, policy).await;
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.signer().unwrap().identity, IDENTITY, "{refusal}");
        }
        // Recorded from another Sigstore with the same names.
        let other = super::recorded_trust(None).await;
        let subject = SUBJECT.parse().unwrap();
        let refusal = verify_legacy(&payload, &annotations, &subject, &other, &policy());
        assert!(is_invalid(&refusal));
    }
}
