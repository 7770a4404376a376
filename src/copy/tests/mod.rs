//! Tests of steps that no command exposes alone, against the sandbox's registry.

mod copier;
mod copier_lacks;
mod layouts;
pub(crate) mod properties;
mod pushed;
mod referrer_copier;
mod uploads;
mod vanished;

use std::time::Duration;

use sandbox::{Options, Registry as Sandbox};
use serde_json::{Value, json};

use super::source::Source;
use crate::context::Context;
use crate::domain::{Digest, Events, Repository, RetryPolicy};
use crate::http::Client;
use crate::inputs::Mode;
use crate::registry::{Credentials, Registry, RegistrySettings};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Creates a context that tries twice and hardly waits in between.
fn context() -> Context {
    context_with(Events::silent())
}

/// Creates such a context that reports to `events`.
fn context_with(events: Events) -> Context {
    let retry_policy = RetryPolicy {
        max_attempts: 2,
        delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(5),
        at_least: Duration::ZERO,
        propagation: Duration::ZERO,
    };
    let registry = Registry::new(RegistrySettings {
        http: Client::for_tests().unwrap(),
        credentials: Credentials::new(),
        insecure: Vec::new(),
        retry_policy,
        events: Events::silent(),
    });
    Context::new(registry, retry_policy, events, Mode::Apply)
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options::new())
}

fn repository(sandbox: &Sandbox, name: &str) -> Repository {
    sandbox.repository(name).parse().unwrap()
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

/// Returns `GET /v2/…` for every request, in the order of arrival.
fn lines(sandbox: &Sandbox) -> Vec<String> {
    let requests = sandbox.requests().into_iter();
    requests
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

/// Pushes an index of manifests that the repository has, or lacks.
fn push_index(sandbox: &Sandbox, name: &str, children: &[impl ToString]) -> Digest {
    let describe = |child: String| {
        let known = sandbox.manifest(name, &child);
        let (media_type, size) = known
            .map_or((OCI_MANIFEST.to_owned(), 1), |(media_type, bytes)| {
                (media_type, bytes.len())
            });
        json!({"mediaType": media_type, "digest": child, "size": size})
    };
    let children: Vec<Value> = children
        .iter()
        .map(ToString::to_string)
        .map(describe)
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
    digest(&sandbox.push_raw(name, None, OCI_INDEX, index.to_string().as_bytes()))
}

/// Pushes an image with these layers, each with its media type. Its blobs are pushed too.
fn push_layers(sandbox: &Sandbox, name: &str, layers: &[(&str, &[u8])]) -> Digest {
    let describe = |(media_type, bytes): &(&str, &[u8])| {
        let digest = sandbox.push_blob(name, bytes);
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let config = describe(&("application/vnd.oci.empty.v1+json", b"{}"));
    let layers: Vec<Value> = layers.iter().map(describe).collect();
    let image = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
    });
    digest(&sandbox.push_raw(name, None, OCI_MANIFEST, image.to_string().as_bytes()))
}
