//! Tests the real client against a scripted server.

mod absence;
mod algorithms;
mod audit;
mod auth;
mod conditions;
mod copies;
mod copy_faults;
mod files;
mod integrity;
mod left_out;
pub(crate) mod properties;
mod redirects;
mod resumed;
mod retries;
mod slow;
mod tokens;
mod uploads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Credentials, Login, Registry, RegistrySettings};
use crate::domain::{Event, Events, MediaType, Reference, Repository, RetryPolicy, Secret};
use crate::http::Client;
use crate::http::tests::server::{Reply, Server};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

/// A registry client, and all its events.
struct Bench {
    registry: Registry,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Bench {
    /// Builds a client that tries `max_attempts` times with very short waits.
    fn new(max_attempts: u32, credentials: Credentials) -> Self {
        Self::with(max_attempts, credentials, Client::for_tests().unwrap())
    }

    fn with(max_attempts: u32, credentials: Credentials, http: Client) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        let registry = Registry::new(RegistrySettings {
            http,
            credentials,
            insecure: Vec::new(),
            retry_policy: RetryPolicy {
                max_attempts,
                delay: Duration::from_millis(2),
                max_delay: Duration::from_millis(5),
                at_least: Duration::ZERO,
                propagation: Duration::ZERO,
            },
            events: Events::new(move |event| heard.lock().unwrap().push(event)),
        });
        Self { registry, events }
    }

    fn nobody(max_attempts: u32) -> Self {
        Self::new(max_attempts, Credentials::new())
    }

    fn masked(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let masks = events.iter().filter_map(|event| {
            if let Event::Mask(secret) = event {
                Some(secret.expose().to_owned())
            } else {
                None
            }
        });
        masks.collect()
    }

    fn retries(&self) -> Vec<(String, String, Duration)> {
        let events = self.events.lock().unwrap();
        let retries = events.iter().filter_map(|event| {
            if let Event::Retry { what, why, wait } = event {
                Some((what.clone(), why.clone(), *wait))
            } else {
                None
            }
        });
        retries.collect()
    }
}

fn repository(server: &Server, path: &str) -> Repository {
    format!("{}/{path}", server.address()).parse().unwrap()
}

fn tag(name: &str) -> Reference {
    Reference::Tag(name.parse().unwrap())
}

/// Returns the methods of all requests, with the lengths of their bodies.
fn methods(server: &Server) -> Vec<String> {
    let seen = server.seen().into_iter();
    seen.map(|seen| format!("{} {}", seen.method, seen.body.len()))
        .collect()
}

/// Returns the credentials for `server`: `me` with `password`.
fn login(server: &Server) -> Credentials {
    let mut credentials = Credentials::new();
    let login = Login {
        username: "me".to_owned(),
        password: Secret::new("password"),
    };
    credentials
        .login(server.address(), login, "registry-auths")
        .unwrap();
    credentials
}

/// `Basic me:password`.
const BASIC: &str = "Basic bWU6cGFzc3dvcmQ=";

fn index_reply() -> Reply {
    Reply::new(200)
        .header("content-type", MediaType::OciIndex.as_str())
        .body(MANIFEST)
}
