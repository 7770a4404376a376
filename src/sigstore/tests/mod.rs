//! Tests of the whole room: recorded bundles that must and must not verify, and services that misbehave.

mod audit;
mod bundles;
mod legacy;
pub(crate) mod properties;
mod retries;
mod services;
mod tuf;

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::RetryPolicy;
use crate::http::Client;

use super::trust::{Purpose, Trust, TrustSource};
use super::{service_client::ServiceClient, tuf::Tuf};

pub(super) fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signing");
    std::fs::read(folder.join(name)).unwrap()
}

/// A policy of at least two attempts, for at least 30 ms, with waits of about a millisecond.
fn impatient() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 2,
        delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(2),
        at_least: Duration::ZERO,
        propagation: Duration::ZERO,
    }
}

fn client() -> Client {
    Client::for_tests().unwrap()
}

/// Loads the recorded trust and these services; never uses the network.
pub(super) async fn recorded_trust(signing_config: Option<String>) -> Trust {
    trust("trusted_root.json", signing_config).await
}

async fn trust(root: &str, signing_config: Option<String>) -> Trust {
    let purpose = if signing_config.is_some() {
        Purpose::Sign
    } else {
        Purpose::Verify
    };
    let source = TrustSource {
        trusted_root: Some(fixture(root)),
        signing_config: signing_config.map(String::into_bytes),
        cache: None,
    };
    let events = crate::domain::Events::silent();
    let client = ServiceClient::new(client(), impatient(), &events);
    let nowhere = Tuf::new("http://127.0.0.1:1", b"", None, client);
    Trust::load_from(&source, purpose, &nowhere).await.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    sigstore_types::DigestBytes::from(bytes).to_hex()
}
