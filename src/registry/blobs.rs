//! Blobs that are small enough to be held in memory: configs and signatures. And whether a blob is there at all.

use reqwest::Method;

use super::answers::{Presence, presence};
use super::client::{Question, Registry};
use super::downloads::check_digest;
use super::error::{Fault, Operation, RegistryError};
use super::uploads::Reserved;
use crate::domain::{Digest, Repository};

impl Registry {
    /// Whether the blob is there: a HEAD, whose 404 is an answer. What it answers otherwise is asked again by GET, of
    /// which nothing but the head is read: a HEAD has no body to say why, and the storage that it sends us on to may
    /// take no HEAD.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let found = self.look_for_blob(repository, digest).await;
        found.map_err(|fault| self.blob_error(Operation::ReadBlob, repository, digest, fault))
    }

    /// Reads the blob `digest`, of at most `limit` bytes. `None` says that it is not there.
    ///
    /// Most registries redirect to a storage: that is followed, without our credentials unless it is the registry
    /// itself, and whatever comes back must have the digest.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let question = blob_question(repository, digest, limit);
        let read = self
            .patiently(&question.text(), || self.fetch(&question))
            .await
            .and_then(|body| match body {
                Some(body) => check_digest(Digest::of(&body), digest).map(|()| Some(body)),
                None => Ok(None),
            });
        read.map_err(|fault| self.blob_error(Operation::ReadBlob, repository, digest, fault))
    }

    /// Stores `bytes`. It is not asked first whether they are there: for small blobs that takes as long as storing them.
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.put_blob_into(None, repository, bytes).await
    }

    /// Stores `bytes` in `place`, where there is one.
    pub async fn put_blob_into(
        &self,
        mut place: Option<Reserved>,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let what = format!("upload of {repository}@{digest}");
        // Each further try is a new upload, as nothing is known of what the registry made of the one before.
        let upload = || self.upload_into(place.take(), repository, &digest, bytes);
        let stored = self.patiently(&what, upload).await;
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
        fault: Fault,
    ) -> RegistryError {
        let object = repository.at(digest).to_string();
        self.error(operation, repository, object, fault)
    }

    async fn look_for_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, Fault> {
        let get = blob_question(repository, digest, 0);
        let head = Question {
            method: Method::HEAD,
            ..blob_question(repository, digest, 0)
        };
        match self.ask(&head).await?.status.as_u16() {
            200 => return Ok(true),
            404 => return Ok(false),
            _ => (),
        }
        let opened = self.patiently(&get.text(), || self.open_blob(&get)).await?;
        match presence(&opened.answer) {
            Presence::Present => Ok(true),
            Presence::Absent => Ok(false),
            Presence::Unknown => Err(opened.answer.fault()),
        }
    }

    async fn fetch(&self, question: &Question<'_>) -> Result<Option<Vec<u8>>, Fault> {
        let opened = self.open_blob(question).await?;
        match presence(&opened.answer) {
            Presence::Present => Ok(Some(opened.read(question.limit).await?.body)),
            Presence::Absent => Ok(None),
            Presence::Unknown => Err(opened.answer.fault()),
        }
    }
}

/// A question for a blob of which at most `limit` bytes are read.
pub(super) fn blob_question<'a>(
    repository: &'a Repository,
    digest: &Digest,
    limit: u64,
) -> Question<'a> {
    Question::get(repository, format!("blobs/{digest}"), limit)
}
