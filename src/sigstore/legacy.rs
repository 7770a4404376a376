//! Cosign's older format: a payload, and the annotations of the layer that contains it. It is written from the results
//! of the services. It is read back into a bundle of version 0.1, so that one verifier with one set of checks covers
//! both formats.
//!
//! Source: cosign 2, `pkg/oci/static/options.go`, `pkg/cosign/bundle/rekor.go`.

use std::collections::BTreeMap;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sigstore_types::bundle::{
    InclusionPromise, LogId, MessageDigest, MessageSignature, Rfc3161Timestamp,
    TimestampVerificationData, VerificationMaterialContent, X509Certificate,
};
use sigstore_types::{
    Bundle, CanonicalizedBody, DerCertificate, DigestBytes, HashAlgorithm, KindVersion, LogIndex,
    LogKeyId, MediaType, Sha256Hash, SignatureBytes, SignatureContent, SignedTimestamp,
    TimestampToken, TransparencyLogEntry, VerificationMaterial,
};

use super::payload::check_payload;
use super::pem::{all_certificates, first_certificate, only_certificates, pem};
use super::refusal::VerificationError;
use super::signed::{LoggedSignature, hash};
use super::trust::Trust;
use super::unsigned_content::unsigned_content;
use super::verify::{Authentic, Verified, check_bundle, shown};
use crate::domain::{Digest, Policy};

/// The annotation that contains the signature itself.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// A verified signature in cosign's older format.
#[derive(Debug, Clone)]
pub struct LegacySignature {
    /// The signed document, which is the content of the layer.
    pub payload: Vec<u8>,
    /// The annotations of the layer, which contain everything else.
    pub annotations: BTreeMap<String, String>,
    /// The result of verification.
    pub verified: Verified,
}

/// The log's promise, as cosign stores it. The order of fields is cosign's.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Promise {
    signed_entry_timestamp: SignedTimestamp,
    payload: Promised,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promised {
    body: CanonicalizedBody,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Serialize, Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: TimestampToken,
}

/// Verifies that `payload`, with the annotations of its layer, is a signature of `subject` that meets `policy`.
pub fn verify_legacy(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Digest,
    trust: &Trust,
    policy: &Policy,
) -> Result<Verified, VerificationError> {
    authenticate_legacy(payload, annotations, subject, trust)?.into_verified(policy)
}

/// Verifies that `payload`, with the annotations of its layer, is a signature of `subject` by any signer.
pub(super) fn authenticate_legacy(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Digest,
    trust: &Trust,
) -> Result<Authentic, VerificationError> {
    check_payload(payload, subject)?;
    check_bundle(&bundle(payload, annotations)?, payload, subject, trust)
}

/// Checks that the annotations of a verified signature contain nothing else but trusted certificates.
///
/// SECURITY: the annotations are not signed; anyone who stores a signature can add to them.
pub(super) fn check_annotations(
    annotations: &BTreeMap<String, String>,
    trust: &Trust,
) -> Result<(), VerificationError> {
    let is_plain = |name: &str, text: &str| match name {
        SIGNATURE_ANNOTATION => {
            SignatureBytes::from_base64(text).is_ok_and(|signature| signature.to_base64() == text)
        }
        CERTIFICATE => {
            first_certificate(text).is_some_and(|certificate| is_pem(text, &[certificate]))
        }
        CHAIN => {
            let chain = all_certificates(text);
            is_pem(text, &chain) && chain.iter().all(|certificate| trust.has(certificate))
        }
        BUNDLE => is_exactly::<Promise>(text),
        TIMESTAMP => text.is_empty() || is_exactly::<Timestamp>(text),
        _ => false,
    };
    let unsigned_content = annotations
        .iter()
        .find(|(name, text)| !is_plain(name, text));
    unsigned_content.map_or(Ok(()), |(name, _)| {
        Err(VerificationError::UnsignedContent { name: shown(name) })
    })
}

/// True if `text` contains these certificates and nothing else; the last line end may be missing.
fn is_pem(text: &str, certificates: &[DerCertificate]) -> bool {
    let written = pem(certificates);
    text == written || text == written.trim_end()
}

/// True if `text` contains what a `T` is read from, and nothing else.
fn is_exactly<T: Serialize + for<'de> Deserialize<'de>>(text: &str) -> bool {
    let read: serde_json::Result<T> = serde_json::from_str(text);
    read.is_ok_and(|known| unsigned_content(text.as_bytes(), &known).is_none())
}

/// Writes the annotations that cosign 2 would write.
pub(super) fn annotations(
    logged: &LoggedSignature,
) -> Result<BTreeMap<String, String>, VerificationError> {
    let entry = &logged.entry;
    let missing =
        |what: &str| VerificationError::unreadable_legacy(format!("the log's entry has no {what}"));
    let promise = entry
        .inclusion_promise
        .as_ref()
        .ok_or_else(|| missing("promise"))?;
    let time = entry.integrated_time.ok_or_else(|| missing("time"))?;
    let promise = Promise {
        signed_entry_timestamp: promise.signed_entry_timestamp.clone(),
        payload: Promised {
            body: entry.canonicalized_body.clone(),
            integrated_time: time.as_second(),
            log_index: entry.log_index.as_i64(),
            log_id: DigestBytes::from(entry.log_id.key_id.as_bytes()).to_hex(),
        },
    };
    let mut annotations = BTreeMap::from([
        (SIGNATURE_ANNOTATION, logged.signed.signature().to_base64()),
        (CERTIFICATE, pem([&logged.certificate])),
        // Fulcio's response ends without a new line, and cosign stores it unchanged.
        (CHAIN, pem(&logged.chain).trim_end().to_owned()),
        (BUNDLE, text(&promise)?),
    ]);
    if let Some(token) = &logged.timestamp {
        let token = token.clone();
        annotations.insert(TIMESTAMP, text(&Timestamp { token })?);
    }
    let owned = annotations.into_iter();
    Ok(owned.map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Converts the signature to an equivalent bundle of version 0.1. The chain is left out: the signer does not decide
/// which certificates are trusted.
fn bundle(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
) -> Result<Bundle, VerificationError> {
    let annotation = |name: &str| {
        let text = annotations.get(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            VerificationError::unreadable_legacy(format!("it has no annotation `{name}`"))
        })
    };
    let signature = SignatureBytes::from_base64(annotation(SIGNATURE_ANNOTATION)?)
        .map_err(VerificationError::unreadable_legacy)?;
    let certificates = only_certificates(annotation(CERTIFICATE)?);
    let certificate = certificates
        .and_then(|certificates| certificates.into_iter().next())
        .ok_or_else(|| {
            VerificationError::unreadable_legacy("its certificate is not a certificate")
        })?;
    // SECURITY: cosign reads the chain although it does not need it, and refuses the signature if it cannot.
    if annotation(CHAIN).is_ok_and(|text| !is_chain(text)) {
        let text = format!("its annotation `{CHAIN}` contains content other than certificates");
        return Err(VerificationError::unreadable_legacy(text));
    }
    let promise: Promise = read_strict(annotation(BUNDLE)?, BUNDLE)?;
    let mut material =
        VerificationMaterial::new(VerificationMaterialContent::X509CertificateChain {
            certificates: vec![X509Certificate::new(certificate)],
        })
        .with_tlog_entries(vec![entry(promise)?]);
    if let Ok(text) = annotation(TIMESTAMP) {
        let timestamp: Timestamp = read_strict(text, TIMESTAMP)?;
        let timestamps = vec![Rfc3161Timestamp::new(timestamp.token)];
        material =
            material.with_timestamp_verification_data(TimestampVerificationData::new(timestamps));
    }
    let digest = MessageDigest::new(HashAlgorithm::Sha2256, hash(payload).into());
    let message = MessageSignature::new(signature).with_message_digest(digest);
    Ok(Bundle::new(
        MediaType::Bundle0_1,
        material,
        SignatureContent::MessageSignature(message),
    ))
}

/// Reports whether `text` contains certificates and nothing else.
fn is_chain(text: &str) -> bool {
    let is_certificate = |certificate: DerCertificate| {
        let der = CertificateDer::from(certificate.as_bytes().to_vec());
        RootCertStore::empty().add(der).is_ok()
    };
    only_certificates(text).is_some_and(|all| all.into_iter().all(is_certificate))
}

/// Reads the JSON text of an annotation, which must contain nothing else. Go's reader accepts names in any case, and uses
/// the last value of a doubled one.
fn read_strict<T: Serialize + for<'de> Deserialize<'de>>(
    text: &str,
    name: &str,
) -> Result<T, VerificationError> {
    let read: T = serde_json::from_str(text).map_err(VerificationError::unreadable_legacy)?;
    match unsigned_content(text.as_bytes(), &read) {
        None => Ok(read),
        Some(found) => {
            let found = shown(&found);
            let text =
                format!("its annotation `{name}` contains `{found}`, which cosign does not write");
            Err(VerificationError::unreadable_legacy(text))
        }
    }
}

fn entry(promise: Promise) -> Result<TransparencyLogEntry, VerificationError> {
    let promised = promise.payload;
    let log =
        Sha256Hash::from_hex(&promised.log_id).map_err(VerificationError::unreadable_legacy)?;
    let log = LogId::new(LogKeyId::from_bytes(log.as_slice()));
    let index =
        LogIndex::try_from(promised.log_index).map_err(VerificationError::unreadable_legacy)?;
    let time = jiff::Timestamp::from_second(promised.integrated_time)
        .map_err(VerificationError::unreadable_legacy)?;
    let kind = KindVersion::HashedRekordV001;
    Ok(TransparencyLogEntry::new(index, log, kind, promised.body)
        .with_integrated_time(time)
        .with_inclusion_promise(InclusionPromise::new(promise.signed_entry_timestamp)))
}

fn text(value: &impl Serialize) -> Result<String, VerificationError> {
    serde_json::to_string(value).map_err(VerificationError::unreadable_legacy)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::signed::Signed;
    use super::super::tests::fixture;
    use super::*;

    /// Reads the annotations that cosign 2 wrote, and writes them again.
    #[test]
    fn annotations_are_cosigns_byte_for_byte() {
        let manifest: Value =
            serde_json::from_slice(&fixture("legacy/manifest-of-two.json")).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let recorded: BTreeMap<String, String> =
                serde_json::from_value(layer["annotations"].clone()).unwrap();
            let payload = fixture("legacy/payload.json");
            let read = bundle(&payload, &recorded).unwrap();
            let material = &read.verification_material;
            let stamps = &material.timestamp_verification_data.rfc3161_timestamps;
            let signature = SignatureBytes::from_base64(&recorded[SIGNATURE_ANNOTATION]).unwrap();
            let logged = LoggedSignature {
                certificate: read.signing_certificate().unwrap().clone(),
                chain: vec![first_certificate(&recorded[CHAIN]).unwrap()],
                signed: Signed::Message { payload, signature },
                entry: material.tlog_entries[0].clone(),
                timestamp: stamps.first().map(|stamp| stamp.signed_timestamp.clone()),
            };
            assert_eq!(annotations(&logged).unwrap(), recorded);
            // Rekor v2 returns neither, and every verifier would refuse a signature without them.
            for part in ["promise", "time"] {
                let mut entry = logged.entry.clone();
                match part {
                    "promise" => entry.inclusion_promise = None,
                    _ => entry.integrated_time = None,
                }
                let without = LoggedSignature {
                    entry,
                    certificate: logged.certificate.clone(),
                    chain: Vec::new(),
                    signed: Signed::Message {
                        payload: Vec::new(),
                        signature: SignatureBytes::new(Vec::new()),
                    },
                    timestamp: None,
                };
                assert!(annotations(&without).is_err(), "{part}");
            }
        }
    }
}
