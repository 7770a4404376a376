//! Signing: makes a bundle or a legacy signature from a token, a certificate, a signature, a log entry and a timestamp.
//! It is verified before it is returned.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sigstore_bundle::BundleV03;
use sigstore_types::{SignatureBytes, TimestampToken};
use tokio::task::JoinSet;

use crate::domain::{Digest, Events, Matcher, Policy, RetryPolicy};
use crate::http::Client;

use super::error::{SigstoreError, SigstoreErrorKind, TrustError};
use super::legacy::{LegacySignature, annotations, authenticate_legacy};
use super::log::{Log, LogOutcome};
use super::payload::payload;
use super::refusal::VerificationError;
use super::service_client::ServiceClient;
use super::services::{LogService, Services};
use super::signed::{LoggedSignature, Signed, hash};
use super::signing_certificate::{CertificateCache, SigningCertificate};
use super::statement::{PAYLOAD_TYPE, statement};
use super::timestamp::timestamp;
use super::token::{TokenSource, Tokens, WorkflowIdentity};
use super::trust::Trust;
use super::verify::{Authentic, Verified, authenticate};

/// The maximum number of signatures for one subject, if the log cannot use the earlier ones.
const SIGNATURES_MAX: u32 = 3;

/// Signs for one run, with one certificate while it is valid.
///
/// The client must not follow redirects: its requests contain tokens. [`Self::wait_for_certificate`] returns an error of
/// [`Self::prefetch_certificate`] once. After that, each caller without a certificate requests a new one. A run
/// therefore ends its other signatures when one fails.
#[derive(Debug)]
pub struct Keyless {
    trust: Arc<Trust>,
    services: Services,
    client: ServiceClient,
    certificates: Arc<CertificateCache>,
    /// The request for a certificate that runs beside other work. It is cancelled once this is dropped.
    prefetch: Mutex<JoinSet<Result<(), SigstoreError>>>,
    /// Connections to the services of a signature, opened while the token is requested.
    connecting: Mutex<JoinSet<()>>,
}

/// A verified signature as a bundle.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The Sigstore bundle, as JSON.
    pub bundle: Vec<u8>,
    /// The result of verification.
    pub verified: Verified,
}

impl Keyless {
    /// Prepares to sign with the services in `trust`; sends no request yet.
    pub fn new(
        trust: Arc<Trust>,
        http: Client,
        source: TokenSource,
        retry_policy: RetryPolicy,
        events: &Events,
    ) -> Result<Self, SigstoreError> {
        let services = trust
            .services()
            .ok_or(SigstoreError::Trust(TrustError::NoServices))?
            .clone();
        let client = ServiceClient::new(http, retry_policy.for_signing(), events);
        let tokens = Tokens::new(source, client.clone());
        let certificates = services.certificates.clone();
        let certificates = CertificateCache::new(client.clone(), certificates, tokens);
        Ok(Self {
            trust,
            services,
            client,
            certificates: Arc::new(certificates),
            prefetch: Mutex::default(),
            connecting: Mutex::default(),
        })
    }

    /// Returns the identity of this run from its token.
    pub async fn workflow_identity(&self) -> Result<WorkflowIdentity, SigstoreError> {
        self.certificates.workflow_identity().await
    }

    /// Opens a connection to each service that uses TLS. Its handshakes take two round trips, which would run one after
    /// the other, as the requests do. This sends no request to a service, and nothing relies on it.
    fn connect(&self) {
        let held = self.connecting.lock();
        let mut connecting = held.unwrap_or_else(PoisonError::into_inner);
        if !connecting.is_empty() {
            return;
        }
        for origin in self.services.origins() {
            let http = self.client.http().clone();
            connecting.spawn(async move { http.connect(origin).await });
        }
    }

    /// Starts the request for the certificate that signing would otherwise wait for. A failure is kept for
    /// [`Self::wait_for_certificate`], so that a run waits for an outage only once.
    pub fn prefetch_certificate(&self) {
        let mut prefetch = self.prefetch();
        if prefetch.is_empty() {
            self.connect();
            let certificates = Arc::clone(&self.certificates);
            prefetch.spawn(async move { certificates.current().await.map(drop) });
        }
    }

    /// Waits for the certificate of this run, and requests one if necessary.
    pub async fn wait_for_certificate(&self) -> Result<(), SigstoreError> {
        let mut prefetch = std::mem::take(&mut *self.prefetch());
        match prefetch.join_next().await {
            Some(Ok(prepared)) => prepared,
            None | Some(Err(_)) => self.certificates.current().await.map(drop),
        }
    }

    /// Checks that the certificate of this run meets `policy`. Requests the certificate.
    pub async fn check_certificate(
        &self,
        policy: &Policy,
    ) -> Result<Result<(), VerificationError>, SigstoreError> {
        self.wait_for_certificate().await?;
        Ok(self.certificates.current().await?.check(policy))
    }

    /// True if no prefetch is running any more.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.certificates) == 1
    }

    /// The number of connections that were opened ahead.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.connecting.lock().unwrap().len()
    }

    fn prefetch(&self) -> MutexGuard<'_, JoinSet<Result<(), SigstoreError>>> {
        let held = self.prefetch.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs `subject` as a bundle. Several may be signed at once.
    pub async fn sign(&self, subject: &Digest) -> Result<Signature, SigstoreError> {
        let sign = |certificate: &SigningCertificate| {
            Signed::envelope(certificate, PAYLOAD_TYPE, statement(subject))
        };
        let finish = |logged: LoggedSignature, workflow_identity: &WorkflowIdentity| {
            let bundle = bundle(logged)?;
            let verified = check_ours(
                authenticate(&bundle, subject, &self.trust)?,
                workflow_identity,
            )?;
            Ok(Signature { bundle, verified })
        };
        self.make(&self.services.log, sign, finish).await
    }

    /// Signs `subject` in cosign's older format, as an image named `docker_reference`. Needs a Rekor v1.
    pub async fn sign_legacy(
        &self,
        subject: &Digest,
        docker_reference: &str,
    ) -> Result<LegacySignature, SigstoreError> {
        let log = self.services.legacy_log.as_ref();
        let log = log.ok_or(SigstoreError::Trust(TrustError::Services(
            "it names no Rekor v1, which a legacy signature needs",
        )))?;
        let payload = payload(subject, docker_reference);
        let sign = |certificate: &SigningCertificate| Signed::message(certificate, payload.clone());
        let finish = |logged: LoggedSignature, workflow_identity: &WorkflowIdentity| {
            let annotations = annotations(&logged)?;
            let verified = authenticate_legacy(&payload, &annotations, subject, &self.trust)?;
            Ok(LegacySignature {
                payload: payload.clone(),
                annotations,
                verified: check_ours(verified, workflow_identity)?,
            })
        };
        self.make(log, sign, finish).await
    }

    /// Makes a signature: signs, records, timestamps and finishes it, which includes verifying it. If the log cannot
    /// use a signature, another is made.
    async fn make<T>(
        &self,
        log: &LogService,
        sign: impl Fn(&SigningCertificate) -> Result<Signed, SigstoreError>,
        finish: impl Fn(LoggedSignature, &WorkflowIdentity) -> Result<T, VerificationError>,
    ) -> Result<T, SigstoreError> {
        let mut signatures = 0;
        loop {
            let certificate = self.certificates.current().await?;
            signatures += 1;
            let signed = sign(&certificate)?;
            match self.record_and_timestamp(&certificate, log, signed).await? {
                Ok(logged) => {
                    return finish(logged, &certificate.workflow_identity)
                        .map_err(|refusal| SigstoreError::SelfCheck(Box::new(refusal)));
                }
                Err(unusable) if signatures >= SIGNATURES_MAX => {
                    return Err(SigstoreError::Log(unusable));
                }
                Err(_) => self.certificates.end(&certificate).await,
            }
        }
    }

    /// Records and timestamps what was signed with `certificate`. The inner error is the reason why another
    /// certificate is needed.
    async fn record_and_timestamp(
        &self,
        certificate: &SigningCertificate,
        service: &LogService,
        signed: Signed,
    ) -> Result<Result<LoggedSignature, SigstoreErrorKind>, SigstoreError> {
        let log = Log {
            client: &self.client,
            service,
        };
        // The timestamp is of the signature alone, so it need not wait for the log.
        let (recorded, timestamp) = futures_util::future::try_join(
            log.record(certificate, &signed),
            self.timestamp(signed.signature()),
        )
        .await?;
        Ok(match recorded {
            LogOutcome::Entry(entry) => Ok(LoggedSignature {
                certificate: certificate.leaf.clone(),
                chain: certificate.chain.clone(),
                signed,
                entry: *entry,
                timestamp,
            }),
            LogOutcome::Unusable(kind) => Err(kind),
        })
    }

    async fn timestamp(
        &self,
        signature: &SignatureBytes,
    ) -> Result<Option<TimestampToken>, SigstoreError> {
        let Some(authority) = &self.services.timestamps else {
            return Ok(None);
        };
        timestamp(&self.client, authority, signature)
            .await
            .map(Some)
            .map_err(SigstoreError::Timestamp)
    }
}

/// Writes the signature as a bundle, in JSON.
fn bundle(logged: LoggedSignature) -> Result<Vec<u8>, VerificationError> {
    let certificate = logged.certificate;
    let bundle = match logged.signed {
        Signed::Envelope(envelope) => BundleV03::with_certificate_and_dsse(certificate, envelope),
        Signed::Message { payload, signature } => {
            BundleV03::with_certificate_and_signature(certificate, signature, hash(&payload))
        }
    };
    let mut bundle = bundle.with_tlog_entry(logged.entry);
    if let Some(token) = logged.timestamp {
        bundle = bundle.with_rfc3161_timestamp(token);
    }
    let json = bundle.into_bundle().to_json();
    json.map(String::into_bytes)
        .map_err(|source| VerificationError::unreadable_bundle(source.into()))
}

/// Checks that a new signature is this run's own. If the token does not determine the subject, the issuer must suffice.
fn check_ours(
    authentic: Authentic,
    workflow_identity: &WorkflowIdentity,
) -> Result<Verified, VerificationError> {
    let identity = workflow_identity
        .subject
        .clone()
        .unwrap_or_else(|| authentic.identity.clone());
    let policy = Policy {
        identity: Matcher::Exact(identity),
        issuer: Matcher::Exact(workflow_identity.issuer.clone()),
        github: workflow_identity.source(),
    };
    authentic.into_verified(&policy)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fixture, recorded_trust};
    use super::*;
    use crate::domain::GithubClaims;

    #[tokio::test]
    async fn only_what_is_our_own_passes_our_own_check() {
        let (trust, bundle) = (recorded_trust(None).await, fixture("rekor-v2.json"));
        let found = authenticate(&bundle, &Digest::of(b"first"), &trust).unwrap();
        let check =
            |workflow_identity: &WorkflowIdentity| check_ours(found.clone(), workflow_identity);
        let workflow_identity = WorkflowIdentity {
            issuer: found.issuer.clone(),
            subject: Some(found.identity.clone()),
            github: found.github.clone(),
        };
        assert!(check(&workflow_identity).is_ok());
        let unknown = WorkflowIdentity {
            subject: None,
            github: GithubClaims::default(),
            ..workflow_identity.clone()
        };
        assert!(check(&unknown).is_ok());
        let other = || "https://other.example".to_owned();
        for workflow_identity in [
            WorkflowIdentity {
                issuer: other(),
                ..unknown
            },
            WorkflowIdentity {
                subject: Some(other()),
                ..workflow_identity.clone()
            },
            WorkflowIdentity {
                github: GithubClaims {
                    repository: Some(other()),
                    ..workflow_identity.github.clone()
                },
                ..workflow_identity.clone()
            },
            WorkflowIdentity {
                github: GithubClaims {
                    reference: Some(other()),
                    ..workflow_identity.github.clone()
                },
                ..workflow_identity.clone()
            },
        ] {
            assert!(check(&workflow_identity).is_err(), "{workflow_identity:?}");
        }
    }
}
