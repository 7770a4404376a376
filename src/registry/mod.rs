//! The OCI distribution protocol: manifests, blobs, referrers and authentication. All digests are checked, all bodies
//! have a limit, and one table (`classify.rs`) distinguishes absent from unknown. The module does not depend on inputs,
//! plans or Actions. It reports through [`Events`].

mod asked_wait;
mod auth;
mod aws;
mod blobs;
mod challenge;
mod classify;
mod client;
mod copy;
mod credential;
mod credentials;
mod deletion;
mod docker_config;
mod downloads;
mod ecr;
mod error;
mod error_response;
mod host_features;
mod integrity;
mod large_uploads;
mod manifests;
mod missing_repository;
mod open_uploads;
mod parts;
mod referrer_list;
mod referrers;
mod response;
mod sided;
mod sigv4;
mod stream;
mod streaming_response;
mod tags;
mod token;
mod token_grants;
mod transport;
mod upload_session;
mod uploads;

#[cfg(test)]
pub(crate) mod tests;

use crate::domain::{Digest, Events, Host, RetryPolicy};
use crate::http::Client;

pub use aws::AwsKeys;
pub use client::Registry;
pub use copy::Copied;
pub use credential::{CredentialsError, Login};
pub use credentials::Credentials;
pub use deletion::{DeletionError, MayDelete, TagDeletion, Undeleted, steps_by_hand};
pub use error::{AwsErrorResponse, Operation, RegistryError, RegistryErrorKind};
pub use error_response::ErrorResponse;
pub use large_uploads::Progress;
pub use referrer_list::{Entries, Entry, REFERRERS_MAX, Referrer, Slim};
pub use referrers::{Pages, Referrers, Tagged, TaggedList};
pub use uploads::Reserved;

/// The settings of a [`Registry`].
#[derive(Debug)]
pub struct Settings {
    /// The client for all requests, large uploads included.
    pub http: Client,
    /// The credentials for each registry.
    pub credentials: Credentials,
    /// Hosts that are reached by plain HTTP.
    pub insecure: Vec<Host>,
    /// The number of attempts, and the waits between them.
    pub retry_policy: RetryPolicy,
    /// The receiver of retries and of tokens to mask.
    pub events: Events,
}

/// The result of [`Registry::replace_tag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The tag has the new content.
    Written,
    /// The tag has other content than before. Nothing was written.
    Changed,
}

/// A registry's response to a pushed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest of the sent bytes, which the registry did not contradict.
    pub digest: Digest,
    /// The subject that the registry processed (`OCI-Subject`). `None` means that the registry has no referrers API, or
    /// does not report the subject.
    pub subject: Option<Digest>,
}
