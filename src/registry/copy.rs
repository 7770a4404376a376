//! Copies blobs from one repository to another, or from a file. Between repositories of one registry they are mounted
//! if the registry supports that. Other blobs are streamed; only small ones are read into memory.

use std::path::Path;

use super::blobs::blob_request;
use super::classify::{Presence, presence};
use super::client::Registry;
use super::copy_failure::CopyFailure;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::{check_digest, check_size};
use super::reader::RegistryReader;
use super::redirects::open_blob;
use super::stream::Stream;
use super::streamed_upload::stream;
use super::upload_session::Upload;
use super::uploads::{SINGLE_POST_MAX_BYTES, UploadStart, Uploader};
use crate::domain::{Algorithm, Descriptor, Repository};

/// The number of immediate restarts of a copy: for renewed credentials, and for smaller requests.
const RESTARTS_MAX: u32 = 2;

/// The way a blob was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The registry mounted the blob from the other repository.
    Mounted,
    /// The blob was read from one repository and written to the other.
    Streamed,
}

/// The content of a blob, ready to be written.
enum BlobContent {
    Small(Vec<u8>),
    Large(Stream),
}

/// The source of a blob.
#[derive(Clone, Copy)]
enum BlobSource<'a> {
    Repository(&'a Repository),
    File(&'a Path),
}

/// The copy of one blob.
struct BlobCopy<'a> {
    reader: &'a RegistryReader,
    uploader: &'a Uploader,
    from: BlobSource<'a>,
    to: &'a Repository,
    blob: &'a Descriptor,
}

impl Registry {
    /// Copies `blob` from `from` to `to`, which lacks it. Neither side is checked first.
    ///
    /// Size and digest are checked before the destination has the whole blob. The operation of an error names the side
    /// that failed: [`Operation::ReadBlob`] the source, [`Operation::WriteBlob`] the destination.
    pub async fn copy_blob(
        &self,
        from: &Repository,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<Copied, RegistryError> {
        let digest = &blob.digest;
        let what = format!("copy of {from}@{digest} to {to}");
        // Each retry starts from the beginning: a half-uploaded blob cannot be distinguished from a missing one.
        let source = BlobSource::Repository(from);
        let copy = BlobCopy::new(self, source, to, blob);
        let copied = self.sender.with_retries(&what, || copy.run()).await;
        copied.map_err(|failed| match failed {
            CopyFailure::Source(kind) => {
                self.sender
                    .blob_error(Operation::ReadBlob, from, digest, kind)
            }
            CopyFailure::Destination(kind) | CopyFailure::Restartable(kind) => self
                .sender
                .blob_error(Operation::WriteBlob, to, digest, kind),
        })
    }

    /// Uploads `blob`, which `to` lacks, from a file. Size, digest and errors are handled as in [`Self::copy_blob`]. If
    /// the file fails, the object of the error is its path.
    pub async fn upload_blob(
        &self,
        file: &Path,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<(), RegistryError> {
        let digest = &blob.digest;
        let what = format!("upload of {to}@{digest}");
        let copy = BlobCopy::new(self, BlobSource::File(file), to, blob);
        let uploaded = self.sender.with_retries(&what, || copy.run()).await;
        uploaded.map(drop).map_err(|failed| match failed {
            CopyFailure::Source(kind) => {
                let object = file.display().to_string();
                self.sender.error(Operation::ReadBlob, to, object, kind)
            }
            CopyFailure::Destination(kind) | CopyFailure::Restartable(kind) => self
                .sender
                .blob_error(Operation::WriteBlob, to, digest, kind),
        })
    }
}

impl<'a> BlobCopy<'a> {
    fn new(
        registry: &'a Registry,
        from: BlobSource<'a>,
        to: &'a Repository,
        blob: &'a Descriptor,
    ) -> Self {
        Self {
            reader: registry,
            uploader: &registry.uploader,
            from,
            to,
            blob,
        }
    }

    /// Makes one attempt, with a mount if the source is a repository of the same host.
    async fn run(&self) -> Result<Copied, CopyFailure> {
        let mut upload = None;
        if let Some(from) = self.mount_source() {
            let start = self
                .uploader
                .begin_with_mount(self.to, &self.blob.digest, from);
            match start.await.map_err(CopyFailure::Destination)? {
                UploadStart::Stored(_) => {
                    if self.is_mounted().await.map_err(CopyFailure::Destination)? {
                        return Ok(Copied::Mounted);
                    }
                }
                UploadStart::Session(session) => upload = Some(session),
                // A 404 may apply only to this blob, if the source lacks it.
                UploadStart::Refused(kind) => {
                    if kind.refusal().is_none_or(|refusal| refusal.status != 404) {
                        let features = self.uploader.sender.features();
                        features.remember_no_mount(self.to, from);
                    }
                }
            }
        }
        self.transfer_with_restarts(upload).await?;
        Ok(Copied::Streamed)
    }

    /// Checks whether the destination has a blob that it reports as mounted. distribution (2.8.2 and 3.1.2) answers 201
    /// to the mount of a SHA-512 digest and mounts the blob under its SHA-256 digest alone.
    async fn is_mounted(&self) -> Result<bool, RegistryErrorKind> {
        match self.blob.digest.algorithm() {
            Algorithm::Sha256 => Ok(true),
            Algorithm::Sha512 => {
                let found = self.reader.look_for_blob(self.to, &self.blob.digest);
                found.await
            }
        }
    }

    /// Returns the repository to mount the blob from, if a mount may succeed.
    fn mount_source(&self) -> Option<&'a Repository> {
        let BlobSource::Repository(from) = self.from else {
            return None;
        };
        let features = self.uploader.sender.features();
        (from.host() == self.to.host() && features.may_mount(self.to, from)).then_some(from)
    }

    /// Copies the blob, and restarts if the reason for a refusal has been fixed. There is one restart for credentials
    /// and one for the blob's length.
    async fn transfer_with_restarts(&self, upload: Option<Upload>) -> Result<(), CopyFailure> {
        let mut transferred = self.transfer(upload).await;
        for _ in 0..RESTARTS_MAX {
            if !matches!(transferred, Err(CopyFailure::Restartable(_))) {
                break;
            }
            transferred = self.transfer(None).await;
        }
        transferred
    }

    /// Returns `upload`, or a new upload session. `None` if the content comes first: for a blob that the registry accepts in
    /// the POST, and for a file.
    async fn begin(&self, upload: Option<Upload>) -> Result<Option<Upload>, RegistryErrorKind> {
        let features = self.uploader.sender.features();
        let is_small = self.blob.size <= SINGLE_POST_MAX_BYTES;
        let fits_in_post = is_small && features.takes_whole(self.to.host());
        // A file is opened at once, or never.
        let is_file = matches!(self.from, BlobSource::File(_));
        if upload.is_some() || fits_in_post || is_file {
            return Ok(upload);
        }
        let algorithm = self.blob.digest.algorithm();
        self.uploader.begin(self.to, algorithm).await.map(Some)
    }

    /// Reads the blob and writes it into `upload`, or into a new upload session.
    async fn transfer(&self, upload: Option<Upload>) -> Result<(), CopyFailure> {
        let (uploader, digest) = (self.uploader, &self.blob.digest);
        let _memory = uploader.large.memory_for(self.blob.size).await;
        // The session begins while the source responds.
        let (source, session) = (Box::pin(self.open_source()), Box::pin(self.begin(upload)));
        let (content, upload) = tokio::join!(source, session);
        let content = match content {
            Ok(content) => content,
            Err(kind) => {
                if let Ok(Some(upload)) = &upload {
                    uploader.cancel(upload).await;
                }
                return Err(CopyFailure::Source(kind));
            }
        };
        let upload = upload.map_err(CopyFailure::Destination)?;
        match (content, upload) {
            (BlobContent::Small(bytes), None) => uploader
                .upload(self.to, digest, &bytes)
                .await
                .map_err(CopyFailure::Destination),
            (BlobContent::Small(bytes), Some(upload)) => uploader
                .finish(&upload, digest, &bytes)
                .await
                .map_err(CopyFailure::Destination),
            (BlobContent::Large(source), Some(upload)) => {
                stream(uploader, upload, source, self.blob).await
            }
            (BlobContent::Large(source), None) => {
                let upload = uploader
                    .begin(self.to, digest.algorithm())
                    .await
                    .map_err(CopyFailure::Destination)?;
                stream(uploader, upload, source, self.blob).await
            }
        }
    }

    async fn open_source(&self) -> Result<BlobContent, RegistryErrorKind> {
        let blob = self.blob;
        let (stream, length) = match self.from {
            BlobSource::File(path) => {
                let (stream, length) = Stream::of_file(path)?;
                (stream, Some(length))
            }
            BlobSource::Repository(from) => {
                let request = blob_request(from, &blob.digest, blob.size);
                let response = open_blob(&self.uploader.sender, &request).await?;
                if presence(&response.head) != Presence::Present {
                    return Err(RegistryErrorKind::refused(&response.head));
                }
                let length = response.length();
                (Stream::Response(Box::new(response)), length)
            }
        };
        check_size(length.unwrap_or(blob.size), blob)?;
        if blob.size > SINGLE_POST_MAX_BYTES {
            return Ok(BlobContent::Large(stream.release_permit()));
        }
        let bytes = stream.read(blob.size).await?;
        check_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX), blob)?;
        check_digest(blob.digest.algorithm().digest(&bytes), &blob.digest)?;
        Ok(BlobContent::Small(bytes))
    }
}
