//! Rekor's processing of a proposed entry: it verifies the signature, then stores the canonical form.

use super::keys::{PublicKey, pem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Returns the canonical JSON for the tree. Its keys are written in sorted order below, as RFC 8785 requires.
pub(crate) fn canonical_body(proposed: &[u8]) -> Result<Vec<u8>, String> {
    let proposed: Value = serde_json::from_slice(proposed).map_err(|error| error.to_string())?;
    if proposed["apiVersion"] != "0.0.1" {
        return Err(format!("unsupported version {}", proposed["apiVersion"]));
    }
    let spec = &proposed["spec"];
    let canonical = match proposed["kind"].as_str() {
        Some("dsse") => dsse(spec),
        Some("hashedrekord") => hashed(spec),
        other => Err(format!("unsupported kind {other:?}")),
    }?;
    let body = json!({"apiVersion": "0.0.1", "kind": proposed["kind"], "spec": canonical});
    Ok(body.to_string().into_bytes())
}

/// Returns the canonical JSON of Rekor v2, which has one kind.
pub(crate) fn canonical_body_v2(proposed: &[u8]) -> Result<Vec<u8>, String> {
    let proposed: Value = serde_json::from_slice(proposed).map_err(|error| error.to_string())?;
    let request = &proposed["hashedRekordRequestV002"];
    let (signature, verifier) = (&request["signature"], &request["signature"]["verifier"]);
    let (details, certificate) = (&verifier["keyDetails"], &verifier["x509Certificate"]);
    if details != "PKIX_ECDSA_P256_SHA_256" {
        return Err(format!("unsupported key {details}"));
    }
    let der = bytes(&certificate["rawBytes"], "certificate")?;
    let key = PublicKey::from_verifier(&pem("CERTIFICATE", &der))
        .ok_or("the verifier is not a certificate with a P-256 key")?;
    let digest = bytes(&request["digest"], "digest")?;
    if !key.verifies_digest(&digest, &bytes(&signature["content"], "signature")?) {
        return Err("verifying signature: invalid signature".to_owned());
    }
    let entry = json!({
        "data": {"algorithm": "SHA2_256", "digest": request["digest"]},
        "signature": {
            "content": signature["content"],
            "verifier": {
                "keyDetails": details,
                "x509Certificate": {"rawBytes": certificate["rawBytes"]},
            },
        },
    });
    let spec = json!({ "hashedRekordV002": entry });
    let body = json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec});
    Ok(body.to_string().into_bytes())
}

fn dsse(spec: &Value) -> Result<Value, String> {
    let content = &spec["proposedContent"];
    let raw = text(&content["envelope"], "envelope")?;
    let envelope: Value = serde_json::from_str(raw).map_err(|error| error.to_string())?;
    let payload = bytes(&envelope["payload"], "payload")?;
    let payload_type = text(&envelope["payloadType"], "payloadType")?;
    let signed = pre_authentication(payload_type, &payload);
    let verifiers = content["verifiers"].as_array().ok_or("no verifiers")?;
    let signatures = envelope["signatures"].as_array().ok_or("no signatures")?;
    if verifiers.len() != 1 || signatures.len() != 1 {
        return Err("expected one signature and one verifier".to_owned());
    }
    let verifier = text(&verifiers[0], "verifier")?;
    let signature = bytes(&signatures[0]["sig"], "sig")?;
    if !key_of(verifier)?.verifies(&signed, &signature) {
        return Err("could not verify envelope: invalid signature".to_owned());
    }
    Ok(json!({
        "envelopeHash": {"algorithm": "sha256", "value": hex::encode(Sha256::digest(raw))},
        "payloadHash": {"algorithm": "sha256", "value": hex::encode(Sha256::digest(&payload))},
        "signatures": [{"signature": STANDARD.encode(&signature), "verifier": verifier}],
    }))
}

fn hashed(spec: &Value) -> Result<Value, String> {
    let hash = &spec["data"]["hash"];
    if hash["algorithm"] != "sha256" {
        return Err(format!("unsupported hash {}", hash["algorithm"]));
    }
    let value = text(&hash["value"], "hash")?;
    let digest = hex::decode(value).map_err(|_| "the hash is not hex")?;
    let signature = text(&spec["signature"]["content"], "signature")?;
    let verifier = text(&spec["signature"]["publicKey"]["content"], "publicKey")?;
    let decoded = bytes(&spec["signature"]["content"], "signature")?;
    if !key_of(verifier)?.verifies_digest(&digest, &decoded) {
        return Err("verifying signature: invalid signature".to_owned());
    }
    Ok(json!({
        "data": {"hash": {"algorithm": "sha256", "value": value}},
        "signature": {"content": signature, "publicKey": {"content": verifier}},
    }))
}

/// Returns the PAE of DSSE.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let head = format!("DSSEv1 {} {payload_type} {length} ", payload_type.len());
    [head.as_bytes(), payload].concat()
}

fn key_of(verifier: &str) -> Result<PublicKey, String> {
    let unreadable = "the verifier is not a certificate or P-256 key in PEM";
    let pem = STANDARD.decode(verifier).map_err(|_| unreadable)?;
    let pem = String::from_utf8(pem).map_err(|_| unreadable)?;
    Ok(PublicKey::from_verifier(&pem).ok_or(unreadable)?)
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{name} is missing"))
}

fn bytes(value: &Value, name: &str) -> Result<Vec<u8>, String> {
    let encoded = text(value, name)?;
    STANDARD
        .decode(encoded)
        .map_err(|error| format!("{name}: {error}"))
}
