//! A timestamp authority (RFC 3161): it signs requests (RFC 5652) with the time.

use super::certificate::{Authority, ECDSA_WITH_SHA256};
use super::keys::Key;
use crate::server::{Call, Reply};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_cert::der::asn1::{AnyRef, GeneralizedTime};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{DateTime, Decode as _, Encode as _, Reader as _, Tag, Tagged as _};

pub(crate) const TIMESTAMP_PATH: &str = "/api/v1/timestamp";

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const TIMESTAMP_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
/// Sigstore's own policy for timestamps.
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2");

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The tag `[0]` of its context.
const FIRST: u8 = 0xa0;

type DerResult<T> = x509_cert::der::Result<T>;

/// The authority.
pub(crate) struct Timestamps {
    key: Key,
    certificate: Vec<u8>,
    /// The lead of its clock, in seconds.
    ahead: AtomicI64,
}

/// The fields of a request that the answer repeats.
struct Question {
    imprint: Vec<u8>,
    nonce: Vec<u8>,
}

impl Timestamps {
    /// Creates a timestamp authority with a certificate of `authority`.
    pub(crate) fn new(authority: &Authority) -> Self {
        let key = Key::generate();
        let certificate = authority.issue_timestamper(&key);
        Self {
            certificate: certificate.expect("a certificate can be made"),
            key,
            ahead: AtomicI64::new(0),
        }
    }

    /// Returns its certificate as DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(crate) fn set_clock(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// `POST /api/v1/timestamp`.
    pub(crate) fn answer(&self, call: &Call) -> Reply {
        let refused = |message: &str| Reply::json(400, &json!({"code": 400, "message": message}));
        if call.header("content-type") != Some("application/timestamp-query") {
            return refused("unsupported content type");
        }
        match Question::read(&call.body).and_then(|question| self.respond(&question)) {
            Ok(response) => Reply::new(201).body("application/timestamp-reply", response),
            Err(error) => refused(&format!("error parsing the request: {error}")),
        }
    }

    /// Returns the response to a request for a timestamp of `signature`.
    pub(crate) fn stamp(&self, signature: &[u8]) -> Vec<u8> {
        let digest = Sha256::digest(signature);
        let imprint =
            algorithm(SHA256).map(|hash| tlv(SEQUENCE, &[&hash, &tlv(OCTETS, &[&digest])]));
        let question = imprint.map(|imprint| Question {
            imprint,
            nonce: Vec::new(),
        });
        let response = question.and_then(|question| self.respond(&question));
        response.expect("a timestamp can be made")
    }

    fn respond(&self, question: &Question) -> DerResult<Vec<u8>> {
        let granted = tlv(SEQUENCE, &[&tlv(INTEGER, &[&[0]])]);
        let token = self.token(&self.info(question)?)?;
        Ok(tlv(SEQUENCE, &[&granted, &token]))
    }

    /// Returns the `TSTInfo`. Its serial number is a digest of its imprint and of the time.
    fn info(&self, question: &Question) -> DerResult<Vec<u8>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let time = now
            .as_secs()
            .saturating_add_signed(self.ahead.load(Ordering::Relaxed));
        let time = DateTime::from_unix_duration(Duration::from_secs(time))?;
        let serial = [&question.imprint[..], &now.as_nanos().to_be_bytes()].concat();
        let mut serial = Sha256::digest(serial)[..16].to_vec();
        serial[0] = serial[0] & 0x7f | 0x40;
        Ok(tlv(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[1]]),
                &POLICY.to_der()?,
                &question.imprint,
                &tlv(INTEGER, &[&serial]),
                &GeneralizedTime::from_date_time(time).to_der()?,
                &question.nonce,
            ],
        ))
    }

    /// Returns the `ContentInfo` with `SignedData` over `info`.
    fn token(&self, info: &[u8]) -> DerResult<Vec<u8>> {
        let (hash, octets) = (algorithm(SHA256)?, tlv(OCTETS, &[info]));
        let content = tlv(
            SEQUENCE,
            &[&TIMESTAMP_INFO.to_der()?, &tlv(FIRST, &[&octets])],
        );
        let signed = tlv(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[3]]),
                &tlv(SET, &[&hash]),
                &content,
                &tlv(FIRST, &[&self.certificate]),
                &tlv(SET, &[&self.signer(info)?]),
            ],
        );
        let id = SIGNED_DATA.to_der()?;
        Ok(tlv(SEQUENCE, &[&id, &tlv(FIRST, &[&signed])]))
    }

    /// Returns the `SignerInfo`. The signature covers its attributes, encoded as a set.
    fn signer(&self, info: &[u8]) -> DerResult<Vec<u8>> {
        let certificate = x509_cert::Certificate::from_der(&self.certificate)?.tbs_certificate;
        let (issuer, serial) = (certificate.issuer.to_der()?, certificate.serial_number);
        let digest = |bytes: &[u8]| tlv(OCTETS, &[&Sha256::digest(bytes)]);
        let which = tlv(SEQUENCE, &[&digest(&self.certificate)]);
        let which = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&which])]);
        // In DER's order for sets.
        let attributes = [
            attribute(CONTENT_TYPE, &TIMESTAMP_INFO.to_der()?)?,
            attribute(MESSAGE_DIGEST, &digest(info))?,
            attribute(SIGNING_CERTIFICATE, &which)?,
        ]
        .concat();
        let signature = self.key.sign(&tlv(SET, &[&attributes]));
        Ok(tlv(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[1]]),
                &tlv(SEQUENCE, &[&issuer, &serial.to_der()?]),
                &algorithm(SHA256)?,
                &tlv(FIRST, &[&attributes]),
                &algorithm(ECDSA_WITH_SHA256)?,
                &tlv(OCTETS, &[&signature]),
            ],
        ))
    }
}

impl Question {
    /// Reads a `TimeStampReq`. A requested policy is ignored, and the certificate is always included.
    fn read(request: &[u8]) -> DerResult<Self> {
        AnyRef::from_der(request)?.sequence(|fields| {
            let version: u8 = fields.decode()?;
            let imprint: AnyRef<'_> = fields.decode()?;
            let (hash, digest) = imprint.sequence(|imprint| {
                let hash: AnyRef<'_> = imprint.decode()?;
                let digest: AnyRef<'_> = imprint.decode()?;
                Ok((
                    hash.sequence(|hash| {
                        let id: ObjectIdentifier = hash.decode()?;
                        while !hash.is_finished() {
                            hash.decode::<AnyRef<'_>>()?;
                        }
                        Ok(id)
                    })?,
                    digest,
                ))
            })?;
            if version != 1 || hash != SHA256 || digest.value().len() != 32 {
                return Err(Tag::Sequence.value_error());
            }
            let mut nonce = Vec::new();
            while !fields.is_finished() {
                let field: AnyRef<'_> = fields.decode()?;
                if field.tag() == Tag::Integer {
                    nonce = field.to_der()?;
                }
            }
            Ok(Self {
                imprint: imprint.to_der()?,
                nonce,
            })
        })
    }
}

fn attribute(id: ObjectIdentifier, value: &[u8]) -> DerResult<Vec<u8>> {
    Ok(tlv(SEQUENCE, &[&id.to_der()?, &tlv(SET, &[value])]))
}

fn algorithm(id: ObjectIdentifier) -> DerResult<Vec<u8>> {
    Ok(tlv(SEQUENCE, &[&id.to_der()?]))
}

/// Encodes DER: a tag, a length, and the parts.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let mut all = vec![tag];
    match (&length[zeros..], u8::try_from(content.len())) {
        (_, Ok(short @ ..0x80)) => all.push(short),
        (long, _) => {
            all.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            all.extend(long);
        }
    }
    all.extend(content);
    all
}
