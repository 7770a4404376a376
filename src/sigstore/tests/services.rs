//! Sigstore's services as scripts: they succeed unless a test changes that.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::domain::{Digest, Event, Events, Secret};
use crate::http::tests::server::{Reply, Seen, Server, reply};

use super::super::{Keyless, SigstoreError, TokenSource};
use super::{client, fixture, impatient, recorded_trust};

pub(super) const TOKEN: &str = "/token";
pub(super) const CERTIFICATE: &str = "/api/v2/signingCert";
pub(super) const ENTRIES_V1: &str = "/api/v1/log/entries";
pub(super) const ENTRIES_V2: &str = "/api/v2/log/entries";
pub(super) const TIMESTAMP: &str = "/time";
pub(super) const ID: &str =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677";

/// Responds as Sigstore does if all is well.
pub(super) fn well(asked: &Seen) -> Reply {
    match asked.path() {
        TOKEN => reply(200, json!({"count": 1, "value": token()}).to_string()),
        CERTIFICATE => certificate("long-lived.pem"),
        ENTRIES_V1 => reply(201, entry_v1()),
        ENTRIES_V2 => reply(201, entry("rekor-v2").to_string()),
        TIMESTAMP => {
            let bundle: Value = serde_json::from_slice(&fixture("rekor-v1.json")).unwrap();
            let stamps =
                &bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
            reply(200, decoded(&stamps[0]["signedTimestamp"]))
        }
        path if path == format!("{ENTRIES_V1}/{ID}") => reply(200, entry_v1()),
        _ => reply(404, ""),
    }
}

/// Makes a config of the services at `url`, with this version of the log.
pub(super) fn signing_config(url: &str, log_version: u32) -> Value {
    let service = |path: &str, version: u32| json!([{"url": format!("{url}{path}"), "majorApiVersion": version, "validFor": {"start": "2020-01-01T00:00:00Z"}}]);
    json!({"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service("", 1), "rekorTlogUrls": service("", log_version), "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service(TIMESTAMP, 1), "tsaConfig": {"selector": "ANY"}})
}

pub(super) fn token() -> String {
    let expires = jiff::Timestamp::now().as_second() + 300;
    let claims = json!({"iss": "https://issuer.example", "sub": "somebody", "exp": expires});
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

pub(super) fn certificate(name: &str) -> Reply {
    let pem = String::from_utf8(fixture(name)).unwrap();
    let chain = json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": [pem]}}});
    reply(201, chain.to_string())
}

pub(super) fn decoded(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap()).unwrap()
}

pub(super) fn entry(name: &str) -> Value {
    let mut bundle: Value = serde_json::from_slice(&fixture(&format!("{name}.json"))).unwrap();
    bundle["verificationMaterial"]["tlogEntries"][0].take()
}

/// Writes the recorded entry as Rekor v1 itself would return it.
pub(super) fn entry_v1() -> String {
    let entry = entry("rekor-v1");
    let hex = |text: &Value| super::hex(&decoded(text));
    let number = |text: &Value| -> u64 { text.as_str().unwrap().parse().unwrap() };
    let proof = &entry["inclusionProof"];
    let hashes: Vec<_> = proof["hashes"]
        .as_array()
        .unwrap()
        .iter()
        .map(hex)
        .collect();
    json!({ID: {
        "body": entry["canonicalizedBody"], "integratedTime": number(&entry["integratedTime"]),
        "logID": hex(&entry["logId"]["keyId"]), "logIndex": number(&entry["logIndex"]),
        "verification": {
            "inclusionProof": {"checkpoint": proof["checkpoint"]["envelope"], "hashes": hashes,
                "logIndex": number(&proof["logIndex"]), "rootHash": hex(&proof["rootHash"]), "treeSize": number(&proof["treeSize"])},
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"]}
    }})
    .to_string()
}

pub(super) struct Run {
    pub(super) server: Server,
    pub(super) keyless: Keyless,
    pub(super) heard: Arc<Mutex<Vec<Event>>>,
}

impl Run {
    pub(super) async fn start(
        log_version: u32,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let server = Server::start(script).await;
        let config = signing_config(&server.url(), log_version);
        let trust = Arc::new(recorded_trust(Some(config.to_string())).await);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeper = Arc::clone(&heard);
        let events = Events::new(move |event| keeper.lock().unwrap().push(event));
        let source = TokenSource::GitHub {
            request_url: format!("{}{TOKEN}?api-version=2.0", server.url()),
            request_token: Secret::new("request"),
            audience: "sigstore".to_owned(),
        };
        let keyless = Keyless::new(trust, client(), source, impatient(), &events).unwrap();
        Self {
            server,
            keyless,
            heard,
        }
    }

    pub(super) async fn sign(&self) -> SigstoreError {
        self.keyless.sign(&Digest::of(b"first")).await.unwrap_err()
    }

    pub(super) fn count(&self, method: &str, path: &str) -> usize {
        self.server.asked(method, path).len()
    }

    pub(super) fn retries(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|event| matches!(event, Event::Retry { .. }))
            .count()
    }
}

#[tokio::test]
async fn connection_is_opened_once_however_often_a_certificate_is_requested() {
    let config = signing_config("https://127.0.0.1:1", 1);
    let trust = Arc::new(recorded_trust(Some(config.to_string())).await);
    let source = TokenSource::GitHub {
        request_url: "http://127.0.0.1:1/token".to_owned(),
        request_token: Secret::new("request"),
        audience: "sigstore".to_owned(),
    };
    let keyless = Keyless::new(trust, client(), source, impatient(), &Events::silent()).unwrap();
    keyless.prefetch_certificate();
    assert_eq!(keyless.connections(), 1);
    assert!(keyless.wait_for_certificate().await.is_err());
    keyless.prefetch_certificate();
    assert_eq!(keyless.connections(), 1);
}
