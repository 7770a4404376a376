//! Fulcio's API: a token and a proof of the client's key, exchanged for a certificate.

use super::certificate::Authority;
use super::keys::{PublicKey, pem};
use super::oidc::Issuer;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::request::CertReq;

const INVALID_ARGUMENT: u8 = 3;

/// `POST /api/v2/signingCert`.
pub(crate) fn signing_certificate(
    authority: &Authority,
    issuer: &Issuer,
    lifetime: Duration,
    call: &Call,
) -> Reply {
    certify(authority, issuer, lifetime, call).unwrap_or_else(|message| {
        let body = json!({"code": INVALID_ARGUMENT, "message": message, "details": []});
        Reply::json(400, &body)
    })
}

fn certify(
    authority: &Authority,
    issuer: &Issuer,
    lifetime: Duration,
    call: &Call,
) -> Result<Reply, String> {
    let request: Value = serde_json::from_slice(&call.body).map_err(|error| error.to_string())?;
    // The token is sent in the body (this API's own way) or as a bearer token (cosign's).
    let in_header = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let token = request["credentials"]["oidcIdentityToken"]
        .as_str()
        .or(in_header)
        .unwrap_or_default();
    let claims = issuer
        .verify(token, &issuer.audience())
        .map_err(|error| format!("There was an error processing the identity token: {error}"))?;
    let key = match request["certificateSigningRequest"].as_str() {
        Some(encoded) => key_of_request(encoded),
        None => key_with_proof(&request["publicKeyRequest"], &claims),
    }?;
    let leaf = authority
        .issue(key, &claims, lifetime)
        .map_err(|error| error.to_string())?;
    let chain = [leaf.as_slice(), authority.certificate()].map(|der| pem("CERTIFICATE", der));
    let chain = json!({"chain": {"certificates": chain}});
    Ok(Reply::json(
        200,
        &json!({ "signedCertificateEmbeddedSct": chain }),
    ))
}

/// Reads the key. The proof is the token's subject, signed with the key.
fn key_with_proof(request: &Value, claims: &Value) -> Result<PublicKey, String> {
    let content = request["publicKey"]["content"].as_str().unwrap_or_default();
    let key = PublicKey::from_pem(content)
        .ok_or("The public key supplied in the request could not be parsed")?;
    let proof = request["proofOfPossession"].as_str().unwrap_or_default();
    let subject = claims["sub"].as_str().unwrap_or_default();
    let proven = STANDARD
        .decode(proof)
        .is_ok_and(|proof| key.verifies(subject.as_bytes(), &proof));
    if proven {
        return Ok(key);
    }
    Err("The signature supplied in the request could not be verified".to_owned())
}

/// Reads the key of a signing request, whose own signature proves possession.
fn key_of_request(encoded: &str) -> Result<PublicKey, String> {
    let unreadable = "The certificate signing request could not be parsed";
    let bytes = STANDARD.decode(encoded).map_err(|_| unreadable)?;
    let request = CertReq::from_pem(&bytes).map_err(|_| unreadable)?;
    let signed = request.info.to_der().map_err(|_| unreadable)?;
    let key = PublicKey::new(request.info.public_key).ok_or(unreadable)?;
    if key.verifies(&signed, request.signature.raw_bytes()) {
        return Ok(key);
    }
    Err("The signature supplied in the request could not be verified".to_owned())
}

/// `GET /api/v2/trustBundle`.
pub(crate) fn trust_bundle(authority: &Authority) -> Reply {
    let certificates = [pem("CERTIFICATE", authority.certificate())];
    Reply::json(200, &json!({"chains": [{ "certificates": certificates }]}))
}

/// `GET /api/v2/configuration`.
pub(crate) fn configuration(issuer: &Issuer) -> Reply {
    let entry = json!({
        "issuerUrl": issuer.url(),
        "audience": "sigstore",
        "challengeClaim": "sub",
        "spiffeTrustDomain": "",
        "issuerType": "ci-provider",
    });
    Reply::json(200, &json!({ "issuers": [entry] }))
}
