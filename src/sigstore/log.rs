//! The transparency log: makes an entry for a signature once, and fetches it by its id if the result was not received.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::LOCATION;
use serde_json::{Value, json};
use sigstore_rekor::{DsseEntry, HashedRekordV2, LogEntry, RekorV2KeyDetails};
use sigstore_types::{KindVersion, TransparencyLogEntry};

use crate::http::Response;

use super::error::{SigstoreError, SigstoreErrorKind, shown};
use super::pem::pem;
use super::refusal::Cause;
use super::service_client::{ServiceClient, status_error};
use super::services::{LogService, LogVersion};
use super::signed::Signed;
use super::signing_certificate::SigningCertificate;

/// The result of the request to record a signature in the log.
pub(super) enum LogOutcome {
    /// The entry.
    Entry(Box<TransparencyLogEntry>),
    /// The signature cannot be used: its certificate is about to expire, or the log has an entry that it does not
    /// return. Another has to be made. Nothing was published, so nothing is lost.
    Unusable(SigstoreErrorKind),
}

/// The result of one attempt to make an entry.
enum LogAttempt {
    LogOutcome(LogOutcome),
    /// The log has the entry, under this id.
    Exists(String),
}

/// A log that accepts entries.
pub(super) struct Log<'a> {
    pub(super) client: &'a ServiceClient,
    pub(super) service: &'a LogService,
}

impl Log<'_> {
    /// Records in the log what was signed with `certificate`.
    pub(super) async fn record(
        &self,
        certificate: &SigningCertificate,
        signed: &Signed,
    ) -> Result<LogOutcome, SigstoreError> {
        let record = "the request for a log entry";
        // Only Rekor v1 serves entries by their id, so an entry that is fetched is of this kind, too.
        let kind = kind_v1(signed);
        let attempt = match self.service.version {
            LogVersion::V1 => {
                let proposed = self.proposed_v1(certificate, signed)?;
                self.client
                    .with_retries(record, || self.create_v1(certificate, &proposed, kind))
                    .await
            }
            LogVersion::V2 => {
                let entry = HashedRekordV2::new_with_certificate(
                    &signed.hash(),
                    signed.signature(),
                    &certificate.leaf,
                    RekorV2KeyDetails::PkixEcdsaP256Sha256,
                );
                self.client
                    .with_retries(record, || self.create_v2(certificate, &entry))
                    .await
            }
        };
        match attempt.map_err(SigstoreError::Log)? {
            LogAttempt::LogOutcome(recorded) => Ok(recorded),
            LogAttempt::Exists(id) => {
                let what = format!("the request for log entry {id}");
                let fetched = self
                    .client
                    .with_retries(&what, || self.fetch(&id, kind))
                    .await;
                let entry = fetched.map_err(SigstoreError::Log)?;
                Ok(LogOutcome::Entry(Box::new(entry)))
            }
        }
    }

    /// Makes the entry that Rekor v1 is to record.
    fn proposed_v1(
        &self,
        certificate: &SigningCertificate,
        signed: &Signed,
    ) -> Result<Value, SigstoreError> {
        let unwritable = |source: Cause| {
            SigstoreError::Log(SigstoreErrorKind::unreadable(
                self.service.endpoint.url(),
                source,
            ))
        };
        match signed {
            Signed::Envelope(envelope) => {
                let entry = DsseEntry::new(envelope, &certificate.leaf)
                    .map_err(|source| unwritable(source.into()))?;
                serde_json::to_value(entry).map_err(|source| unwritable(source.into()))
            }
            // The library's entry is not used: its PEM has the line ends of another system. A log that stores it
            // unchanged would return it to verifiers that compare bytes.
            Signed::Message { signature, .. } => Ok(json!({
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": signed.hash().to_hex()}},
                    "signature": {
                        "content": signature,
                        "publicKey": {"content": STANDARD.encode(pem([&certificate.leaf]))},
                    },
                },
            })),
        }
    }

    async fn create_v1(
        &self,
        certificate: &SigningCertificate,
        entry: &Value,
        kind: KindVersion,
    ) -> Result<LogAttempt, SigstoreErrorKind> {
        let url = self.service.endpoint.join("api/v1/log/entries");
        if let Some(expiring) = expiring(certificate, &url) {
            return Ok(expiring);
        }
        let response = self
            .client
            .send(&url, self.client.post(&url).json(entry))
            .await?;
        if response.status == StatusCode::CONFLICT {
            // An earlier attempt took effect and its response was lost.
            return match existing_entry_id(&response) {
                Some(id) => Ok(LogAttempt::Exists(id)),
                None => Err(status_error(&response)),
            };
        }
        if !response.status.is_success() {
            return Err(status_error(&response));
        }
        let (id, entry) = single_entry(&url, &response.body, kind)?;
        if entry.inclusion_proof.is_some() {
            return Ok(LogAttempt::LogOutcome(LogOutcome::Entry(Box::new(entry))));
        }
        // The entry was accepted, but not integrated when the log responded.
        Ok(LogAttempt::Exists(id))
    }

    async fn create_v2(
        &self,
        certificate: &SigningCertificate,
        entry: &HashedRekordV2,
    ) -> Result<LogAttempt, SigstoreErrorKind> {
        let url = self.service.endpoint.join("api/v2/log/entries");
        if let Some(expiring) = expiring(certificate, &url) {
            return Ok(expiring);
        }
        let response = self
            .client
            .send(&url, self.client.post(&url).json(entry))
            .await?;
        if response.status == StatusCode::CONFLICT {
            // This log serves no single entries, so the entry of an earlier attempt cannot be fetched any more.
            return Ok(LogAttempt::LogOutcome(LogOutcome::Unusable(status_error(
                &response,
            ))));
        }
        if !response.status.is_success() {
            return Err(status_error(&response));
        }
        let entry = serde_json::from_slice(&response.body)
            .map_err(|source| SigstoreErrorKind::unreadable(&url, source))?;
        Ok(LogAttempt::LogOutcome(LogOutcome::Entry(Box::new(entry))))
    }

    async fn fetch(
        &self,
        id: &str,
        kind: KindVersion,
    ) -> Result<TransparencyLogEntry, SigstoreErrorKind> {
        let url = self
            .service
            .endpoint
            .join(&format!("api/v1/log/entries/{id}"));
        let not_yet = || SigstoreErrorKind::NotYet { url: shown(&url) };
        let body = match self.client.send_ok(&url, self.client.get(&url)).await {
            Err(kind) if kind.status() == Some(404) => return Err(not_yet()),
            other => other?,
        };
        let (_, entry) = single_entry(&url, &body, kind)?;
        if entry.inclusion_proof.is_some() {
            Ok(entry)
        } else {
            Err(not_yet())
        }
    }
}

fn kind_v1(signed: &Signed) -> KindVersion {
    match signed {
        Signed::Envelope(_) => KindVersion::DsseV001,
        Signed::Message { .. } => KindVersion::HashedRekordV001,
    }
}

fn expiring(certificate: &SigningCertificate, url: &reqwest::Url) -> Option<LogAttempt> {
    let ends = || SigstoreErrorKind::CertificateEnds { url: shown(url) };
    (!certificate.is_fresh()).then(|| LogAttempt::LogOutcome(LogOutcome::Unusable(ends())))
}

/// Reads the id of the entry that the log reports as existing. Only the id is used, never an address for a request.
pub(super) fn existing_entry_id(response: &Response) -> Option<String> {
    let is_id = |text: &&str| {
        // 64 digits of the leaf's hash, possibly after 16 of the tree that contains it.
        matches!(text.len(), 64 | 80) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let location = response
        .headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let named = location.and_then(|text| text.split('?').next()?.rsplit('/').next());
    if let Some(id) = named.filter(is_id) {
        return Some(id.to_owned());
    }
    let said = String::from_utf8_lossy(&response.body);
    said.split(|each: char| !each.is_ascii_alphanumeric())
        .find(is_id)
        .map(str::to_owned)
}

pub(super) fn single_entry(
    url: &reqwest::Url,
    body: &[u8],
    kind: KindVersion,
) -> Result<(String, TransparencyLogEntry), SigstoreErrorKind> {
    let entries: HashMap<String, LogEntry> = serde_json::from_slice(body)
        .map_err(|source| SigstoreErrorKind::unreadable(url, source))?;
    let mut entries = entries.into_iter();
    let (Some((id, entry)), None) = (entries.next(), entries.next()) else {
        return Err(SigstoreErrorKind::unreadable(
            url,
            "it does not contain exactly one entry",
        ));
    };
    let entry = entry
        .to_bundle_entry(kind)
        .map_err(|source| SigstoreErrorKind::unreadable(url, source))?;
    Ok((id, entry))
}
