//! A small Sigstore on one loopback port: OIDC issuer (with GitHub's token endpoint), Fulcio with its certificate
//! transparency log, Rekor v1. A timestamp authority and Rekor v2 are added on request. Keys are new at each start.

mod certificate;
mod entry;
mod fulcio;
mod keys;
mod merkle;
mod note;
mod oidc;
mod rekor;
mod rekor2;
mod timestamps;
mod trust;

use crate::faults::Fault;
use crate::listener::Listener;
use crate::server::{Call, Handler, Reply, Server};
use crate::traffic::Request;
use crate::transport::Transport;
pub(crate) use certificate::Authority;
pub use certificate::{Forged, Subject};
pub(crate) use keys::{Key, pem};
use oidc::Issuer;
use rekor::Log;
use rekor2::Log2;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use timestamps::{TIMESTAMP_PATH, Timestamps};

/// A running Sigstore; dropping it ends it.
pub struct Sigstore {
    server: Server,
    services: Arc<Services>,
    plain: OnceLock<Listener>,
}

/// The services besides Fulcio and Rekor v1.
const TIMESTAMPS: u8 = 1;
const REKOR2: u8 = 2;

pub(crate) struct Services {
    issuer: Issuer,
    authority: Authority,
    log: Log,
    log2: Log2,
    timestamps: Timestamps,
    offered: AtomicU8,
    certificate_lifetime: Mutex<Duration>,
}

impl Sigstore {
    /// Starts a Sigstore on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_by(Transport::default())
    }

    /// Starts a Sigstore with this transport.
    pub fn start_by(transport: Transport) -> Self {
        let mut kept = None;
        let server = Server::start(transport, |address| {
            let authority = Authority::new();
            let services = Arc::new(Services {
                issuer: Issuer::new(format!("{}://{address}", transport.scheme())),
                log2: Log2::new(),
                timestamps: Timestamps::new(&authority),
                offered: AtomicU8::new(0),
                authority,
                log: Log::new(),
                certificate_lifetime: Mutex::new(Duration::from_mins(10)),
            });
            kept = Some(Arc::clone(&services));
            let handler: Handler = Arc::new(move |call| services.answer(call));
            handler
        });
        let services = kept.expect("the server asked for its handler");
        Self {
            server,
            services,
            plain: OnceLock::new(),
        }
    }

    /// Returns the address of every part, also the issuer in tokens and certificates: `http://127.0.0.1:PORT`, or `https`.
    pub fn url(&self) -> String {
        self.services.issuer.url().to_owned()
    }

    /// Returns another address without TLS, for clients that cannot trust the sandbox's authority.
    pub fn plain_url(&self) -> String {
        let twin = || self.server.twin(Transport::PLAIN);
        format!("http://{}", self.plain.get_or_init(twin).address())
    }

    /// Returns the issuer, as in a policy.
    pub fn issuer(&self) -> String {
        self.url()
    }

    /// Returns the subject of certificates for the present claims.
    pub fn identity(&self) -> String {
        let workflow = self.services.issuer.claim("job_workflow_ref");
        format!(
            "https://github.com/{}",
            workflow.as_str().unwrap_or_default()
        )
    }

    /// Returns the trusted root, as JSON.
    pub fn trusted_root(&self) -> String {
        trust::trusted_root(&self.services)
    }

    /// Returns the signing config (v0.2), as JSON.
    pub fn signing_config(&self) -> String {
        trust::signing_config(&self.services)
    }

    /// Returns the variables that a runner sets for a job with `id-token: write`.
    pub fn github_env(&self) -> Vec<(String, String)> {
        let url = format!("{}{}?api-version=2.0", self.url(), oidc::TOKEN_PATH);
        let token = self.services.issuer.request_token.clone();
        vec![
            ("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), token),
        ]
    }

    /// Issues a token for Sigstore outside of GitHub (`SIGSTORE_ID_TOKEN`).
    pub fn identity_token(&self) -> String {
        self.services.issuer.issue("sigstore")
    }

    /// Sets a claim of the tokens issued from now on; null removes it.
    pub fn set_claim(&self, name: &str, value: impl Into<Value>) {
        self.services.issuer.set_claim(name, value.into());
    }

    /// Sets the lifetime of tokens issued from now on (5 minutes, as GitHub's).
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.services.issuer.set_lifetime(lifetime);
    }

    /// Sets the audience that Fulcio requires in tokens from now on (`sigstore`).
    pub fn set_audience(&self, audience: &str) {
        self.services.issuer.set_audience(audience);
    }

    /// Sets the lifetime of certificates issued from now on (10 minutes, as Fulcio's).
    pub fn set_certificate_lifetime(&self, lifetime: Duration) {
        let kept = self.services.certificate_lifetime.lock();
        *kept.unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    /// Sets whether new certificates are left out of the certificate transparency log, so that they have no SCT.
    pub fn leave_certificate_log_out(&self, is_left_out: bool) {
        self.services.authority.leave_log_out(is_left_out);
    }

    /// Issues certificates with these names from now on, whatever the token's claims are; `None` restores the claims.
    pub fn forge(&self, forged: Option<Forged>) {
        *self.services.authority.forged() = forged;
    }

    /// Adds a timestamp authority. Signatures then have its timestamps besides the log's entry.
    pub fn offer_timestamps(&self) {
        self.services.offer(TIMESTAMPS);
    }

    /// Adds a Rekor v2 for bundles, and the timestamp authority that it needs.
    pub fn offer_rekor_v2(&self) {
        self.services.offer(TIMESTAMPS | REKOR2);
    }

    /// Sets the clock of the timestamp authority ahead by some seconds.
    pub fn set_timestamp_clock(&self, ahead: i64) {
        self.services.timestamps.set_clock(ahead);
    }

    /// Returns the timestamp authority's response for `signature`.
    pub fn timestamp(&self, signature: &[u8]) -> Vec<u8> {
        self.services.timestamps.stamp(signature)
    }

    /// Counts the entries of the logs.
    pub fn entries(&self) -> usize {
        self.services.log.length() + self.services.log2.length()
    }

    /// Returns every request since the start, or since the last clearing.
    pub fn requests(&self) -> Vec<Request> {
        self.server.traffic.requests()
    }

    /// Clears the log of requests.
    pub fn clear_requests(&self) {
        self.server.traffic.clear_requests();
    }

    /// Adds a fault. Paths: `/gh/token`, `/api/v2/signingCert`, `/api/v1/log/entries`, `/api/v1/log/entries/*`,
    /// `/api/v2/log/entries`, `/api/v1/timestamp`.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Removes the pending faults.
    pub fn clear_faults(&self) {
        self.server.traffic.clear_faults();
    }
}

impl Services {
    fn offer(&self, services: u8) {
        self.offered.fetch_or(services, Ordering::Relaxed);
    }

    fn has_timestamps(&self) -> bool {
        self.offered.load(Ordering::Relaxed) & TIMESTAMPS != 0
    }

    fn has_rekor2(&self) -> bool {
        self.offered.load(Ordering::Relaxed) & REKOR2 != 0
    }

    fn answer(&self, call: &Call) -> Reply {
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/.well-known/openid-configuration") => self.issuer.discovery(),
            ("GET", "/.well-known/jwks") => self.issuer.key_set(),
            ("GET", oidc::TOKEN_PATH) => self.issuer.github_token(call),
            ("POST", "/api/v2/signingCert") => {
                let lifetime = self.certificate_lifetime.lock();
                let lifetime = *lifetime.unwrap_or_else(PoisonError::into_inner);
                fulcio::signing_certificate(&self.authority, &self.issuer, lifetime, call)
            }
            ("POST", TIMESTAMP_PATH) if self.has_timestamps() => self.timestamps.answer(call),
            ("POST", "/api/v2/log/entries") if self.has_rekor2() => self.log2.add(call),
            ("GET", "/api/v2/trustBundle") => fulcio::trust_bundle(&self.authority),
            ("GET", "/api/v2/configuration") => fulcio::configuration(&self.issuer),
            _ => self.log.answer(call).unwrap_or_else(|| {
                let message = format!("no such path: {}", call.path);
                Reply::json(404, &json!({"code": 404, "message": message}))
            }),
        }
    }
}
