//! P-256 keys: those made at each start, and those of clients.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, UnparsedPublicKey,
};
use pem::{EncodeConfig, LineEnding, Pem};
use sha2::{Digest as _, Sha256};
use x509_cert::der::{Decode as _, DecodePem as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// A private key of the sandbox's own.
pub(crate) struct Key {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Key {
    /// Makes a key with DER signatures, for certificates and logs.
    pub(crate) fn generate() -> Self {
        Self::of(&ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    /// Makes a key whose signatures are r and s concatenated, for JSON web tokens.
    pub(crate) fn generate_for_tokens() -> Self {
        Self::of(&ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn of(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key can be made");
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a key has an encoding");
        let spki = spki.as_ref().to_vec();
        Self { pair, spki }
    }

    /// Signs the SHA-256 of `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.expect("a key signs").as_ref().to_vec()
    }

    /// Returns the key itself, for a TLS server.
    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        let document = self.pair.to_pkcs8v1().expect("a key has an encoding");
        document.as_ref().to_vec()
    }

    /// Returns the DER of the public key's `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Returns the id of a log: the SHA-256 of that `SubjectPublicKeyInfo`.
    pub(crate) fn id(&self) -> [u8; 32] {
        Sha256::digest(&self.spki).into()
    }

    /// Returns the uncompressed point.
    pub(crate) fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// A client's public key.
pub(crate) struct PublicKey {
    pub(crate) info: SubjectPublicKeyInfoOwned,
}

impl PublicKey {
    /// Wraps a key; `None` for anything but P-256, the only kind that clients of Fulcio use by default.
    pub(crate) fn new(info: SubjectPublicKeyInfoOwned) -> Option<Self> {
        let point = info.subject_public_key.as_bytes()?;
        (point.len() == 65).then_some(Self { info })
    }

    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        Self::new(SubjectPublicKeyInfoOwned::from_pem(pem.trim()).ok()?)
    }

    /// Reads the key of a certificate, or a bare key: a verifier in Rekor's terms.
    pub(crate) fn from_verifier(pem: &str) -> Option<Self> {
        if let Ok(certificate) = x509_cert::Certificate::from_pem(pem.trim()) {
            return Self::new(certificate.tbs_certificate.subject_public_key_info);
        }
        Self::from_pem(pem)
    }

    /// Verifies the DER signature over the SHA-256 of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.unparsed().verify(message, signature).is_ok()
    }

    /// Verifies the signature for a message of which only the SHA-256 is known.
    pub(crate) fn verifies_digest(&self, digest: &[u8], signature: &[u8]) -> bool {
        let algorithm = &aws_lc_rs::digest::SHA256;
        aws_lc_rs::digest::Digest::import_less_safe(digest, algorithm)
            .is_ok_and(|digest| self.unparsed().verify_digest(&digest, signature).is_ok())
    }

    fn unparsed(&self) -> UnparsedPublicKey<&[u8]> {
        UnparsedPublicKey::new(
            &ECDSA_P256_SHA256_ASN1,
            self.info.subject_public_key.raw_bytes(),
        )
    }
}

/// Encodes PEM with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), config)
}

/// Returns the public key of one of our own keys, for a certificate.
pub(crate) fn info_of(key: &Key) -> SubjectPublicKeyInfoOwned {
    SubjectPublicKeyInfoOwned::from_der(key.spki()).expect("our own encoding can be read")
}
