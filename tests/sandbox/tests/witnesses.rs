//! The timestamp authority and Rekor v2, which are added on request.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod signing;

use reqwest::{Client, Response};
use sandbox::Sigstore;
use serde_json::{Value, json};
use signing::{check, sign_with};
use sigstore_sign::{SigningContext, SigningServices};
use sigstore_trust_root::SigningConfig;
use sigstore_types::Bundle;

async fn post(url: String, content_type: &str, body: Vec<u8>) -> Response {
    let post = Client::new().post(url).header("content-type", content_type);
    post.body(body).send().await.unwrap()
}

#[tokio::test]
async fn bundles_of_rekor_v2_are_accepted_by_the_timestamp_that_each_has() {
    let sigstore = Sigstore::start();
    sigstore.offer_rekor_v2();
    let config = SigningConfig::from_json(&sigstore.signing_config()).unwrap();
    for count in 1..=5 {
        let services = SigningServices::from_signing_config(&config).unwrap();
        let context = SigningContext::new(services);
        let bundle = sign_with(context, &sigstore).await.unwrap();
        let result = check(&sigstore, &bundle).unwrap();
        assert!(result.tlog_verified() && result.integrated_time().is_none());
        assert_eq!(result.verified_timestamps().len(), 1);
        assert_eq!(sigstore.entries(), count);
        let mut value: Value = serde_json::from_str(&bundle.to_json().unwrap()).unwrap();
        value["verificationMaterial"]["timestampVerificationData"] = json!({});
        let untimed = Bundle::from_json(&value.to_string()).unwrap();
        check(&sigstore, &untimed).unwrap_err();
    }
}

#[tokio::test]
async fn rekor_v2_takes_what_was_signed_and_takes_it_once() {
    let sigstore = Sigstore::start();
    let url = format!("{}/api/v2/log/entries", sigstore.url());
    let send = |request: &Value| post(url.clone(), "application/json", request.to_string().into());
    assert_eq!(send(&json!({})).await.status(), 404);
    sigstore.offer_rekor_v2();
    let config = SigningConfig::from_json(&sigstore.signing_config()).unwrap();
    let services = SigningServices::from_signing_config(&config).unwrap();
    let bundle = sign_with(SigningContext::new(services), &sigstore)
        .await
        .unwrap();
    let entry = &bundle.verification_material.tlog_entries[0];
    let entry: Value = serde_json::from_slice(entry.canonicalized_body.as_bytes()).unwrap();
    let entry = &entry["spec"]["hashedRekordV002"];
    let mut request = json!({"hashedRekordRequestV002": {
        "digest": entry["data"]["digest"],
        "signature": entry["signature"],
    }});
    let again = send(&request).await;
    assert_eq!((again.status().as_u16(), sigstore.entries()), (409, 1));
    request["hashedRekordRequestV002"]["digest"] = json!("AAAA");
    assert_eq!(send(&request).await.status(), 400);
    assert_eq!(send(&json!({})).await.status(), 400);
}

#[tokio::test]
async fn timestamps_are_given_to_who_asks_for_one() {
    let sigstore = Sigstore::start();
    let url = format!("{}/api/v1/timestamp", sigstore.url());
    let query = "application/timestamp-query";
    assert_eq!(post(url.clone(), query, vec![]).await.status(), 404);
    sigstore.offer_timestamps();
    // Version 1, the SHA-256 of something, `certReq`.
    let mut request = vec![0x30, 0x39, 2, 1, 1, 0x30, 0x31, 0x30, 13, 6, 9];
    request.extend([0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32]);
    request.extend([7; 32]);
    request.extend([1, 1, 0xff]);
    let given = post(url.clone(), query, request.clone()).await;
    assert_eq!(given.status(), 201);
    let kind = given.headers()["content-type"].clone();
    assert_eq!(kind, "application/timestamp-reply");
    let given = given.bytes().await.unwrap();
    assert!(given.windows(32).any(|window| window == [7; 32]));
    let other = post(url.clone(), "application/json", request.clone()).await;
    assert_eq!(other.status(), 400);
    // Another version, another hash, a truncated request, an empty one.
    for (at, to) in [(4, 2), (19, 2), (1, 0x20)] {
        let mut request = request.clone();
        request[at] = to;
        let refused = post(url.clone(), query, request).await;
        assert_eq!(refused.status(), 400, "{at}");
    }
    assert_eq!(post(url, query, vec![]).await.status(), 400);
}
