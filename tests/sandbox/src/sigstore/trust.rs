//! The configuration of clients: a trusted root and a signing config.

use super::Services;
use super::keys::Key;
use super::timestamps::TIMESTAMP_PATH;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The start of all validity periods, before the sandbox's; the keys are new all the same.
const START: &str = "2025-01-01T00:00:00Z";

pub(crate) fn trusted_root(services: &Services) -> String {
    let url = services.issuer.url();
    let log = |key: &Key| -> Value {
        json!({
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(key.spki()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": START},
            },
            "logId": {"keyId": STANDARD.encode(key.id())},
        })
    };
    let certificate = |der: &[u8]| json!({"rawBytes": STANDARD.encode(der)});
    let root = certificate(services.authority.certificate());
    let mut logs = vec![log(&services.log.key)];
    if services.has_rekor2() {
        logs.push(log(&services.log2.key));
    }
    let mut timestamps = Vec::new();
    if services.has_timestamps() {
        let leaf = certificate(services.timestamps.certificate());
        timestamps.push(json!({
            "subject": {"organization": "sandbox", "commonName": "timestamps.sandbox"},
            "uri": url,
            "certChain": {"certificates": [leaf, root]},
            "validFor": {"start": START},
        }));
    }
    let trusted = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": logs,
        "certificateAuthorities": [{
            "subject": {"organization": "sandbox", "commonName": "fulcio.sandbox"},
            "uri": url,
            "certChain": {"certificates": [root]},
            "validFor": {"start": START},
        }],
        "ctlogs": [log(&services.authority.ct_key)],
        "timestampAuthorities": timestamps,
    });
    trusted.to_string()
}

/// Returns the signing config. Rekor v1's promise is the trusted time if there is no timestamp authority.
pub(crate) fn signing_config(services: &Services) -> String {
    let url = services.issuer.url();
    let service = |path: &str, version: u8| {
        json!({
            "url": format!("{url}{path}"),
            "majorApiVersion": version,
            "validFor": {"start": START},
            "operator": "sandbox",
        })
    };
    let mut logs = vec![service("", 1)];
    if services.has_rekor2() {
        logs.push(service("", 2));
    }
    let mut config = json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service("", 1)],
        "oidcUrls": [service("", 1)],
        "rekorTlogUrls": logs,
        "rekorTlogConfig": {"selector": "ANY"},
    });
    if services.has_timestamps() {
        config["tsaUrls"] = json!([service(TIMESTAMP_PATH, 1)]);
        config["tsaConfig"] = json!({"selector": "ANY"});
    }
    config.to_string()
}
