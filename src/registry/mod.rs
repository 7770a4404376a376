//! The OCI distribution protocol: manifests, blobs, referrers and authentication. All digests are checked, all bodies
//! have a limit, and one table (`classify.rs`) distinguishes absent from unknown. [`RegistryReader`] reads; [`Registry`]
//! is a reader that also writes. The module does not depend on inputs, plans or Actions. It reports through [`Events`].

mod auth;
mod aws;
mod blob_source;
mod blobs;
mod challenge;
mod chunks;
mod classify;
mod client;
mod conditions;
mod copy;
mod copy_failure;
mod credential;
mod credentials;
mod deletion;
mod docker_config;
mod ecr;
mod error;
mod error_detail;
mod error_response;
mod fan_out;
mod ghcr_retry_after;
mod host_features;
mod integrity;
mod interrupted_upload;
mod large_uploads;
mod manifest_writes;
mod manifests;
mod many_tags;
mod missing_repository;
mod open_uploads;
mod participants;
mod permits;
mod placeholder;
mod prefix;
mod reader;
mod recent_reads;
mod redirects;
mod referrer_list;
mod referrers;
mod request_limit;
mod response;
mod sender;
mod shared_parts;
mod shared_read;
mod shared_reads;
mod sigv4;
mod stream;
mod streamed_upload;
mod streaming_response;
mod tag_writes;
mod tags;
mod token;
mod token_grants;
mod transport;
mod upload_session;
mod uploads;
mod verifying_stream;

#[cfg(test)]
pub(crate) mod tests;

use crate::domain::{Events, Host, RetryPolicy};
use crate::http::Client;

pub use aws::AwsKeys;
pub use client::Registry;
pub use copy::Copied;
pub use credential::{CredentialsError, Login};
pub use credentials::Credentials;
pub use deletion::{DeletionError, MayDelete, TagDeletion, Undeleted, delete_tags, manual_steps};
pub use error::{
    AwsErrorResponse, ContentError, LoginError, Operation, RegistryError, RegistryErrorKind,
};
pub use error_response::ErrorResponse;
pub use large_uploads::Progress;
pub use manifest_writes::Stored;
pub use many_tags::{TAGS_MAX, may_put_tags, put_tags};
pub use missing_repository::may_be_new;
pub use placeholder::is_placeholder;
pub use reader::RegistryReader;
pub use referrer_list::{Entries, Entry, EntryFields, REFERRERS_MAX, Referrer};
pub use referrers::{Pages, Referrers, SHORT_LIST_MAX_BYTES, Tagged, TaggedList};
pub use request_limit::REQUESTS_MAX;
pub use shared_reads::{ReadPlace, SharedReads, SharingDestination};
pub use tag_writes::{Guard, Probe, Replaced, TagRead, WriteRule};
pub use tags::{all_tags, has_no_tags, listed_tags};

/// The settings of a [`Registry`].
#[derive(Debug)]
pub struct RegistrySettings {
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
