//! A small Sigstore on one loopback port: OIDC issuer (with GitHub's token endpoint), Fulcio with its certificate
//! transparency log, Rekor v1; and, where they are asked for, a timestamp authority and Rekor v2. Keys are fresh at each
//! start.

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

/// What is offered besides Fulcio and Rekor v1.
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
    /// Starts one on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_by(Transport::default())
    }

    /// The same for clients that come by `transport`.
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

    /// The address of every part, and the issuer in tokens and certificates: `http://127.0.0.1:PORT`, or `https`.
    pub fn url(&self) -> String {
        self.services.issuer.url().to_owned()
    }

    /// Another address of the same, without TLS: for clients that cannot be told to trust the sandbox's authority.
    pub fn plain_url(&self) -> String {
        let twin = || self.server.twin(Transport::PLAIN);
        format!("http://{}", self.plain.get_or_init(twin).address())
    }

    /// The issuer, as a policy names it.
    pub fn issuer(&self) -> String {
        self.url()
    }

    /// The subject that certificates get under the claims as they are.
    pub fn identity(&self) -> String {
        let workflow = self.services.issuer.claim("job_workflow_ref");
        format!(
            "https://github.com/{}",
            workflow.as_str().unwrap_or_default()
        )
    }

    /// The trusted root, as JSON.
    pub fn trusted_root(&self) -> String {
        trust::trusted_root(&self.services)
    }

    /// The signing config (v0.2), as JSON.
    pub fn signing_config(&self) -> String {
        trust::signing_config(&self.services)
    }

    /// What a runner sets for a job that has `id-token: write`.
    pub fn github_env(&self) -> Vec<(String, String)> {
        let url = format!("{}{}?api-version=2.0", self.url(), oidc::TOKEN_PATH);
        let token = self.services.issuer.request_token.clone();
        vec![
            ("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), token),
        ]
    }

    /// A token for Sigstore outside of GitHub (`SIGSTORE_ID_TOKEN`).
    pub fn identity_token(&self) -> String {
        self.services.issuer.issue("sigstore")
    }

    /// Sets a claim of the tokens issued from now on; null takes it away.
    pub fn set_claim(&self, name: &str, value: impl Into<Value>) {
        self.services.issuer.set_claim(name, value.into());
    }

    /// How long tokens issued from now on live (5 minutes, as GitHub's).
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.services.issuer.set_lifetime(lifetime);
    }

    /// Whom Fulcio wants tokens to be for, from now on (`sigstore`).
    pub fn set_audience(&self, audience: &str) {
        self.services.issuer.set_audience(audience);
    }

    /// How long certificates issued from now on live (10 minutes, as Fulcio's).
    pub fn set_certificate_lifetime(&self, lifetime: Duration) {
        let kept = self.services.certificate_lifetime.lock();
        *kept.unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    /// Whether certificates issued from now on are kept from the log of certificates, so that they have no SCT.
    pub fn leave_certificate_log_out(&self, is_left_out: bool) {
        self.services.authority.leave_log_out(is_left_out);
    }

    /// Makes certificates out to this from now on, whatever the token says; without it to what the token has earned.
    pub fn forge(&self, forged: Option<Forged>) {
        *self.services.authority.forged() = forged;
    }

    /// From now on there is a timestamp authority, whose timestamps signatures have beside what the log says.
    pub fn offer_timestamps(&self) {
        self.services.offer(TIMESTAMPS);
    }

    /// From now on there is a Rekor v2, which bundles are recorded in, and the timestamp authority that it needs.
    pub fn offer_rekor_v2(&self) {
        self.services.offer(TIMESTAMPS | REKOR2);
    }

    /// How many seconds the clock of the timestamp authority is ahead.
    pub fn set_timestamp_clock(&self, ahead: i64) {
        self.services.timestamps.set_clock(ahead);
    }

    /// What the timestamp authority answers to who asks for a timestamp of `signature`.
    pub fn timestamp(&self, signature: &[u8]) -> Vec<u8> {
        self.services.timestamps.stamp(signature)
    }

    /// How many entries the logs hold.
    pub fn entries(&self) -> usize {
        self.services.log.length() + self.services.log2.length()
    }

    /// Every request since the start, or since they were cleared.
    pub fn requests(&self) -> Vec<Request> {
        self.server.traffic.requests()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.server.traffic.clear_requests();
    }

    /// Adds a fault. Paths: `/gh/token`, `/api/v2/signingCert`, `/api/v1/log/entries`, `/api/v1/log/entries/*`,
    /// `/api/v2/log/entries`, `/api/v1/timestamp`.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Forgets the faults that are still to come.
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
