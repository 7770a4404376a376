//! A TUF repository on loopback, and what is trusted if it is reachable, unreachable, stale, or somebody else's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_crypto::KeyPair;

use crate::domain::{Event, Events};
use crate::http::tests::server::{Server, reply};

use super::super::error::TrustError;
use super::super::service_client::ServiceClient;
use super::super::trust::{Purpose, Trust, TrustSource};
use super::super::tuf::Tuf;
use super::{client, fixture, hex, impatient};

pub(super) const LATER: &str = "2126-01-01T00:00:00Z";
const EARLIER: &str = "2020-01-01T00:00:00Z";

pub(super) type TufFiles = HashMap<String, Vec<u8>>;

/// One key that signs all roles.
pub(super) struct TufSigner(KeyPair);

impl TufSigner {
    pub(super) fn new() -> Self {
        Self(KeyPair::generate_ecdsa_p256().unwrap())
    }

    fn signed(&self, signed: &Value) -> Vec<u8> {
        let bytes = sigstore_tuf::canonical_json::to_canonical_bytes(signed).unwrap();
        let signature = hex(self.0.sign(&bytes).unwrap().as_bytes());
        json!({"signed": signed, "signatures": [{"keyid": "only", "sig": signature}]})
            .to_string()
            .into_bytes()
    }

    pub(super) fn root(&self) -> Vec<u8> {
        let role = json!({"keyids": ["only"], "threshold": 1});
        let public = self.0.public_key_der().unwrap().to_pem();
        self.signed(&json!({"_type": "root", "spec_version": "1.0.31", "version": 1, "expires": LATER, "consistent_snapshot": false,
            "keys": {"only": {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": public}}},
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role}}))
    }

    pub(super) fn repository(
        &self,
        version: u64,
        expires: &str,
        targets: &[(&str, Vec<u8>)],
    ) -> TufFiles {
        let described: serde_json::Map<_, _> = targets
            .iter()
            .map(|(name, bytes)| {
                let hash = hex(&Sha256::digest(bytes));
                (
                    (*name).to_owned(),
                    json!({"length": bytes.len(), "hashes": {"sha256": hash}}),
                )
            })
            .collect();
        let role = |name: &str, extra: (&str, Value)| {
            self.signed(&json!({"_type": name, "spec_version": "1.0.31", "version": version, "expires": expires, extra.0: extra.1}))
        };
        let mut files: TufFiles = [
            (
                "targets.json",
                role("targets", ("targets", described.into())),
            ),
            (
                "snapshot.json",
                role(
                    "snapshot",
                    ("meta", json!({"targets.json": {"version": version}})),
                ),
            ),
            (
                "timestamp.json",
                role(
                    "timestamp",
                    ("meta", json!({"snapshot.json": {"version": version}})),
                ),
            ),
        ]
        .map(|(name, bytes)| (format!("/{name}"), bytes))
        .into();
        files.extend(
            targets
                .iter()
                .map(|(name, bytes)| (format!("/targets/{name}"), bytes.clone())),
        );
        files
    }
}

pub(super) fn good_targets() -> Vec<(&'static str, Vec<u8>)> {
    vec![("trusted_root.json", fixture("trusted_root.json"))]
}

async fn serve(files: TufFiles) -> Server {
    Server::start(move |asked| {
        files
            .get(asked.path())
            .map_or_else(|| reply(404, ""), |bytes| reply(200, bytes.clone()))
    })
    .await
}

async fn load(
    url: &str,
    root: &[u8],
    cache: Option<&Path>,
    purpose: Purpose,
) -> (Result<Trust, TrustError>, usize) {
    let warnings = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&warnings);
    let events = Events::new(move |event| {
        if matches!(event, Event::Warning(_)) {
            *counter.lock().unwrap() += 1;
        }
    });
    let client = ServiceClient::new(client(), impatient(), &events);
    let tuf = Tuf::new(url, root, cache, client);
    let loaded = Trust::load_from(&TrustSource::default(), purpose, &tuf).await;
    let warned = *warnings.lock().unwrap();
    (loaded, warned)
}

/// The discard port of loopback, where no server listens.
const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn verification_asks_for_the_root_alone() {
    let signer = TufSigner::new();
    let server = serve(signer.repository(1, LATER, &good_targets())).await;
    let (trust, warned) = load(&server.url(), &signer.root(), None, Purpose::Verify).await;
    assert!(trust.unwrap().services().is_none());
    assert_eq!(warned, 0);
    let (signing, _) = load(&server.url(), &signer.root(), None, Purpose::Sign).await;
    assert!(matches!(
        signing,
        Err(TrustError::Forged {
            source: sigstore_tuf::Error::TargetNotFound(_),
            ..
        })
    ));
}

#[tokio::test]
async fn cache_serves_while_it_is_unexpired_and_says_so() {
    let (signer, cache) = (TufSigner::new(), tempfile::tempdir().unwrap());
    let server = serve(signer.repository(1, LATER, &good_targets())).await;
    let root = signer.root();
    load(&server.url(), &root, Some(cache.path()), Purpose::Verify)
        .await
        .0
        .unwrap();
    let (trust, warned) = load(NOWHERE, &root, Some(cache.path()), Purpose::Verify).await;
    assert!(trust.is_ok());
    assert_eq!(warned, 1);
}

#[tokio::test]
async fn failing_server_is_tried_again_and_then_the_cache() {
    let (signer, cache) = (TufSigner::new(), tempfile::tempdir().unwrap());
    let root = signer.root();
    let files = signer.repository(1, LATER, &good_targets());
    let twice = files.clone();
    let server = Server::start(move |asked| match twice.get(asked.path()) {
        Some(_) if asked.before == 0 => reply(503, ""),
        Some(bytes) => reply(200, bytes.clone()),
        None => reply(404, ""),
    })
    .await;
    assert!(
        load(&server.url(), &root, Some(cache.path()), Purpose::Verify)
            .await
            .0
            .is_ok()
    );
    let down = Server::start(|_| reply(503, "")).await;
    let (trust, warned) = load(&down.url(), &root, Some(cache.path()), Purpose::Verify).await;
    assert_eq!((trust.is_ok(), warned), (true, 1));
}

#[tokio::test]
async fn nothing_embedded_stands_in() {
    let signer = TufSigner::new();
    let empty = tempfile::tempdir().unwrap();
    for cache in [None, Some(empty.path())] {
        let (trust, _) = load(NOWHERE, &signer.root(), cache, Purpose::Verify).await;
        assert!(
            matches!(trust, Err(TrustError::Unreachable { .. })),
            "{trust:?}"
        );
    }
}

#[tokio::test]
async fn expired_or_changed_cache_is_not_used() {
    let signer = TufSigner::new();
    let root = signer.root();
    let store = |files: &TufFiles| {
        let cache = tempfile::tempdir().unwrap();
        std::fs::create_dir(cache.path().join("targets")).unwrap();
        std::fs::write(cache.path().join("root.json"), &root).unwrap();
        for (name, bytes) in files {
            std::fs::write(cache.path().join(&name[1..]), bytes).unwrap();
        }
        cache
    };
    let kept = store(&signer.repository(1, LATER, &good_targets()));
    assert!(
        load(NOWHERE, &root, Some(kept.path()), Purpose::Verify)
            .await
            .0
            .is_ok()
    );
    let expired = signer.repository(1, EARLIER, &good_targets());
    let mut changed = signer.repository(1, LATER, &good_targets());
    changed.get_mut("/targets/trusted_root.json").unwrap()[100] ^= 1;
    let foreign = TufSigner::new().repository(1, LATER, &good_targets());
    for files in [expired, changed, foreign] {
        let cache = store(&files);
        let (trust, warned) = load(NOWHERE, &root, Some(cache.path()), Purpose::Verify).await;
        assert!(
            matches!(trust, Err(TrustError::StaleCache { .. })),
            "{trust:?}"
        );
        assert_eq!(warned, 0);
    }
}

#[tokio::test]
async fn repository_that_lies_is_not_excused_by_a_cache() {
    let (signer, cache) = (TufSigner::new(), tempfile::tempdir().unwrap());
    let root = signer.root();
    let server = serve(signer.repository(1, LATER, &good_targets())).await;
    load(&server.url(), &root, Some(cache.path()), Purpose::Verify)
        .await
        .0
        .unwrap();
    let mut longer = signer.repository(2, LATER, &good_targets());
    longer
        .get_mut("/timestamp.json")
        .unwrap()
        .resize(20_000, b' ');
    for files in [
        TufSigner::new().repository(2, LATER, &good_targets()),
        signer.repository(2, EARLIER, &good_targets()),
        longer,
    ] {
        let server = serve(files).await;
        let (trust, _) = load(&server.url(), &root, Some(cache.path()), Purpose::Verify).await;
        assert!(matches!(trust, Err(TrustError::Forged { .. })), "{trust:?}");
    }
}

#[tokio::test]
async fn trusted_root_that_cannot_be_read_is_an_error() {
    let signer = TufSigner::new();
    let server = serve(signer.repository(2, LATER, &[("trusted_root.json", b"{}".to_vec())])).await;
    let (trust, _) = load(&server.url(), &signer.root(), None, Purpose::Verify).await;
    assert!(matches!(trust, Err(TrustError::Root(_))), "{trust:?}");
}
