//! The OCI distribution protocol: manifests, blobs, referrers, and the authentication in front of them. Every digest is
//! checked here, every body is bounded, and absence is told from ignorance by one table (`answers.rs`). It knows
//! nothing of inputs, plans or Actions; what it has to say while it works it says through [`Events`].

mod answers;
mod auth;
mod aws;
mod blobs;
mod challenge;
mod client;
mod copy;
mod credentials;
mod deletion;
mod docker_config;
mod downloads;
mod ecr;
mod error;
mod left_open;
mod limits;
mod manifests;
mod newness;
mod opened;
mod parts;
mod passage;
mod referrer_list;
mod referrers;
mod refusal;
mod retry;
mod sigv4;
mod stream;
mod tags;
mod token;
mod uploads;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use crate::domain::{Digest, Events, Host, Patience};
use crate::http::Client;

pub use aws::AwsKeys;
pub use client::Registry;
pub use copy::Copied;
pub use credentials::{Credentials, CredentialsError, Login};
pub use deletion::{DeletionError, Doomed, MayDelete, Stays, steps_by_hand};
pub use error::{AwsRefusal, Fault, Operation, RegistryError};
pub use passage::Progress;
pub use referrer_list::{Entries, Entry, REFERRERS_MAX, Referrer, Slim};
pub use referrers::{Pages, Referrers, Tagged, TaggedList};
pub use refusal::Refusal;
pub use uploads::Reserved;

/// What a [`Registry`] is made of.
#[derive(Debug)]
pub struct Settings {
    /// The client for all requests; large uploads have one of their own, made like it.
    pub http: Client,
    /// Who we are, and where.
    pub credentials: Credentials,
    /// Hosts that are asked by plain HTTP.
    pub insecure: Vec<Host>,
    /// How often to try again, and how long to wait.
    pub patience: Patience,
    /// Who hears of retries and of tokens that must be masked.
    pub events: Events,
}

/// What a registry answered to a manifest that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest, computed from the bytes that were sent and not contradicted by the registry.
    pub digest: Digest,
    /// The subject that the registry took note of (`OCI-Subject`); `None` says that it keeps no list of referrers, or
    /// does not tell.
    pub subject: Option<Digest>,
}
