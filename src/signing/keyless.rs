//! Signing: a token, a certificate, a signature, a log entry and a timestamp become a bundle, which is verified before it is given out.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sigstore_bundle::BundleV03;
use sigstore_types::{
    DsseEnvelope, DsseSignature, KeyId, PayloadBytes, Sha256Hash, SignatureBytes, TimestampToken,
};
use tokio::sync::Mutex;

use crate::domain::{Digest, Events, Patience};

use super::error::{Fault, SigningError, TrustError};
use super::log::{Log, Recorded};
use super::policy;
use super::refusal::Refusal;
use super::retry::Persistence;
use super::services::Services;
use super::session::Session;
use super::statement::{PAYLOAD_TYPE, statement};
use super::timestamp::timestamp;
use super::token::{Caller, TokenSource, Tokens};
use super::trust::Trust;
use super::verify::{Verified, authenticate};
use crate::domain::{GithubClaims, Matcher, Policy};

/// How many signatures are made for one subject before giving up, where the log cannot use the ones before.
const SIGNATURES_MAX: u32 = 3;

/// Signs for one run, with one certificate while it lasts.
///
/// The client must not follow redirects: what it sends holds tokens. Faults are not remembered: each caller that waits
/// for a certificate asks again when the one before it had none, so a run ends its other signatures when one fails.
#[derive(Debug)]
pub struct Keyless {
    trust: Arc<Trust>,
    services: Services,
    http: reqwest::Client,
    tokens: Tokens,
    persistence: Persistence,
    // Held while a certificate is asked for, so that many who need one ask once.
    session: Mutex<Option<Arc<Session>>>,
}

/// A signature that verifies.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The Sigstore bundle, as JSON.
    pub bundle: Vec<u8>,
    /// What verifying it found.
    pub verified: Verified,
}

impl Keyless {
    /// Prepares to sign with the services in `trust`; asks nobody yet.
    pub fn new(
        trust: Arc<Trust>,
        http: reqwest::Client,
        source: TokenSource,
        patience: Patience,
        events: &Events,
    ) -> Result<Self, SigningError> {
        let services = trust
            .services()
            .ok_or(SigningError::Trust(TrustError::NoServices))?
            .clone();
        let persistence = Persistence::of_signing(patience, events);
        Ok(Self {
            tokens: Tokens::new(source, http.clone(), persistence.clone(), events.clone()),
            trust,
            services,
            http,
            persistence,
            session: Mutex::new(None),
        })
    }

    /// Who this run is, by its token.
    pub async fn caller(&self) -> Result<Caller, SigningError> {
        Ok(self.tokens.fresh().await?.caller)
    }

    /// Gets the certificate now, which signing would otherwise wait for.
    pub async fn prepare(&self) -> Result<(), SigningError> {
        self.session().await.map(drop)
    }

    /// Signs `subject`. Many may be signed at once.
    pub async fn sign(&self, subject: &Digest) -> Result<Signature, SigningError> {
        let mut signatures = 0;
        loop {
            let session = self.session().await?;
            signatures += 1;
            match self.sign_in(&session, subject).await? {
                Ok(signature) => return Ok(signature),
                Err(unusable) if signatures >= SIGNATURES_MAX => {
                    return Err(SigningError::Log(unusable));
                }
                Err(_) => self.end(&session).await,
            }
        }
    }

    /// Signs in `session`. The inner error is the reason why that needs another session.
    async fn sign_in(
        &self,
        session: &Session,
        subject: &Digest,
    ) -> Result<Result<Signature, Fault>, SigningError> {
        let envelope = seal(session, subject)?;
        let log = Log {
            http: &self.http,
            endpoint: &self.services.log,
            version: self.services.log_version,
            persistence: &self.persistence,
        };
        let signature = &envelope.signature.sig;
        // The timestamp is of the signature alone: it need not wait for the log.
        let (recorded, timestamp) = futures_util::future::try_join(
            log.record(session, &envelope),
            self.timestamp(signature),
        )
        .await?;
        let entry = match recorded {
            Recorded::Entry(entry) => *entry,
            Recorded::Unusable(fault) => return Ok(Err(fault)),
        };
        let mut bundle =
            BundleV03::with_certificate_and_dsse(session.certificate.clone(), envelope)
                .with_tlog_entry(entry);
        if let Some(token) = timestamp {
            bundle = bundle.with_rfc3161_timestamp(token);
        }
        let refused = |refusal| SigningError::SelfCheck(Box::new(refusal));
        let bundle = bundle
            .into_bundle()
            .to_json()
            .map_err(|source| {
                refused(Refusal::Unreadable {
                    source: source.into(),
                })
            })?
            .into_bytes();
        let verified = check(&bundle, subject, &self.trust, &session.caller).map_err(refused)?;
        Ok(Ok(Signature { bundle, verified }))
    }

    async fn timestamp(
        &self,
        signature: &SignatureBytes,
    ) -> Result<Option<TimestampToken>, SigningError> {
        let Some(authority) = &self.services.timestamps else {
            return Ok(None);
        };
        timestamp(&self.http, authority, signature, &self.persistence)
            .await
            .map(Some)
            .map_err(SigningError::Timestamp)
    }

    /// The session that all share, or a new one where there is none with a while to live.
    async fn session(&self) -> Result<Arc<Session>, SigningError> {
        let mut shared = self.session.lock().await;
        if let Some(session) = shared.as_ref().filter(|session| session.is_fresh()) {
            return Ok(Arc::clone(session));
        }
        let session = Session::open(
            &self.http,
            &self.services.certificates,
            &self.tokens,
            &self.persistence,
        )
        .await?;
        let session = Arc::new(session);
        *shared = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Forgets `ended`, unless somebody else has put another in its place.
    async fn end(&self, ended: &Arc<Session>) {
        let mut shared = self.session.lock().await;
        if shared
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, ended))
        {
            *shared = None;
        }
    }
}

/// The signed statement about `subject`.
fn seal(session: &Session, subject: &Digest) -> Result<DsseEnvelope, SigningError> {
    let payload = statement(subject);
    let encoded = Sha256::digest(sigstore_types::pae(PAYLOAD_TYPE, &payload));
    let signature = session
        .key
        .sign_digest(&Sha256Hash::from(<[u8; 32]>::from(encoded)))
        .map_err(SigningError::Key)?;
    Ok(DsseEnvelope::new(
        PAYLOAD_TYPE,
        PayloadBytes::new(payload),
        DsseSignature::new(signature, KeyId::default()),
    ))
}

/// Verifies what was just made: it must be ours. Where the token does not tell our subject, the issuer must do.
fn check(
    bundle: &[u8],
    subject: &Digest,
    trust: &Trust,
    caller: &Caller,
) -> Result<Verified, Refusal> {
    let verified = authenticate(bundle, subject, trust)?;
    let identity = caller
        .subject
        .clone()
        .unwrap_or_else(|| verified.identity.clone());
    let policy = Policy {
        identity: Matcher::Exact(identity),
        issuer: Matcher::Exact(caller.issuer.clone()),
        github: GithubClaims {
            repository: caller.repository.clone(),
            ..GithubClaims::default()
        },
    };
    policy::check(&policy, &verified)?;
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{fixture, recorded_trust};
    use super::*;

    #[tokio::test]
    async fn only_what_is_our_own_passes_our_own_check() {
        let (trust, bundle) = (recorded_trust(None).await, fixture("rekor-v2.json"));
        let check = |caller: &Caller| check(&bundle, &Digest::of(b"first"), &trust, caller);
        let found = authenticate(&bundle, &Digest::of(b"first"), &trust).unwrap();
        let caller = Caller {
            issuer: found.issuer,
            subject: Some(found.identity),
            repository: found.github.repository,
        };
        assert!(check(&caller).is_ok());
        let unknown = Caller {
            subject: None,
            repository: None,
            ..caller.clone()
        };
        assert!(check(&unknown).is_ok());
        let other = || "https://other.example".to_owned();
        for caller in [
            Caller {
                issuer: other(),
                ..unknown
            },
            Caller {
                subject: Some(other()),
                ..caller.clone()
            },
            Caller {
                repository: Some(other()),
                ..caller.clone()
            },
        ] {
            assert!(check(&caller).is_err(), "{caller:?}");
        }
    }
}
