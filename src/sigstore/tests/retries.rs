//! Services that fail, delay and forget. They are scripted and cannot sign, so a signature that passes all of them ends
//! in `SelfCheck`: it is complete, but does not verify.

use serde_json::{Value, json};

use crate::domain::{Digest, Event};
use crate::http::tests::server::{Reply, Seen, reply};

use super::super::{SigstoreError, SigstoreErrorKind};
use super::services::{
    CERTIFICATE, ENTRIES_V1, ENTRIES_V2, ID, Run, TIMESTAMP, TOKEN, decoded, well,
};
use super::{fixture, impatient};

#[tokio::test]
async fn each_step_is_tried_again_alone() {
    for failing in [TOKEN, CERTIFICATE, ENTRIES_V1, TIMESTAMP] {
        for busy in [Reply::silent(), reply(429, "busy"), reply(503, "busy")] {
            let first = busy.clone();
            let run = Run::start(1, move |asked| {
                if asked.path().starts_with(failing) && asked.before == 0 {
                    return first.clone();
                }
                well(asked)
            })
            .await;
            let error = run.sign().await;
            assert!(
                matches!(error, SigstoreError::SelfCheck(_)),
                "{failing} {busy:?}: {error}"
            );
            assert!(!error.is_outage());
            assert_eq!(run.retries(), 1, "{failing} {busy:?}");
            for (method, path) in [
                ("GET", TOKEN),
                ("POST", CERTIFICATE),
                ("POST", ENTRIES_V1),
                ("POST", TIMESTAMP),
            ] {
                let expected = if path == failing { 2 } else { 1 };
                assert_eq!(
                    run.count(method, path),
                    expected,
                    "{failing} {busy:?}: {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_said_at_once_and_name_their_step() {
    for (failing, method) in [
        (TOKEN, "GET"),
        (CERTIFICATE, "POST"),
        (ENTRIES_V1, "POST"),
        (TIMESTAMP, "POST"),
    ] {
        for status in [307, 400, 401, 403] {
            let run = Run::start(1, move |asked| {
                if asked.path().starts_with(failing) {
                    reply(status, "no")
                } else {
                    well(asked)
                }
            })
            .await;
            let error = run.sign().await;
            let ((TOKEN, SigstoreError::Token(kind))
            | (CERTIFICATE, SigstoreError::Certificate(kind))
            | (ENTRIES_V1, SigstoreError::Log(kind))
            | (TIMESTAMP, SigstoreError::Timestamp(kind))) = (failing, &error)
            else {
                panic!("{failing} {status}: {error}");
            };
            assert!(matches!(kind, SigstoreErrorKind::Status { message, .. } if message == "no"));
            assert_eq!(error.status(), Some(status));
            assert!(!error.is_outage());
            assert_eq!((run.count(method, failing), run.retries()), (1, 0));
        }
    }
}

#[tokio::test]
async fn patience_lasts_its_tries_and_its_window() {
    let run = Run::start(1, |asked| {
        if asked.path().starts_with(TOKEN) {
            reply(500, "")
        } else {
            well(asked)
        }
    })
    .await;
    let started = std::time::Instant::now();
    assert_eq!(run.sign().await.status(), Some(500));
    assert!(started.elapsed() >= impatient().for_signing().at_least);
    assert!(run.count("GET", TOKEN) >= 2);
    assert_eq!(run.count("GET", TOKEN), run.retries() + 1);
}

#[tokio::test]
async fn entry_that_the_log_holds_already_is_fetched_and_not_signed_again() {
    let by_location = reply(409, "").header("location", format!("{ENTRIES_V1}/{ID}?x=y"));
    let by_message =
        format!("an equivalent entry already exists in the transparency log with UUID {ID}");
    for held in [by_location, reply(409, by_message)] {
        let run = Run::start(1, move |asked| {
            let entries = asked.path() == ENTRIES_V1;
            match (entries, asked.before) {
                // The first attempt takes effect and its response is lost.
                (true, 0) => Reply::silent(),
                (true, _) => held.clone(),
                // An accepted entry is not served at once.
                (false, 0) if asked.path().starts_with(ENTRIES_V1) => reply(404, ""),
                _ => well(asked),
            }
        })
        .await;
        let error = run.sign().await;
        assert!(matches!(error, SigstoreError::SelfCheck(_)), "{error}");
        let posts = run.server.asked("POST", ENTRIES_V1);
        assert_eq!(posts.len(), 2);
        assert_eq!(
            posts[0].body, posts[1].body,
            "the same signature is recorded"
        );
        assert_eq!(run.count("GET", &format!("{ENTRIES_V1}/{ID}")), 2);
        assert_eq!(
            (run.count("POST", CERTIFICATE), run.count("POST", TIMESTAMP)),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn legacy_signature_is_recorded_fetched_and_retried_as_a_bundle_is() {
    let run = Run::start(1, |asked| {
        match (asked.path() == ENTRIES_V1, asked.before) {
            (true, 0) => Reply::silent(),
            (true, _) => reply(409, "").header("location", format!("{ENTRIES_V1}/{ID}")),
            (false, 0) if asked.path().starts_with(ENTRIES_V1) => reply(404, ""),
            _ => well(asked),
        }
    })
    .await;
    let subject = Digest::of(b"first");
    let signed = run.keyless.sign_legacy(&subject, "ghcr.io/o/r").await;
    let error = signed.unwrap_err();
    assert!(matches!(error, SigstoreError::SelfCheck(_)), "{error}");
    let posts = run.server.asked("POST", ENTRIES_V1);
    assert_eq!((posts.len(), &posts[0].body), (2, &posts[1].body));
    let proposed: Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(proposed["kind"], "hashedrekord");
    assert_eq!(run.count("GET", &format!("{ENTRIES_V1}/{ID}")), 2);
    assert_eq!(
        (run.count("POST", CERTIFICATE), run.count("POST", TIMESTAMP)),
        (1, 1)
    );

    // A log that gives no promise gets no request.
    let newer = Run::start(2, well).await;
    let signed = newer.keyless.sign_legacy(&subject, "ghcr.io/o/r").await;
    assert!(matches!(signed, Err(SigstoreError::Trust(_))));
    assert_eq!(newer.count("GET", TOKEN), 0);
}

#[tokio::test]
async fn conflict_that_names_no_entry_is_an_error() {
    let run = Run::start(1, |asked| match asked.path() {
        ENTRIES_V1 => reply(409, "no").header("location", "https://elsewhere.example/../x"),
        _ => well(asked),
    })
    .await;
    assert_eq!(run.sign().await.status(), Some(409));
}

#[tokio::test]
async fn entry_that_rekor_v2_holds_already_is_signed_anew_with_another_key() {
    let run = Run::start(2, |asked| {
        if asked.path() == ENTRIES_V2 && asked.before == 0 {
            reply(409, "held")
        } else {
            well(asked)
        }
    })
    .await;
    assert!(matches!(run.sign().await, SigstoreError::SelfCheck(_)));
    let asked = run.server.asked("POST", CERTIFICATE);
    assert_eq!(asked.len(), 2);
    let key = |asked: &Seen| {
        serde_json::from_slice::<Value>(&asked.body).unwrap()["publicKeyRequest"]["publicKey"]
            .take()
    };
    assert_ne!(key(&asked[0]), key(&asked[1]));

    let never = Run::start(2, |asked| {
        if asked.path() == ENTRIES_V2 {
            reply(409, "held")
        } else {
            well(asked)
        }
    })
    .await;
    assert_eq!(never.sign().await.status(), Some(409));
    assert_eq!(never.count("POST", ENTRIES_V2), 3);
}

#[tokio::test]
async fn certificate_that_ends_is_not_used() {
    // A recorded certificate, which has expired since.
    let leaf = serde_json::from_slice::<Value>(&fixture("rekor-v1.json")).unwrap();
    let leaf = sigstore_types::DerCertificate::new(decoded(
        &leaf["verificationMaterial"]["certificate"]["rawBytes"],
    ));
    let chain =
        json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": [leaf.to_pem()]}}})
            .to_string();
    let run = Run::start(1, move |asked| {
        if asked.path() == CERTIFICATE {
            reply(201, chain.clone())
        } else {
            well(asked)
        }
    })
    .await;
    assert!(matches!(
        run.sign().await,
        SigstoreError::Log(SigstoreErrorKind::CertificateEnds { .. })
    ));
    assert_eq!(
        (
            run.count("POST", CERTIFICATE),
            run.count("POST", ENTRIES_V1)
        ),
        (3, 0)
    );
}

#[tokio::test]
async fn one_token_and_one_certificate_serve_all() {
    let run = Run::start(1, well).await;
    run.keyless.prefetch_certificate();
    run.keyless.wait_for_certificate().await.unwrap();
    let digests: Vec<_> = (0_u8..4).map(|each| Digest::of(&[each])).collect();
    let all = digests.iter().map(|digest| run.keyless.sign(digest));
    for signed in futures_util::future::join_all(all).await {
        assert!(matches!(signed, Err(SigstoreError::SelfCheck(_))));
    }
    assert_eq!(
        (run.count("GET", TOKEN), run.count("POST", CERTIFICATE)),
        (1, 1)
    );
    assert_eq!(
        (run.count("POST", ENTRIES_V1), run.count("POST", TIMESTAMP)),
        (4, 4)
    );
    let asked = run.server.asked("GET", TOKEN);
    assert_eq!(asked[0].target, "/token?api-version=2.0&audience=sigstore");

    let cold = Run::start(1, well).await;
    futures_util::future::join_all(digests.iter().map(|digest| cold.keyless.sign(digest))).await;
    assert_eq!(
        (cold.count("GET", TOKEN), cold.count("POST", CERTIFICATE)),
        (1, 1)
    );
}

#[tokio::test]
async fn outage_is_waited_for_once() {
    let run = Run::start(1, |asked| {
        if asked.path() == CERTIFICATE {
            reply(500, "")
        } else {
            well(asked)
        }
    })
    .await;
    run.keyless.prefetch_certificate();
    while !run.keyless.is_idle() {
        tokio::task::yield_now().await;
    }
    let tries = run.count("POST", CERTIFICATE);
    run.keyless.prefetch_certificate();
    let outage = run.keyless.wait_for_certificate().await.unwrap_err();
    assert!(matches!(outage, SigstoreError::Certificate(_)), "{outage}");
    assert_eq!(run.count("POST", CERTIFICATE), tries);
    // The error is returned once: a later caller sends a new request.
    run.keyless.wait_for_certificate().await.unwrap_err();
    assert!(run.count("POST", CERTIFICATE) > tries);
}

#[tokio::test]
async fn token_is_masked_before_it_is_read() {
    let run = Run::start(1, |asked| {
        if asked.path().starts_with(TOKEN) {
            reply(200, r#"{"value":"No.token.of.github.1"}"#)
        } else {
            well(asked)
        }
    })
    .await;
    assert!(matches!(
        run.keyless.workflow_identity().await,
        Err(SigstoreError::TokenUnreadable(_))
    ));
    let heard = run.heard.lock().unwrap();
    assert!(
        matches!(heard.as_slice(), [Event::Mask(secret)] if secret.expose() == "No.token.of.github.1")
    );
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors_and_not_read_to_the_end() {
    for (failing, body) in [
        (TOKEN, b"{}".to_vec()),
        (
            CERTIFICATE,
            br#"{"signedCertificateEmbeddedSct":{"chain":{"certificates":[]}}}"#.to_vec(),
        ),
        (ENTRIES_V1, b"{}".to_vec()),
        (TIMESTAMP, b"<html>".to_vec()),
        (ENTRIES_V1, vec![b' '; (1 << 20) + 1]),
    ] {
        let long = body.len() > 1 << 20;
        let run = Run::start(1, move |asked| {
            if asked.path().starts_with(failing) {
                reply(200, body.clone())
            } else {
                well(asked)
            }
        })
        .await;
        let error = run.sign().await;
        let (SigstoreError::Token(kind)
        | SigstoreError::Certificate(kind)
        | SigstoreError::Log(kind)
        | SigstoreError::Timestamp(kind)) = &error
        else {
            panic!("{failing}: {error}");
        };
        let expected = if long {
            matches!(kind, SigstoreErrorKind::TooLong { .. })
        } else {
            matches!(kind, SigstoreErrorKind::Unreadable { .. })
        };
        assert!(expected, "{failing}: {kind}");
        assert_eq!(run.retries(), 0);
    }
}
