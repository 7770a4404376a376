//! Blobs that are small enough for memory, such as configs and signatures, and the check whether a blob exists.

use reqwest::Method;

use super::classify::{Presence, presence};
use super::client::{Registry, RegistryRequest};
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::check_digest;
use super::uploads::Reserved;
use crate::domain::{Digest, Repository};

impl Registry {
    /// Reports whether the blob exists. A HEAD with 200 or 404 decides. After any other response a GET follows, of
    /// which only the head is read. A HEAD has no body with a reason, and the storage behind a redirect may refuse
    /// HEAD.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let found = self.look_for_blob(repository, digest).await;
        found.map_err(|fault| self.blob_error(Operation::ReadBlob, repository, digest, fault))
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
        let question = blob_question(repository, digest, limit);
        let read = self
            .with_retries(&question.text(), || self.fetch(&question))
            .await
            .and_then(|body| match body {
                Some(body) => check_digest(Digest::of(&body), digest).map(|()| Some(body)),
                None => Ok(None),
            });
        read.map_err(|fault| self.blob_error(Operation::ReadBlob, repository, digest, fault))
    }

    /// Pushes `bytes` as a blob. There is no check whether the blob exists: for small blobs it takes as long as the
    /// push.
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.put_blob_into(None, repository, bytes).await
    }

    /// Pushes `bytes` as a blob, into the upload session `place` if there is one.
    pub async fn put_blob_into(
        &self,
        mut place: Option<Reserved>,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let what = format!("upload of {repository}@{digest}");
        // Each retry is a new upload, because the state of the last one is unknown.
        let upload = || self.upload_into(place.take(), repository, &digest, bytes);
        let stored = self.with_retries(&what, upload).await;
        match stored {
            Ok(()) => Ok(digest),
            Err(fault) => Err(self.blob_error(Operation::WriteBlob, repository, &digest, fault)),
        }
    }

    pub(super) fn blob_error(
        &self,
        operation: Operation,
        repository: &Repository,
        digest: &Digest,
        fault: RegistryErrorKind,
    ) -> RegistryError {
        let object = repository.at(digest).to_string();
        self.error(operation, repository, object, fault)
    }

    async fn look_for_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryErrorKind> {
        let get = blob_question(repository, digest, 0);
        let head = RegistryRequest {
            method: Method::HEAD,
            ..blob_question(repository, digest, 0)
        };
        match self.ask(&head).await?.status.as_u16() {
            200 => return Ok(true),
            404 => return Ok(false),
            _ => (),
        }
        let opened = self
            .with_retries(&get.text(), || self.open_blob(&get))
            .await?;
        match presence(&opened.answer) {
            Presence::Present => Ok(true),
            Presence::Absent => Ok(false),
            Presence::Unknown => Err(RegistryErrorKind::refused(&opened.answer)),
        }
    }

    async fn fetch(
        &self,
        question: &RegistryRequest<'_>,
    ) -> Result<Option<Vec<u8>>, RegistryErrorKind> {
        let opened = self.open_blob(question).await?;
        match presence(&opened.answer) {
            Presence::Present => Ok(Some(opened.read(question.limit).await?.body)),
            Presence::Absent => Ok(None),
            Presence::Unknown => Err(RegistryErrorKind::refused(&opened.answer)),
        }
    }
}

/// Returns a request for a blob of which at most `limit` bytes are read.
pub(super) fn blob_question<'a>(
    repository: &'a Repository,
    digest: &Digest,
    limit: u64,
) -> RegistryRequest<'a> {
    RegistryRequest::get(repository, format!("blobs/{digest}"), limit)
}
