//! Reads blobs that are small enough for memory, such as configs and signatures, and checks whether a blob exists.

use reqwest::Method;

use super::classify::{Presence, presence};
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::check_digest;
use super::reader::RegistryReader;
use super::redirects::open_blob;
use super::sender::RegistryRequest;
use crate::domain::{Digest, Repository};

impl RegistryReader {
    /// Reports whether the blob exists. A HEAD with 200 or 404 decides. After any other response a GET follows, of
    /// which only the head is read. A HEAD has no body with a reason, and the storage behind a redirect may refuse
    /// HEAD.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let found = self.look_for_blob(repository, digest).await;
        found.map_err(|kind| {
            self.sender
                .blob_error(Operation::ReadBlob, repository, digest, kind)
        })
    }

    /// Reads the blob `digest`, of at most `limit` bytes. Returns `None` if it does not exist.
    ///
    /// Most registries redirect to a storage. The redirect is followed without credentials, unless it points to the
    /// registry itself. The content must match the digest.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let request = blob_request(repository, digest, limit);
        let read = self
            .sender
            .with_retries(&request.text(), || self.fetch(&request))
            .await
            .and_then(|body| match body {
                Some(body) => {
                    check_digest(digest.algorithm().digest(&body), digest)?;
                    Ok(Some(body))
                }
                None => Ok(None),
            });
        read.map_err(|kind| {
            self.sender
                .blob_error(Operation::ReadBlob, repository, digest, kind)
        })
    }

    pub(super) async fn look_for_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryErrorKind> {
        let get = blob_request(repository, digest, 0);
        let head = RegistryRequest {
            method: Method::HEAD,
            ..blob_request(repository, digest, 0)
        };
        match self.sender.send(&head).await?.status.as_u16() {
            200 => return Ok(true),
            404 => return Ok(false),
            _ => (),
        }
        let stream = self
            .sender
            .with_retries(&get.text(), || open_blob(&self.sender, &get))
            .await?;
        match presence(&stream.head) {
            Presence::Present => Ok(true),
            Presence::Absent => Ok(false),
            Presence::Unknown => Err(RegistryErrorKind::refused(&stream.head)),
        }
    }

    async fn fetch(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<Option<Vec<u8>>, RegistryErrorKind> {
        let stream = open_blob(&self.sender, request).await?;
        match presence(&stream.head) {
            Presence::Present => Ok(Some(stream.read(request.limit).await?.body)),
            Presence::Absent => Ok(None),
            Presence::Unknown => Err(RegistryErrorKind::refused(&stream.head)),
        }
    }
}

/// Returns a request for a blob of which at most `limit` bytes are read.
pub(super) fn blob_request<'a>(
    repository: &'a Repository,
    digest: &Digest,
    limit: u64,
) -> RegistryRequest<'a> {
    RegistryRequest::get(repository, format!("blobs/{digest}"), limit)
}
