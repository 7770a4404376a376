//! The registry client of a run that writes: the reading half, and the means to store manifests and blobs.

use std::ops::Deref;

use super::RegistrySettings;
use super::error::{Operation, RegistryError};
use super::large_uploads::{LargeUploads, Progress};
use super::reader::RegistryReader;
use super::uploads::Uploader;
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
    pub fn new(settings: RegistrySettings) -> Self {
        let large = LargeUploads::new(settings.http.clone(), settings.events.clone());
        let reader = RegistryReader::new(settings);
        let uploader = Uploader::new(reader.sender.clone(), large);
        Self { reader, uploader }
    }

    /// Requests push access with the first token for `repository`, because this run will write to it. A run that only
    /// reads must not call this: it fails without push access, and Quay creates a missing repository.
    pub fn request_push_scope(&self, repository: &Repository) {
        self.sender.auth().request_push_scope(repository);
    }

    /// Pushes `bytes` as a blob. There is no check whether the blob exists: for small blobs it takes as long as the
    /// push.
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let what = format!("upload of {repository}@{digest}");
        // Each retry is a new upload, because the state of the last one is unknown.
        let upload = || self.uploader.upload(repository, &digest, bytes);
        let stored = self.sender.with_retries(&what, upload).await;
        match stored {
            Ok(()) => Ok(digest),
            Err(kind) => {
                Err(self
                    .sender
                    .blob_error(Operation::WriteBlob, repository, &digest, kind))
            }
        }
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
