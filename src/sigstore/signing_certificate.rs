//! A key pair and its certificate, for all signatures of a run while the certificate is valid.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sigstore_crypto::{CertificateInfo, KeyPair, parse_certificate_info};
use sigstore_types::{DerCertificate, SignatureBytes};
use tokio::sync::Mutex;

use crate::domain::Policy;

use super::endpoint::Endpoint;
use super::error::{SigstoreError, SigstoreErrorKind};
use super::policy::compare;
use super::refusal::Cause;
use super::refusal::VerificationError;
use super::service_client::ServiceClient;
use super::token::{LEEWAY_SECONDS, Tokens, WorkflowIdentity};
use super::verify::github_claims;

/// An ephemeral key and its certificate from Fulcio.
#[derive(Debug)]
pub(super) struct SigningCertificate {
    pub(super) key: KeyPair,
    /// The certificate itself.
    pub(super) leaf: DerCertificate,
    /// The chain of the certificate up to the root, as Fulcio sent it. That alone does not make it trusted.
    pub(super) chain: Vec<DerCertificate>,
    pub(super) workflow_identity: WorkflowIdentity,
    /// The certificate's content. No check relies on it: signatures made with the certificate are verified.
    info: CertificateInfo,
}

impl SigningCertificate {
    /// Makes a key and requests a certificate for it from `authority`. A retry uses the same key, and a new token if
    /// the last one is old.
    pub(super) async fn open(
        client: &ServiceClient,
        authority: &Endpoint,
        tokens: &Tokens,
    ) -> Result<Self, SigstoreError> {
        let key = KeyPair::generate_ecdsa_p256().map_err(SigstoreError::Key)?;
        let (leaf, chain, workflow_identity) = client
            .with_retries("the request for a signing certificate", || {
                certify(client, authority, tokens, &key)
            })
            .await?;
        let url = authority.join(CERTIFICATE_PATH);
        let parsed = parse_certificate_info(&leaf).map_err(|source| {
            SigstoreError::Certificate(SigstoreErrorKind::unreadable(&url, source))
        })?;
        Ok(Self {
            key,
            leaf,
            chain,
            workflow_identity,
            info: parsed,
        })
    }

    /// True if the certificate is valid for long enough to begin work with it.
    pub(super) fn is_fresh(&self) -> bool {
        self.info.not_after.as_second() - jiff::Timestamp::now().as_second() > LEEWAY_SECONDS
    }

    /// Checks that signatures with this certificate will meet `policy`.
    pub(super) fn check(&self, policy: &Policy) -> Result<(), VerificationError> {
        let identity = self.info.identity.as_ref();
        let identity = identity.map(ToString::to_string).unwrap_or_default();
        let issuer = self.info.issuer.as_deref().unwrap_or_default();
        compare(
            policy,
            &identity,
            issuer,
            &github_claims(&self.info.ci_claims),
        )
    }
}

/// The one certificate that all signatures of a run share.
#[derive(Debug)]
pub(super) struct CertificateCache {
    client: ServiceClient,
    authority: Endpoint,
    tokens: Tokens,
    // Locked while a certificate is requested, so that concurrent callers send one request.
    shared: Mutex<Option<Arc<SigningCertificate>>>,
}

impl CertificateCache {
    /// Prepares the cache, which is empty.
    pub(super) fn new(client: ServiceClient, authority: Endpoint, tokens: Tokens) -> Self {
        Self {
            client,
            authority,
            tokens,
            shared: Mutex::new(None),
        }
    }

    /// Returns the identity of this run from its token.
    pub(super) async fn workflow_identity(&self) -> Result<WorkflowIdentity, SigstoreError> {
        Ok(self.tokens.fresh().await?.workflow_identity)
    }

    /// Returns the shared certificate, or a new one if there is none with enough lifetime left.
    pub(super) async fn current(&self) -> Result<Arc<SigningCertificate>, SigstoreError> {
        let mut shared = self.shared.lock().await;
        if let Some(certificate) = shared.as_ref().filter(|certificate| certificate.is_fresh()) {
            return Ok(Arc::clone(certificate));
        }
        let certificate = SigningCertificate::open(&self.client, &self.authority, &self.tokens);
        let certificate = Arc::new(certificate.await?);
        *shared = Some(Arc::clone(&certificate));
        Ok(certificate)
    }

    /// Drops `ended`, unless another caller has replaced it.
    pub(super) async fn end(&self, ended: &Arc<SigningCertificate>) {
        let mut shared = self.shared.lock().await;
        shared.take_if(|certificate| Arc::ptr_eq(certificate, ended));
    }
}

const CERTIFICATE_PATH: &str = "api/v2/signingCert";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRequest<'a> {
    credentials: CertificateCredentials<'a>,
    public_key_request: PublicKeyRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateCredentials<'a> {
    oidc_identity_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyRequest {
    public_key: PublicKey,
    proof_of_possession: SignatureBytes,
}

#[derive(Serialize)]
struct PublicKey {
    algorithm: &'static str,
    content: String,
}

/// The response of Fulcio if its certificates contain the CT log's timestamp; others would not verify.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateResponse {
    signed_certificate_embedded_sct: WithChain,
}

#[derive(Deserialize)]
struct WithChain {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

async fn certify(
    client: &ServiceClient,
    authority: &Endpoint,
    tokens: &Tokens,
    key: &KeyPair,
) -> Result<(DerCertificate, Vec<DerCertificate>, WorkflowIdentity), SigstoreError> {
    let token = tokens.fresh().await?;
    let request = CertificateRequest {
        credentials: CertificateCredentials {
            oidc_identity_token: token.text.expose(),
        },
        public_key_request: PublicKeyRequest {
            public_key: PublicKey {
                algorithm: "ECDSA",
                content: key.public_key_der().map_err(SigstoreError::Key)?.to_pem(),
            },
            proof_of_possession: key
                .sign(token.challenge.as_bytes())
                .map_err(SigstoreError::Key)?,
        },
    };
    let url = authority.join(CERTIFICATE_PATH);
    let post = client.post(&url).json(&request);
    let body = client
        .send_ok(&url, post)
        .await
        .map_err(SigstoreError::Certificate)?;
    let unreadable =
        |source: Cause| SigstoreError::Certificate(SigstoreErrorKind::unreadable(&url, source));
    let mut certificates = chain(&body).map_err(unreadable)?.into_iter();
    let leaf = certificates
        .next()
        .ok_or_else(|| unreadable("its chain is empty".into()))?;
    Ok((leaf, certificates.collect(), token.workflow_identity))
}

/// Reads the certificates in Fulcio's response, the leaf first.
pub(super) fn chain(body: &[u8]) -> Result<Vec<DerCertificate>, Cause> {
    let response: CertificateResponse = serde_json::from_slice(body)?;
    let certificates = response.signed_certificate_embedded_sct.chain.certificates;
    let certificates: Result<Vec<_>, _> = certificates
        .iter()
        .map(|pem| DerCertificate::from_pem(pem))
        .collect();
    Ok(certificates?)
}
