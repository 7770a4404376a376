//! The Sigstore, used by the published clients: one signs, another verifies.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod signing;

use reqwest::{Client, Response};
use sandbox::{Fault, Sigstore};
use serde_json::{Value, json};
use signing::{check, context, sign};
use sigstore_crypto::KeyPair;
use sigstore_oidc::IdentityToken;
use sigstore_trust_root::{SigningConfig, TrustedRoot};
use sigstore_types::Bundle;
use sigstore_verify::{VerificationPolicy, verify};
use std::time::Duration;

async fn get(url: String) -> Response {
    Client::new().get(url).send().await.unwrap()
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn bundles_are_accepted_with_every_check() {
    let sigstore = Sigstore::start();
    // Trees of several sizes, for proofs of several shapes.
    for count in 1..=5 {
        let bundle = sign(&sigstore).await.unwrap();
        let result = check(&sigstore, &bundle).unwrap();
        assert!(result.sct_verified() && result.tlog_verified() && result.certificate_verified());
        assert_eq!(sigstore.entries(), count);
    }
}

#[tokio::test]
async fn bundles_are_refused_by_the_trusted_root_of_another() {
    let (one, two) = (Sigstore::start(), Sigstore::start());
    let bundle = sign(&one).await.unwrap();
    check(&two, &bundle).unwrap_err();
    // A changed tree or promise is also detected, so the checks above are effective.
    let text = bundle.to_json().unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    let entry = &mut value["verificationMaterial"]["tlogEntries"][0];
    let time: u64 = entry["integratedTime"].as_str().unwrap().parse().unwrap();
    entry["integratedTime"] = json!((time + 1).to_string());
    let tampered = Bundle::from_json(&value.to_string()).unwrap();
    check(&one, &tampered).unwrap_err();
}

#[tokio::test]
async fn certificate_carries_what_github_said() {
    let sigstore = Sigstore::start();
    sigstore.set_claim(
        "job_workflow_ref",
        "octo-org/shared/.github/workflows/seal.yml@refs/tags/v1",
    );
    sigstore.set_claim("ref", "refs/tags/v1.2.3");
    sigstore.set_claim("environment", "production");
    let bundle = sign(&sigstore).await.unwrap();
    let result = check(&sigstore, &bundle).unwrap();
    let claims = &result.certificate().unwrap().ci_claims;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        claims.source_repository_uri,
        some("https://github.com/octo-org/octo-app")
    );
    assert_eq!(claims.source_repository_ref, some("refs/tags/v1.2.3"));
    assert_eq!(
        claims.build_config_uri,
        some("https://github.com/octo-org/octo-app/.github/workflows/release.yml@refs/heads/main")
    );
    assert_eq!(
        claims.run_invocation_uri,
        some("https://github.com/octo-org/octo-app/actions/runs/1122334455/attempts/1")
    );
    assert_eq!(
        claims.token_subject,
        some("repo:octo-org/octo-app:ref:refs/heads/main")
    );
    assert_eq!(claims.deployment_environment, some("production"));
    let old = &claims.deprecated_github;
    assert_eq!(old.workflow_trigger, some("push"));
    assert_eq!(old.workflow_repository, some("octo-org/octo-app"));
    assert_eq!(old.workflow_ref, some("refs/tags/v1.2.3"));
}

#[test]
fn signing_config_names_a_timestamp_authority_where_there_is_one() {
    let sigstore = Sigstore::start();
    let config = SigningConfig::from_json(&sigstore.signing_config()).unwrap();
    assert_eq!(config.fulcio_url().unwrap().url, sigstore.url());
    let rekor = config.rekor_url(None).unwrap();
    assert_eq!((rekor.major_api_version, &rekor.url), (1, &sigstore.url()));
    assert!(config.tsa_urls.is_empty());
    sigstore.offer_timestamps();
    let config = SigningConfig::from_json(&sigstore.signing_config()).unwrap();
    assert_eq!(config.rekor_url(None).unwrap().major_api_version, 1);
    assert_eq!(config.tsa_urls.len(), 1);
}

#[tokio::test]
async fn github_endpoint_trades_its_token_for_an_identity() {
    let sigstore = Sigstore::start();
    let environment = sigstore.github_env();
    let (url, secret) = (&environment[0].1, &environment[1].1);
    assert!(url.ends_with("?api-version=2.0"));
    let url = format!("{url}&audience=sigstore");
    assert_eq!(get(url.clone()).await.status(), 401);
    let answer = Client::new()
        .get(&url)
        .bearer_auth(secret)
        .send()
        .await
        .unwrap();
    let answer = body(answer).await;
    let token = IdentityToken::from_jwt(answer["value"].as_str().unwrap()).unwrap();
    assert_eq!(
        token.identity(),
        "repo:octo-org/octo-app:ref:refs/heads/main"
    );
    let keys = body(get(format!("{}/.well-known/jwks", sigstore.url())).await).await;
    assert_eq!(keys["keys"][0]["crv"], "P-256");
    let discovery = format!("{}/.well-known/openid-configuration", sigstore.url());
    assert_eq!(
        body(get(discovery).await).await["issuer"],
        sigstore.issuer()
    );
}

#[tokio::test]
async fn fulcio_refuses_tokens_that_are_expired_forged_or_for_others() {
    let sigstore = Sigstore::start();
    sigstore.set_token_lifetime(Duration::ZERO);
    let error = sign(&sigstore).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    sigstore.set_token_lifetime(Duration::from_mins(5));

    // Signed by another issuer that claims to be this one.
    let other = Sigstore::start();

    let url = format!("{}/api/v2/signingCert", sigstore.url());
    let send = |token: String| {
        let request = Client::new().post(&url).body("{}");
        request.bearer_auth(token).send()
    };
    let refused = send(other.identity_token()).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(
        body(refused).await["message"]
            .as_str()
            .unwrap()
            .contains("signature")
    );

    let environment = sigstore.github_env();
    let url = format!("{}&audience=other", environment[0].1);
    let answer = Client::new()
        .get(url)
        .bearer_auth(&environment[1].1)
        .send()
        .await
        .unwrap();
    let token = body(answer).await["value"].as_str().unwrap().to_owned();
    let refused = body(send(token).await.unwrap()).await;
    assert!(refused["message"].as_str().unwrap().contains("audience"));
    // A valid token without proof of possession gets no certificate either.
    assert_eq!(send(sigstore.identity_token()).await.unwrap().status(), 400);
}

#[tokio::test]
async fn fulcio_wants_the_subject_signed_with_the_key_that_is_certified() {
    let sigstore = Sigstore::start();
    let (mine, other) = (key(), key());
    let subject = "repo:octo-org/octo-app:ref:refs/heads/main";
    let cases = [
        (&mine, subject, 200),
        (&other, subject, 400),
        (&mine, "repo:octo-org/other:ref:refs/heads/main", 400),
    ];
    for (signer, signed, status) in cases {
        let proof = signer.sign(signed.as_bytes()).unwrap();
        let request = json!({
            "credentials": {"oidcIdentityToken": sigstore.identity_token()},
            "publicKeyRequest": {
                "publicKey": {"algorithm": "", "content": mine.public_key_der().unwrap().to_pem()},
                "proofOfPossession": proof,
            },
        });
        let post = Client::new().post(format!("{}/api/v2/signingCert", sigstore.url()));
        let answer = post.body(request.to_string()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{signed}");
    }
}

fn key() -> KeyPair {
    KeyPair::generate_ecdsa_p256().unwrap()
}

#[tokio::test]
async fn log_answers_an_equal_entry_with_409_and_the_place_of_the_first() {
    let sigstore = Sigstore::start();
    let bundle = sign(&sigstore).await.unwrap();
    let value: Value = serde_json::from_str(&bundle.to_json().unwrap()).unwrap();
    let logged = get(format!("{}/api/v1/log/entries?logIndex=0", sigstore.url())).await;
    let logged = body(logged).await;
    let entry = logged.as_object().unwrap().values().next().unwrap();
    let canonical = decode(entry["body"].as_str().unwrap());
    let canonical: Value = serde_json::from_slice(&canonical).unwrap();
    let verifier = &canonical["spec"]["signatures"][0]["verifier"];
    let post = |envelope: &Value| {
        let content = json!({"envelope": envelope.to_string(), "verifiers": [verifier]});
        let spec = json!({ "proposedContent": content });
        let entry = json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec});
        let request = Client::new().post(format!("{}/api/v1/log/entries", sigstore.url()));
        request.body(entry.to_string()).send()
    };
    // The hash of the envelope's text is logged: an added field makes another entry.
    let mut envelope = value["dsseEnvelope"].clone();
    envelope["more"] = json!(true);
    let first = post(&envelope).await.unwrap();
    assert_eq!(first.status(), 201);
    let again = post(&envelope).await.unwrap();
    assert_eq!(again.status(), 409);
    let place = again.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(first.headers()["location"], *place);
    assert!(
        body(again).await["message"]
            .as_str()
            .unwrap()
            .contains("already exists")
    );
    assert_eq!(sigstore.entries(), 2);

    let shown = body(get(format!("{}{place}", sigstore.url())).await).await;
    let uuid = place.rsplit('/').next().unwrap();
    assert_eq!(shown[uuid]["logIndex"], 1);
    let bare = &uuid[16..];
    let url = format!("{}/api/v1/log/entries/{bare}", sigstore.url());
    assert_eq!(get(url).await.status(), 200);
    let url = format!("{}/api/v1/log/entries/{}", sigstore.url(), "0".repeat(80));
    assert_eq!(get(url).await.status(), 404);

    envelope["payload"] = json!("e30=");
    assert_eq!(post(&envelope).await.unwrap().status(), 400);
    assert_eq!(sigstore.entries(), 2);
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[tokio::test]
async fn message_signatures_are_logged_too() {
    let sigstore = Sigstore::start();
    let token = IdentityToken::from_jwt(&sigstore.identity_token()).unwrap();
    let bundle = context(&sigstore)
        .signer(token)
        .sign(b"hello")
        .await
        .unwrap();
    let root = TrustedRoot::from_json(&sigstore.trusted_root()).unwrap();
    let policy = VerificationPolicy::any_identity().require_identity(sigstore.identity());
    verify(b"hello".as_slice(), &bundle, &policy, &root).unwrap();
    verify(b"hellO".as_slice(), &bundle, &policy, &root).unwrap_err();
}

#[tokio::test]
async fn faults_hit_the_services_by_path() {
    let sigstore = Sigstore::start();
    sigstore.fault(Fault::on("POST", "/api/v2/signingCert").status(503));
    let error = sign(&sigstore).await.unwrap_err().to_string();
    assert!(
        error.to_lowercase().contains("503") || error.contains("certificate"),
        "{error}"
    );
    assert_eq!(sigstore.entries(), 0);
    sigstore.fault(Fault::on("POST", "/api/v1/log/entries").lost_response());
    sign(&sigstore).await.unwrap_err();
    assert_eq!(sigstore.entries(), 1);
    sign(&sigstore).await.unwrap();
    let paths: Vec<_> = sigstore
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths.len(), 5, "{paths:?}");
}

#[tokio::test]
async fn certificates_live_as_long_as_told() {
    let sigstore = Sigstore::start();
    sigstore.set_certificate_lifetime(Duration::from_secs(30));
    let bundle = sign(&sigstore).await.unwrap();
    let result = check(&sigstore, &bundle).unwrap();
    let certificate = result.certificate().unwrap();
    let life = certificate.not_after.as_second() - certificate.not_before.as_second();
    assert_eq!(life, 30);
}
