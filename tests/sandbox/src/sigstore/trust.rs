//! What clients are configured with: a trusted root and a signing config.

use super::Services;
use super::keys::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Everything here began before the sandbox did; the keys are fresh all the same.
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
    let certificate = STANDARD.encode(services.authority.certificate());
    let root = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log(&services.log.key)],
        "certificateAuthorities": [{
            "subject": {"organization": "sandbox", "commonName": "fulcio.sandbox"},
            "uri": url,
            "certChain": {"certificates": [{"rawBytes": certificate}]},
            "validFor": {"start": START},
        }],
        "ctlogs": [log(&services.authority.ct_key)],
        "timestampAuthorities": [],
    });
    root.to_string()
}

/// No timestamp authority: Rekor v1's promise is the trusted time.
pub(crate) fn signing_config(services: &Services) -> String {
    let url = services.issuer.url();
    let service = json!([{
        "url": url,
        "majorApiVersion": 1,
        "validFor": {"start": START},
        "operator": "sandbox",
    }]);
    let config = json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service,
        "oidcUrls": service,
        "rekorTlogUrls": service,
        "rekorTlogConfig": {"selector": "ANY"},
    });
    config.to_string()
}
