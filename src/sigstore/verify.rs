//! Verifies that a bundle is a signature of a digest, reads its signer, and checks the policy. Needs no network.

use std::ops::Deref;

use sigstore_crypto::FulcioCiClaims;
use sigstore_types::{
    Artifact, Bundle, MediaType, Sha256Hash, SignatureContent, Statement, TransparencyLogEntry,
};
use sigstore_verify::{VerificationPolicy, VerificationResult};

use crate::domain::Digest;

use super::policy as policies;
use super::protojson;
use super::refusal::VerificationError;
use super::statement::{PAYLOAD_TYPE, STATEMENT_TYPE};
use super::trust::Trust;
use crate::domain::{GithubClaims, Policy, SIGN_PREDICATE};

/// The maximum length of a bundle that signs an image.
const BUNDLE_MAX_BYTES: usize = 1 << 20;
/// The length of others' text that is printed.
const SHOWN_MAX_CHARS: usize = 200;

/// A signature that is authentic and meets the given policy. Only verification can make it.
///
/// ```compile_fail,E0423
/// use manifest_seal::sigstore::{Authentic, Verified};
///
/// fn trusting(anybodys: Authentic) -> Verified {
///     Verified(anybodys)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Authentic);

/// An authentic signature by any signer, with the statements of its certificate and its log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentic {
    subject: Digest,
    /// The signer: the certificate's subject.
    pub identity: String,
    /// The issuer that authenticated the subject.
    pub issuer: String,
    /// The time of signing, in RFC 3339: the earliest time that a log or a timestamp authority attests.
    pub signed_at: String,
    /// The index of the entry in the log.
    pub log_index: Option<u64>,
    /// The log's address, from the trusted root.
    pub log: Option<String>,
    /// The claims of the certificate about the workflow run.
    pub github: GithubClaims,
}

impl Authentic {
    /// The digest that is signed.
    #[must_use]
    pub fn subject(&self) -> &Digest {
        &self.subject
    }

    /// Returns this signature as a verified one, if it meets `policy`.
    pub(super) fn into_verified(self, policy: &Policy) -> Result<Verified, VerificationError> {
        policies::compare(policy, &self.identity, &self.issuer, &self.github)?;
        Ok(Verified(self))
    }
}

impl Verified {
    /// Makes a verified signature of `subject`, for tests.
    #[cfg(test)]
    pub(crate) fn invented(subject: &Digest, identity: &str) -> Self {
        Self(Authentic {
            subject: subject.clone(),
            identity: identity.to_owned(),
            issuer: String::new(),
            signed_at: String::new(),
            log_index: None,
            log: None,
            github: GithubClaims::default(),
        })
    }
}

impl Deref for Verified {
    type Target = Authentic;

    fn deref(&self) -> &Authentic {
        &self.0
    }
}

/// Verifies that `bundle` is a signature of `subject` that meets `policy`.
pub fn verify(
    bundle: &[u8],
    subject: &Digest,
    trust: &Trust,
    policy: &Policy,
) -> Result<Verified, VerificationError> {
    authenticate(bundle, subject, trust)?.into_verified(policy)
}

/// Verifies that `bundle` is a signature of `subject` by any signer.
pub(super) fn authenticate(
    bundle: &[u8],
    subject: &Digest,
    trust: &Trust,
) -> Result<Authentic, VerificationError> {
    let bundle = read(bundle)?;
    check_statement(&bundle, subject)?;
    let hash = artifact_hash(subject)?;
    check_bundle(&bundle, hash, subject, trust)
}

/// Returns the hash of `subject` that a statement names. Nothing is a signature of a digest of another algorithm.
pub(super) fn artifact_hash(subject: &Digest) -> Result<Sha256Hash, VerificationError> {
    let hex = subject
        .sha256_hex()
        .ok_or_else(|| VerificationError::OtherSubject {
            wanted: subject.clone(),
            found: None,
        })?;
    Sha256Hash::from_hex(hex).map_err(|source| invalid(source.into()))
}

/// Verifies that `bundle` is a signature over `artifact`, which stands for `subject`, by any signer. Checks chain,
/// certificate timestamp, log entry, timestamps and signature. The signer is checked afterwards.
pub(super) fn check_bundle<'a>(
    bundle: &Bundle,
    artifact: impl Into<Artifact<'a>>,
    subject: &Digest,
    trust: &Trust,
) -> Result<Authentic, VerificationError> {
    let result = trust
        .verifier()
        .verify(artifact, bundle, &VerificationPolicy::any_identity())
        .map_err(invalid)?;
    let missing = |what: &str| invalid(sigstore_verify::Error::InvalidBundle(what.to_owned()));
    // SECURITY: checked again, so that a laxer default of the library cannot become ours unnoticed.
    if !(result.certificate_verified() && result.sct_verified() && result.tlog_verified()) {
        return Err(missing("a check was skipped"));
    }
    let identity = result
        .identity()
        .ok_or_else(|| missing("the certificate names no subject"))?;
    let issuer = result
        .issuer()
        .ok_or_else(|| missing("the certificate names no issuer"))?;
    let signed_at = signed_at(&result).ok_or_else(|| missing("it has no trusted signing time"))?;
    let entry = bundle.verification_material.tlog_entries.first();
    Ok(Authentic {
        subject: subject.clone(),
        identity: identity.as_str().to_owned(),
        issuer: issuer.to_owned(),
        signed_at,
        log_index: entry.map(|entry| entry.log_index.get()),
        log: entry.and_then(|entry| log_address(entry, trust)),
        github: result
            .certificate()
            .map(|certificate| github_claims(&certificate.ci_claims))
            .unwrap_or_default(),
    })
}

pub(super) fn invalid(source: sigstore_verify::Error) -> VerificationError {
    VerificationError::Invalid {
        source: Box::new(source),
    }
}

pub(super) fn read(bundle: &[u8]) -> Result<Bundle, VerificationError> {
    let unreadable = VerificationError::unreadable_bundle;
    if bundle.len() > BUNDLE_MAX_BYTES {
        return Err(unreadable("it is too long".into()));
    }
    let text = std::str::from_utf8(bundle).map_err(|source| unreadable(source.into()))?;
    // SECURITY: a bundle that cosign refuses to read would otherwise count here, and nobody else could verify it.
    let document = protojson::read_bundle(text).map_err(unreadable)?;
    let bundle =
        Bundle::from_json(&document.to_string()).map_err(|source| unreadable(source.into()))?;
    if bundle.media_type() != MediaType::Bundle0_3 {
        return Err(unreadable("it is of an older version".into()));
    }
    Ok(bundle)
}

/// Checks that the statement is a signature of `subject`. SPEC: only cosign's own predicate makes a statement a
/// signature. An attestation by the right identity is not a signature.
fn check_statement(bundle: &Bundle, subject: &Digest) -> Result<(), VerificationError> {
    let not_a_signature = |predicate| Err(VerificationError::NotASignature { predicate });
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return not_a_signature(None);
    };
    if envelope.payload_type != PAYLOAD_TYPE {
        return not_a_signature(None);
    }
    let statement: Statement = serde_json::from_slice(envelope.payload.as_bytes())
        .map_err(|source| VerificationError::unreadable_bundle(source.into()))?;
    if statement.predicate_type != SIGN_PREDICATE || statement.type_ != STATEMENT_TYPE {
        return not_a_signature(Some(shown(&statement.predicate_type)));
    }
    let found = match statement.subject.as_slice() {
        [only] => only.digest.sha256.as_ref(),
        _ => None,
    };
    let found: Option<Digest> =
        found.and_then(|hash| format!("sha256:{}", hash.to_hex()).parse().ok());
    if found.as_ref() == Some(subject) {
        Ok(())
    } else {
        Err(VerificationError::OtherSubject {
            wanted: subject.clone(),
            found,
        })
    }
}

/// Shortens text from others and removes control characters, for a message.
pub(super) fn shown(text: &str) -> String {
    let visible = text.chars().filter(|each| !each.is_control());
    visible.take(SHOWN_MAX_CHARS).collect()
}

fn signed_at(result: &VerificationResult) -> Option<String> {
    let earliest = result.verified_timestamps().iter().min()?;
    Some(earliest.to_string())
}

fn log_address(entry: &TransparencyLogEntry, trust: &Trust) -> Option<String> {
    let logs = &trust.root().tlogs;
    logs.iter()
        .find(|log| log.log_id == entry.log_id)
        .map(|log| log.base_url.clone())
}

pub(super) fn github_claims(new: &FulcioCiClaims) -> GithubClaims {
    let old = &new.deprecated_github;
    // `https://github.com/owner/name`: the check of the issuer covers the host.
    let repository = || {
        let address = new.source_repository_uri.as_deref()?;
        let (_, path) = address.strip_prefix("https://")?.split_once('/')?;
        Some(path.to_owned())
    };
    GithubClaims {
        repository: old.workflow_repository.clone().or_else(repository),
        reference: old
            .workflow_ref
            .clone()
            .or_else(|| new.source_repository_ref.clone()),
        sha: old
            .workflow_sha
            .clone()
            .or_else(|| new.source_repository_digest.clone()),
        name: old.workflow_name.clone(),
        trigger: old
            .workflow_trigger
            .clone()
            .or_else(|| new.build_trigger.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_extensions() -> FulcioCiClaims {
        let mut claims = FulcioCiClaims::default();
        claims.source_repository_uri = Some("https://github.com/o/r".into());
        claims.source_repository_ref = Some("refs/heads/main".into());
        claims.source_repository_digest = Some("abc".into());
        claims.build_trigger = Some("push".into());
        claims
    }

    #[test]
    fn new_extensions_stand_in_for_the_old() {
        let found = github_claims(&new_extensions());
        let expected = ["o/r", "refs/heads/main", "abc", "push"].map(|text| Some(text.to_owned()));
        assert_eq!(
            [found.repository, found.reference, found.sha, found.trigger],
            expected
        );
        assert_eq!(found.name, None);
    }

    #[test]
    fn old_extensions_count_where_they_are() {
        let mut both = new_extensions();
        both.deprecated_github.workflow_repository = Some("o/old".into());
        both.deprecated_github.workflow_name = Some("release".into());
        let found = github_claims(&both);
        assert_eq!(found.repository.as_deref(), Some("o/old"));
        assert_eq!(
            (found.name.as_deref(), found.sha.as_deref()),
            (Some("release"), Some("abc"))
        );
    }
}
