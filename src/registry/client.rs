//! The registry client of a run that writes: the reading half, and the means to store manifests and blobs.

use std::ops::Deref;

use super::Settings;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::large_uploads::{LargeUploads, Progress};
use super::reader::RegistryReader;
use super::uploads::{Reserved, Uploader};
use crate::domain::{Digest, Repository};

/// A client for all registries of a run. Clones share connections, tokens, upload sessions and the features of each
/// host.
#[derive(Debug, Clone)]
pub struct Registry {
    reader: RegistryReader,
    pub(super) uploader: Uploader,
}

impl Deref for Registry {
    type Target = RegistryReader;

    fn deref(&self) -> &RegistryReader {
        &self.reader
    }
}

impl Registry {
    /// Builds the client. It sends nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let large = LargeUploads::new(settings.http.clone(), settings.events.clone());
        let reader = RegistryReader::new(settings);
        let uploader = Uploader::new(reader.sender.clone(), large);
        Self { reader, uploader }
    }

    /// Requests push access with the first token for `repository`, because this run will write to it. A run that only
    /// reads must not call this: it fails without push access, and Quay creates a missing repository.
    pub fn will_write(&self, repository: &Repository) {
        self.sender.keyring().will_write(repository);
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
        let upload = || {
            self.uploader
                .upload_into(place.take(), repository, &digest, bytes)
        };
        let stored = self.sender.with_retries(&what, upload).await;
        match stored {
            Ok(()) => Ok(digest),
            Err(fault) => {
                Err(self
                    .sender
                    .blob_error(Operation::WriteBlob, repository, &digest, fault))
            }
        }
    }

    /// Makes one attempt to upload `bytes`. If that takes two requests, it also opens an upload session for a later
    /// blob: see [`Self::reserve`]. The result says nothing about `bytes`, with or without a session.
    pub async fn upload_and_reserve(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Option<Reserved>, RegistryErrorKind> {
        self.uploader.upload_and_reserve(repository, bytes).await
    }

    /// Opens an upload session for a small later blob, so that storing it takes one request. Returns `None` if one
    /// request may be enough anyway, or if no session can be opened now. There is no retry, because nothing may depend
    /// on the session. An unused session is cancelled by [`Self::cancel_uploads`].
    pub async fn reserve(&self, repository: &Repository) -> Option<Reserved> {
        self.uploader.reserve(repository).await
    }

    /// Returns the progress of the large uploads, or `None` if there are none.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.uploader.large.progress()
    }

    /// Cancels every open upload session, if the registry supports that. Call it only after all tasks that use a
    /// session have ended.
    pub async fn cancel_uploads(&self) {
        self.uploader.cancel_all().await;
    }
}
