//! Signed content with its signature, and the additions of the services, for both formats.

use sha2::{Digest as _, Sha256};
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, KeyId, PayloadBytes, Sha256Hash, SignatureBytes,
    TimestampToken, TransparencyLogEntry,
};

use super::error::SigstoreError;
use super::signing_certificate::SigningCertificate;

/// The content that was signed with a certificate.
pub(super) enum Signed {
    /// A statement in its envelope; a bundle of this program contains it.
    Envelope(DsseEnvelope),
    /// Bytes without an envelope.
    Message {
        /// The bytes.
        payload: Vec<u8>,
        /// The signature over them.
        signature: SignatureBytes,
    },
}

/// A signature, with its certificate, log entry and timestamp.
pub(super) struct LoggedSignature {
    pub(super) certificate: DerCertificate,
    pub(super) chain: Vec<DerCertificate>,
    pub(super) signed: Signed,
    pub(super) entry: TransparencyLogEntry,
    pub(super) timestamp: Option<TimestampToken>,
}

impl Signed {
    /// Signs a statement of type `payload_type`.
    pub(super) fn envelope(
        certificate: &SigningCertificate,
        payload_type: &str,
        payload: Vec<u8>,
    ) -> Result<Self, SigstoreError> {
        let signature = sign(certificate, &sigstore_types::pae(payload_type, &payload))?;
        Ok(Self::Envelope(DsseEnvelope::new(
            payload_type,
            PayloadBytes::new(payload),
            DsseSignature::new(signature, KeyId::default()),
        )))
    }

    /// Signs `payload` itself.
    pub(super) fn message(
        certificate: &SigningCertificate,
        payload: Vec<u8>,
    ) -> Result<Self, SigstoreError> {
        let signature = sign(certificate, &payload)?;
        Ok(Self::Message { payload, signature })
    }

    /// The signature.
    pub(super) fn signature(&self) -> &SignatureBytes {
        match self {
            Self::Envelope(envelope) => &envelope.signature.sig,
            Self::Message { signature, .. } => signature,
        }
    }

    /// The SHA-256 of the signed bytes.
    pub(super) fn hash(&self) -> Sha256Hash {
        match self {
            Self::Envelope(envelope) => hash(&envelope.pae()),
            Self::Message { payload, .. } => hash(payload),
        }
    }
}

fn sign(certificate: &SigningCertificate, bytes: &[u8]) -> Result<SignatureBytes, SigstoreError> {
    certificate
        .key
        .sign_digest(&hash(bytes))
        .map_err(SigstoreError::Key)
}

/// The SHA-256 of `bytes`, as a type of the Sigstore crates.
pub(super) fn hash(bytes: &[u8]) -> Sha256Hash {
    Sha256Hash::from(<[u8; 32]>::from(Sha256::digest(bytes)))
}
