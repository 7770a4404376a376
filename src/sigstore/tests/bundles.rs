//! Recorded bundles: beside each that verifies, a changed copy must not verify.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::domain::Digest;

use super::super::{Trust, VerificationError, Verified, verify};
use super::{fixture, recorded_trust};
use crate::domain::{GithubClaims, Matcher, Policy};

const IDENTITY: &str =
    "https://github.com/octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
const LOGS: [&str; 2] = ["rekor-v1", "rekor-v2"];

fn issuer() -> String {
    // The port of the loopback issuer comes from the recording.
    let root: Value = serde_json::from_slice(&fixture("rekor-v1.json")).unwrap();
    let certificate = root["verificationMaterial"]["certificate"]["rawBytes"]
        .as_str()
        .unwrap();
    let der = STANDARD.decode(certificate).unwrap();
    let info =
        sigstore_crypto::parse_certificate_info(&sigstore_types::DerCertificate::new(der)).unwrap();
    info.issuer.unwrap()
}

fn policy() -> Policy {
    Policy {
        identity: Matcher::Exact(IDENTITY.into()),
        issuer: Matcher::Exact(issuer()),
        github: GithubClaims::default(),
    }
}

fn bundle(name: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("{name}.json"))).unwrap()
}

async fn check(
    bundle: &Value,
    subject: &Digest,
    policy: &Policy,
) -> Result<Verified, VerificationError> {
    let trust: Trust = recorded_trust(None).await;
    verify(
        &serde_json::to_vec(bundle).unwrap(),
        subject,
        &trust,
        policy,
    )
}

/// Verifies the recorded bundle after `change`.
async fn changed(name: &str, change: impl Fn(&mut Value)) -> Result<Verified, VerificationError> {
    let mut bundle = bundle(name);
    change(&mut bundle);
    check(&bundle, &Digest::of(b"first"), &policy()).await
}

fn flip(text: &mut Value, at: usize) {
    let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *text = STANDARD.encode(bytes).into();
}

#[tokio::test]
async fn recorded_signatures_verify() {
    let digest = |text: &str| text.parse::<Digest>().unwrap();
    let cosign1 = digest("sha256:a217bcf983ea0d6f13c5def47b902ee02b1a3de9a44bbfe2ffa06ac79c3b0724");
    let cosign2 = digest("sha256:3677c41074647110443729df8a5ea7f3fc0a5a259a71c77486293763e0400471");
    let older = digest("sha256:8d7274e21a85658a91f3d6d455c492aef17f8baf947c14aa174bc7b05a18e6ce");
    for (name, subject) in [
        ("rekor-v1", Digest::of(b"first")),
        ("rekor-v2", Digest::of(b"first")),
        ("cosign-rekor-v1", cosign1),
        ("cosign-rekor-v2", cosign2),
        ("cosign2-rekor-v1", older),
    ] {
        let verified = check(&bundle(name), &subject, &policy()).await.expect(name);
        assert_eq!(
            (verified.identity.as_str(), verified.issuer.clone()),
            (IDENTITY, issuer())
        );
        assert!(
            verified.signed_at.starts_with("2026-11-21T13:"),
            "{}",
            verified.signed_at
        );
        assert!(verified.log_index.is_some() && verified.log.is_some());
        assert_eq!(
            verified.github,
            GithubClaims {
                repository: Some("octo-org/octo-app".into()),
                reference: Some("refs/heads/main".into()),
                sha: Some("f0e1d2c3b4a5968778695a4b3c2d1e0ff0e1d2c3".into()),
                name: Some("release".into()),
                trigger: Some("push".into()),
            }
        );
    }
}

#[tokio::test]
async fn changed_bytes_do_not_hold() {
    for log in LOGS {
        // A byte of `annotations`, so that statement and subject stay readable.
        let payload = changed(log, |bundle| {
            let payload = &mut bundle["dsseEnvelope"]["payload"];
            let text =
                String::from_utf8(STANDARD.decode(payload.as_str().unwrap()).unwrap()).unwrap();
            *payload = STANDARD
                .encode(text.replace("annotations", "annotationz"))
                .into();
        });
        assert!(
            matches!(payload.await, Err(VerificationError::Invalid { .. })),
            "{log}"
        );
        let signature = changed(log, |bundle| {
            flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"], 40);
        });
        assert!(
            matches!(signature.await, Err(VerificationError::Invalid { .. })),
            "{log}"
        );
        let body = changed(log, |bundle| {
            flip(
                &mut bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"],
                60,
            );
        });
        assert!(
            matches!(body.await, Err(VerificationError::Invalid { .. })),
            "{log}"
        );
    }
}

#[tokio::test]
async fn parts_of_another_signature_do_not_hold() {
    for log in LOGS {
        let other = bundle(&format!("{log}-other"));
        for part in ["certificate", "tlogEntries", "timestampVerificationData"] {
            let swapped = changed(log, |bundle| {
                bundle["verificationMaterial"][part] = other["verificationMaterial"][part].clone();
            });
            assert!(
                matches!(swapped.await, Err(VerificationError::Invalid { .. })),
                "{log} {part}"
            );
        }
        let entries = changed(log, |bundle| {
            bundle["verificationMaterial"]["tlogEntries"] = json!([]);
        });
        assert!(
            matches!(entries.await, Err(VerificationError::Invalid { .. })),
            "{log}"
        );
    }
}

#[tokio::test]
async fn somebody_must_say_when() {
    let drop_timestamp = |bundle: &mut Value| {
        bundle["verificationMaterial"]["timestampVerificationData"] = json!({});
    };
    assert!(matches!(
        changed("rekor-v2", drop_timestamp).await,
        Err(VerificationError::Invalid { .. })
    ));
    // Rekor v1 itself attests the time, with its promise; without both, nothing attests it.
    assert!(changed("rekor-v1", drop_timestamp).await.is_ok());
    let neither = changed("rekor-v1", |bundle| {
        drop_timestamp(bundle);
        let entry = bundle["verificationMaterial"]["tlogEntries"][0]
            .as_object_mut()
            .unwrap();
        entry.remove("inclusionPromise").unwrap();
    });
    assert!(matches!(
        neither.await,
        Err(VerificationError::Invalid { .. })
    ));
}

#[tokio::test]
async fn signature_of_another_digest_is_refused() {
    for log in LOGS {
        let wanted = Digest::of(b"third");
        let refusal = check(&bundle(log), &wanted, &policy()).await.unwrap_err();
        let VerificationError::OtherSubject { found, .. } = &refusal else {
            panic!("{refusal}");
        };
        assert_eq!(found.as_ref(), Some(&Digest::of(b"first")));
        assert_eq!(refusal.signer(), None);
    }
}

#[tokio::test]
async fn statement_about_several_is_refused() {
    let several = changed("rekor-v1", |bundle| {
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        let statement = json!({"_type": "https://in-toto.io/Statement/v1", "predicate": {},
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "subject": [{"digest": {"sha256": first.hex()}}, {"digest": {"sha256": second.hex()}}]});
        bundle["dsseEnvelope"]["payload"] = STANDARD.encode(statement.to_string()).into();
    });
    assert!(matches!(
        several.await,
        Err(VerificationError::OtherSubject { found: None, .. })
    ));
}

#[tokio::test]
async fn statement_with_another_predicate_is_no_signature() {
    for log in LOGS {
        let source_policy = changed(log, |bundle| {
            let payload = &mut bundle["dsseEnvelope"]["payload"];
            let text =
                String::from_utf8(STANDARD.decode(payload.as_str().unwrap()).unwrap()).unwrap();
            let text = text.replace(
                "https://sigstore.dev/cosign/sign/v1",
                "https://slsa.dev/provenance/v1",
            );
            *payload = STANDARD.encode(text).into();
        });
        let refusal = source_policy.await;
        assert!(
            matches!(&refusal, Err(VerificationError::NotASignature { predicate: Some(found) }) if found == "https://slsa.dev/provenance/v1"),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn attestation_by_the_same_identity_is_no_signature() {
    let subject = "sha256:d4b8b5f8ad201ae0c51838fc1859863bb5b25bcf575dffe11a0288737e7bf582";
    let refusal = check(&bundle("attestation"), &subject.parse().unwrap(), &policy()).await;
    let Err(VerificationError::NotASignature {
        predicate: Some(predicate),
    }) = refusal
    else {
        panic!("{refusal:?}");
    };
    assert_eq!(predicate, "https://cosign.sigstore.dev/attestation/v1");
    let blob = check(
        &bundle("message-signature"),
        &Digest::of(b"hello\n"),
        &policy(),
    )
    .await;
    assert!(matches!(
        blob,
        Err(VerificationError::NotASignature { predicate: None })
    ));
}

#[tokio::test]
async fn other_signers_are_named_and_refused() {
    let refused = async |policy: Policy| {
        let mut found = Vec::new();
        for log in LOGS {
            let refusal = check(&bundle(log), &Digest::of(b"first"), &policy)
                .await
                .unwrap_err();
            assert_eq!(refusal.signer().unwrap().identity, IDENTITY);
            found.push(refusal);
        }
        found
    };
    let somebody = Policy {
        identity: Matcher::pattern("https://github.com/octo-org/other/.*").unwrap(),
        ..policy()
    };
    let elsewhere = Policy {
        issuer: Matcher::Exact("https://token.actions.githubusercontent.com".into()),
        ..policy()
    };
    for policy in [somebody, elsewhere] {
        for refusal in refused(policy).await {
            assert!(matches!(
                refusal,
                VerificationError::IdentityMismatch { .. }
            ));
        }
    }
    let other = || Some("other".to_owned());
    let none = GithubClaims::default;
    for (github, name) in [
        (
            GithubClaims {
                repository: other(),
                ..none()
            },
            "repository",
        ),
        (
            GithubClaims {
                reference: other(),
                ..none()
            },
            "ref",
        ),
        (
            GithubClaims {
                sha: other(),
                ..none()
            },
            "sha",
        ),
        (
            GithubClaims {
                name: other(),
                ..none()
            },
            "name",
        ),
        (
            GithubClaims {
                trigger: other(),
                ..none()
            },
            "trigger",
        ),
    ] {
        for refusal in refused(Policy {
            github: github.clone(),
            ..policy()
        })
        .await
        {
            assert!(
                matches!(refusal, VerificationError::GithubClaimMismatch { claim, .. } if claim == name)
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_bundle_cannot_be_read() {
    let trust = recorded_trust(None).await;
    let subject = Digest::of(b"first");
    let mut long = fixture("rekor-v1.json");
    long.resize((1 << 20) + 1, b' ');
    let mut old = bundle("rekor-v1");
    old["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    for bytes in [
        Vec::new(),
        b"{}".to_vec(),
        vec![0xff],
        long,
        serde_json::to_vec(&old).unwrap(),
    ] {
        let refusal = verify(&bytes, &subject, &trust, &policy());
        assert!(matches!(refusal, Err(VerificationError::Unreadable { .. })));
    }
}
