//! Verifies that a bundle was made for the same source, whatever it states. It may be an attestation, or a signature by
//! another workflow of that repository.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sigstore_types::{Bundle, SignatureContent, VerificationMaterialContent};

use super::legacy::{authenticate_legacy, check_annotations};
use super::policy::wanted_text;
use super::refusal::{ObservedSigner, VerificationError};
use super::statement::PAYLOAD_TYPE;
use super::trust::Trust;
use super::unsigned_content::unsigned_content;
use super::verify::{Authentic, Verified, artifact_hash, check_bundle, read, shown};
use crate::domain::{Digest, Matcher, Policy};

/// The accepted signers of what belongs to an image.
#[derive(Debug, Clone)]
pub struct SourcePolicy {
    issuer: Matcher,
    /// The accepted repositories of workflows; empty if the issuer's certificates name no repository.
    repositories: BTreeSet<String>,
    /// The accepted identity, if there is no repository to compare.
    identity: Matcher,
}

/// The part of a statement that is compared with its expected subject.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<About>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct About {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

impl SourcePolicy {
    /// Takes the issuer and the source repository from `policy`. If it names no repository, uses those of the
    /// signatures that met the policy.
    #[must_use]
    pub fn of<'a>(policy: &Policy, passed: impl IntoIterator<Item = &'a Verified>) -> Self {
        let named = policy.github.repository.clone();
        let found = passed
            .into_iter()
            .filter_map(|verified| verified.github.repository.clone());
        let repositories = match named {
            Some(named) => BTreeSet::from([named]),
            None => found.collect(),
        };
        Self {
            issuer: policy.issuer.clone(),
            repositories,
            identity: policy.identity.clone(),
        }
    }

    fn check(&self, made: &Authentic) -> Result<(), VerificationError> {
        let signer = || ObservedSigner {
            identity: made.identity.clone(),
            issuer: made.issuer.clone(),
        };
        let repositories = &self.repositories;
        let is_by_identity = || repositories.is_empty() && self.identity.matches(&made.identity);
        let found = made.github.repository.as_ref();
        if !self.issuer.matches(&made.issuer) || (repositories.is_empty() && !is_by_identity()) {
            return Err(VerificationError::IdentityMismatch {
                found: signer(),
                wanted: wanted_text(&self.identity, &self.issuer),
                // A policy decides here whether a referrer is copied, and refuses no image.
                unmet: Vec::new(),
            });
        }
        if repositories.is_empty() || found.is_some_and(|found| repositories.contains(found)) {
            return Ok(());
        }
        let wanted: Vec<&str> = repositories.iter().map(String::as_str).collect();
        Err(VerificationError::GithubClaimMismatch {
            signer: signer(),
            claim: "repository",
            wanted: wanted.join("` or `"),
            found: found.cloned(),
        })
    }
}

/// Verifies that `bundle` states something about `subject`, meets `source_policy`, and contains nothing else. Returns the
/// signer, and the type of the statement.
pub fn verify_statement(
    bytes: &[u8],
    subject: &Digest,
    trust: &Trust,
    source_policy: &SourcePolicy,
) -> Result<(String, String), VerificationError> {
    let bundle = read(bytes)?;
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return Err(VerificationError::NotASignature { predicate: None });
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(VerificationError::NotASignature { predicate: None });
    }
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
        .map_err(|source| VerificationError::unreadable_bundle(source.into()))?;
    let hash = artifact_hash(subject)?;
    let is_about = |about: &About| about.digest.sha256.as_deref() == Some(subject.hex());
    if !statement.subject.iter().any(is_about) {
        return Err(VerificationError::OtherSubject {
            wanted: subject.clone(),
            found: None,
        });
    }
    let made = check_bundle(&bundle, hash, subject, trust)?;
    source_policy.check(&made)?;
    check_nothing_extra(bytes, &bundle)?;
    Ok((made.identity, statement.predicate_type))
}

/// Checks that a bundle contains only verified content. SECURITY: anyone who stores a bundle could add other content.
fn check_nothing_extra(bytes: &[u8], bundle: &Bundle) -> Result<(), VerificationError> {
    let unsigned_content = match (&bundle.verification_material.content, &bundle.content) {
        (VerificationMaterialContent::Certificate(_), SignatureContent::DsseEnvelope(envelope))
            if envelope.signature.keyid.is_empty() =>
        {
            unsigned_content(bytes, bundle)
        }
        // A hint about the key has no meaning if a certificate contains the key.
        (VerificationMaterialContent::Certificate(_), _) => Some("keyid".to_owned()),
        _ => Some("verificationMaterial".to_owned()),
    };
    unsigned_content.map_or(Ok(()), |name| {
        Err(VerificationError::UnsignedContent { name: shown(&name) })
    })
}

/// Checks that a verified bundle contains nothing else.
pub fn check_nothing_extra_in_bundle(bytes: &[u8]) -> Result<(), VerificationError> {
    check_nothing_extra(bytes, &read(bytes)?)
}

/// Checks that the annotations of a verified signature contain nothing else.
pub fn check_nothing_extra_in_legacy(
    annotations: &BTreeMap<String, String>,
    trust: &Trust,
) -> Result<(), VerificationError> {
    check_annotations(annotations, trust)
}

/// Verifies that `payload`, with the annotations of its layer, is a signature of `subject` that meets `source_policy`.
/// Checks that the annotations contain nothing else. Returns the signer.
pub fn verify_legacy_origin(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Digest,
    trust: &Trust,
    source_policy: &SourcePolicy,
) -> Result<String, VerificationError> {
    let made = authenticate_legacy(payload, annotations, subject, trust)?;
    source_policy.check(&made)?;
    check_annotations(annotations, trust)?;
    Ok(made.identity)
}
