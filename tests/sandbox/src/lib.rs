//! A registry and a small Sigstore on loopback, in one process: for the tests of `manifest-seal`, and for its tour. Also the
//! machine of GitHub's runner on which both run the program ([`Runner`]).
//!
//! Both are real servers for real clients over HTTP. They run on threads of their own, so that plain tests can use them.
//! They end when dropped, and misbehave on request ([`Fault`]). Nothing here is part of the shipped binary.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "this is test code: a sandbox that cannot start ends the test that wanted it"
)]

mod body;
mod encoding;
mod faults;
mod http1;
mod http2;
mod injection;
mod listener;
mod name_situations;
mod names;
mod proof;
mod proxy;
mod registry;
mod runner;
mod scripted;
mod server;
mod sigstore;
mod traffic;
mod transport;

pub use faults::{Fault, Trigger};
pub use name_situations::{NAME_SITUATIONS, NameResult, NameSituation};
pub use names::{Family, NameAnswer, NameServer};
pub use proof::Proof;
pub use proxy::Proxy;
pub use registry::{
    Algorithm, Auth, Conditions, Deletes, Image, IndexWithProvenance, Kind, ManifestReads, Options,
    Referrers, Registry, Service, Signatures, Snapshot, TagParameter, Tagging,
};
pub use runner::{Assignment, Form, Runner, values};
pub use scripted::{Asked, Manner, Said, Scripted};
pub use sigstore::{Forged, Sigstore, Subject};
pub use traffic::{Authorization, Request, Version};
pub use transport::{ServerCertificate, Transport, certificate_authority};

/// A registry and a Sigstore together.
pub struct Sandbox {
    /// The registry.
    pub registry: Registry,
    /// The Sigstore.
    pub sigstore: Sigstore,
}

impl Sandbox {
    /// Starts both, with an open registry that has the referrers API.
    pub fn start() -> Self {
        Self::with(Options::new())
    }

    /// Starts both, with these options for the registry and its transport for both.
    pub fn with(options: Options) -> Self {
        let transport = options.transport;
        Self {
            registry: Registry::start(options),
            sigstore: Sigstore::start_by(transport),
        }
    }
}
