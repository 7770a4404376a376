//! X.509: the authority's own certificate, and leaf certificates with Fulcio's extensions and an embedded SCT.

use super::keys::{Key, PublicKey, info_of};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::der::asn1::{BitString, Ia5String, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{DateTime, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

pub(crate) const ECDSA_WITH_SHA256: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
const FULCIO_ARC: &str = "1.3.6.1.4.1.57264.1";
const HOST: &str = "https://github.com";

type DerResult<T> = x509_cert::der::Result<T>;

/// Signs certificates, and acts as the certificate transparency log.
pub(crate) struct Authority {
    key: Key,
    pub(crate) ct_key: Key,
    name: Name,
    certificate: Vec<u8>,
    is_unlogged: AtomicBool,
    forged: Mutex<Option<Forged>>,
}

/// The names in a certificate that no token justifies.
#[derive(Clone, Debug)]
pub struct Forged {
    /// The signer.
    pub subject: Subject,
    /// The OIDC issuer.
    pub issuer: String,
}

/// The subject of a certificate, of any ASCII letters.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A workload.
    Uri(String),
    /// A person.
    Email(String),
}

impl Subject {
    fn name(&self) -> DerResult<GeneralName> {
        Ok(match self {
            Self::Uri(uri) => GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?),
            Self::Email(address) => GeneralName::Rfc822Name(Ia5String::new(address)?),
        })
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("CN=fulcio.sandbox,O=sandbox")
    }

    /// Creates an authority with another name, which signs the certificates of servers.
    pub(crate) fn named(name: &str) -> Self {
        Self::build(name).expect("a certificate can be made")
    }

    fn build(name: &str) -> DerResult<Self> {
        let key = Key::generate();
        let name = Name::from_str(name)?;
        let info = info_of(&key);
        let mut tbs = template(&name, name.clone(), info, &[1], Duration::from_hours(24))?;
        tbs.validity.not_before = time(SystemTime::now() - Duration::from_hours(1))?;
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: Some(0),
        };
        let usage = KeyUsage(FlagSet::from(KeyUsages::KeyCertSign) | KeyUsages::CRLSign);
        tbs.extensions = Some(vec![
            extension(true, &constraints)?,
            extension(true, &usage)?,
            extension(false, &SubjectKeyIdentifier(key_identifier(&tbs)?))?,
        ]);
        let certificate = sign(&key, tbs)?;
        Ok(Self {
            key,
            ct_key: Key::generate(),
            name,
            certificate,
            is_unlogged: AtomicBool::new(false),
            forged: Mutex::new(None),
        })
    }

    /// The names in certificates, whatever the claims are.
    pub(crate) fn forged(&self) -> MutexGuard<'_, Option<Forged>> {
        self.forged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets whether certificates are left out of the certificate transparency log.
    pub(crate) fn leave_log_out(&self, is_unlogged: bool) {
        self.is_unlogged.store(is_unlogged, Ordering::Relaxed);
    }

    /// Returns its certificate as DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Issues the certificate for GitHub's claims and `key`, as DER.
    pub(crate) fn issue(
        &self,
        key: PublicKey,
        claims: &Value,
        lifetime: Duration,
    ) -> DerResult<Vec<u8>> {
        // Random enough: the serial is a digest of a new key and of the time.
        let now = SystemTime::now();
        let mut serial = Sha256::new();
        serial.update(key.info.to_der()?);
        serial.update(millis(now).to_be_bytes());
        let mut serial = serial.finalize()[..16].to_vec();
        serial[0] = serial[0] & 0x7f | 0x40;

        let mut tbs = template(&self.name, Name::default(), key.info, &serial, lifetime)?;
        let issuer_key = KeyIdentifierSource(info_of(&self.key));
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(issuer_key.identifier()?),
            ..AuthorityKeyIdentifier::default()
        };
        let workflow = text(claims, "job_workflow_ref");
        let earned = || Forged {
            subject: Subject::Uri(format!("{HOST}/{workflow}")),
            issuer: text(claims, "iss").to_owned(),
        };
        let said = self.forged().clone().unwrap_or_else(earned);
        let names = SubjectAltName(vec![said.subject.name()?]);
        let mut extensions = vec![
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(false, &ExtendedKeyUsage(vec![CODE_SIGNING]))?,
            extension(false, &SubjectKeyIdentifier(key_identifier(&tbs)?))?,
            extension(false, &authority)?,
            extension(true, &names)?,
        ];
        extensions.extend(fulcio_extensions(claims, said.issuer)?);
        tbs.extensions = Some(extensions);
        if !self.is_unlogged.load(Ordering::Relaxed) {
            let sct = self.sct(&tbs, millis(now))?;
            tbs.extensions.get_or_insert_default().push(sct);
        }
        sign(&self.key, tbs)
    }

    /// Returns its own key as PKCS 8.
    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        self.key.pkcs8()
    }

    /// Issues a server certificate for this key and these names, as DER. With `localhost` it also covers this machine.
    pub(crate) fn issue_server(
        &self,
        key: &Key,
        names: &[&str],
        valid: Range<SystemTime>,
    ) -> DerResult<Vec<u8>> {
        let info = info_of(key);
        let lifetime = Duration::from_hours(24);
        let mut tbs = template(&self.name, Name::default(), info, &[2], lifetime)?;
        tbs.validity.not_before = time(valid.start)?;
        tbs.validity.not_after = time(valid.end)?;
        let mut all = Vec::new();
        if names.contains(&"localhost") {
            all.push(GeneralName::IpAddress(OctetString::new([127, 0, 0, 1])?));
        }
        for name in names {
            all.push(match name.parse::<Ipv4Addr>() {
                Ok(address) => GeneralName::IpAddress(OctetString::new(address.octets())?),
                Err(_) => GeneralName::DnsName(Ia5String::new(*name)?),
            });
        }
        // RFC 5280 allows no empty list of names.
        tbs.extensions = if all.is_empty() {
            None
        } else {
            Some(vec![extension(true, &SubjectAltName(all))?])
        };
        sign(&self.key, tbs)
    }

    /// Issues a timestamp authority's certificate for this key, as DER. It is valid since an hour ago, like the authority's.
    pub(crate) fn issue_timestamper(&self, key: &Key) -> DerResult<Vec<u8>> {
        let info = info_of(key);
        let subject = Name::from_str("CN=timestamps.sandbox,O=sandbox")?;
        let mut tbs = template(&self.name, subject, info, &[3], Duration::from_hours(24))?;
        tbs.validity.not_before = time(SystemTime::now() - Duration::from_hours(1))?;
        tbs.extensions = Some(vec![
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(true, &ExtendedKeyUsage(vec![TIME_STAMPING]))?,
        ]);
        sign(&self.key, tbs)
    }

    /// Makes the SCT. RFC 6962: the log signs the certificate without the SCT.
    fn sct(&self, tbs: &TbsCertificate, timestamp: u64) -> DerResult<Extension> {
        let tbs = tbs.to_der()?;
        let mut signed = vec![0, 0];
        signed.extend(timestamp.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(self.key.id());
        signed.extend(&u32::try_from(tbs.len()).unwrap_or(u32::MAX).to_be_bytes()[1..]);
        signed.extend(&tbs);
        signed.extend([0, 0]);
        let signature = self.ct_key.sign(&signed);

        let mut sct = vec![0];
        sct.extend(self.ct_key.id());
        sct.extend(timestamp.to_be_bytes());
        // No extensions; SHA-256 with ECDSA.
        sct.extend([0, 0, 4, 3]);
        sct.extend(with_length(&signature));
        let list = with_length(&with_length(&sct));
        raw(SCT_LIST, false, OctetString::new(list)?.to_der()?)
    }
}

/// Returns Fulcio's extensions for GitHub (docs/oid-info.md); the first six are raw text, the others DER.
fn fulcio_extensions(claims: &Value, issuer: String) -> DerResult<Vec<Extension>> {
    let claim = |name| text(claims, name).to_owned();
    let url = |name| format!("{HOST}/{}", text(claims, name));
    let run = format!(
        "{HOST}/{}/actions/runs/{}/attempts/{}",
        text(claims, "repository"),
        text(claims, "run_id"),
        text(claims, "run_attempt")
    );
    let values = [
        (1, issuer.clone()),
        (2, claim("event_name")),
        (3, claim("sha")),
        (4, claim("workflow")),
        (5, claim("repository")),
        (6, claim("ref")),
        (8, issuer),
        (9, url("job_workflow_ref")),
        (10, claim("job_workflow_sha")),
        (11, claim("runner_environment")),
        (12, url("repository")),
        (13, claim("sha")),
        (14, claim("ref")),
        (15, claim("repository_id")),
        (16, url("repository_owner")),
        (17, claim("repository_owner_id")),
        (18, url("workflow_ref")),
        (19, claim("workflow_sha")),
        (20, claim("event_name")),
        (21, run),
        (22, claim("repository_visibility")),
        (23, claim("environment")),
        (24, claim("sub")),
    ];
    let made = values.into_iter().filter(|(_, value)| !value.is_empty());
    made.map(|(number, value)| {
        let bytes = if number < 7 {
            value.into_bytes()
        } else {
            value.to_der()?
        };
        let id = ObjectIdentifier::new(&format!("{FULCIO_ARC}.{number}"))?;
        raw(id, false, bytes)
    })
    .collect()
}

fn text<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims[name].as_str().unwrap_or_default()
}

fn template(
    issuer: &Name,
    subject: Name,
    info: SubjectPublicKeyInfoOwned,
    serial: &[u8],
    lifetime: Duration,
) -> DerResult<TbsCertificate> {
    let now = SystemTime::now();
    Ok(TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(serial)?,
        signature: algorithm(),
        issuer: issuer.clone(),
        validity: Validity {
            not_before: time(now)?,
            not_after: time(now + lifetime)?,
        },
        subject,
        subject_public_key_info: info,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: None,
    })
}

fn sign(key: &Key, tbs_certificate: TbsCertificate) -> DerResult<Vec<u8>> {
    let signature = BitString::from_bytes(&key.sign(&tbs_certificate.to_der()?))?;
    let certificate = Certificate {
        tbs_certificate,
        signature_algorithm: algorithm(),
        signature,
    };
    certificate.to_der()
}

fn algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid: ECDSA_WITH_SHA256,
        parameters: None,
    }
}

/// The source of a key identifier. RFC 7093: the leftmost 160 bits of the SHA-256 of the key.
struct KeyIdentifierSource(SubjectPublicKeyInfoOwned);

impl KeyIdentifierSource {
    fn identifier(&self) -> DerResult<OctetString> {
        let digest = Sha256::digest(self.0.subject_public_key.raw_bytes());
        OctetString::new(&digest[..20])
    }
}

fn key_identifier(tbs: &TbsCertificate) -> DerResult<OctetString> {
    KeyIdentifierSource(tbs.subject_public_key_info.clone()).identifier()
}

fn extension<T: AssociatedOid + x509_cert::der::Encode>(
    critical: bool,
    value: &T,
) -> DerResult<Extension> {
    raw(T::OID, critical, value.to_der()?)
}

fn raw(id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> DerResult<Extension> {
    Ok(Extension {
        extn_id: id,
        critical,
        extn_value: OctetString::new(value)?,
    })
}

/// Encodes bytes as TLS does: two bytes of length, then the bytes.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn time(at: SystemTime) -> DerResult<Time> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let whole = Duration::from_secs(since.as_secs());
    let date = DateTime::from_unix_duration(whole)?;
    Ok(Time::UtcTime(
        x509_cert::der::asn1::UtcTime::from_date_time(date)?,
    ))
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
