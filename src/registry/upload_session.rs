//! An open upload session at a registry.

use reqwest::Url;

use super::auth::Access;
use crate::domain::Repository;

/// An open upload session.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) repository: Repository,
    pub(super) access: Access,
    pub(super) location: Url,
    /// True if the location is on the registry. SECURITY: other locations receive no credentials.
    pub(super) is_on_registry: bool,
    /// The size of a chunk, if the blob is uploaded in chunks.
    pub(super) chunk_bytes: u64,
}
