//! Copies blobs from one repository to another, or from a file. Between repositories of one registry they are mounted
//! if the registry supports that. Other blobs are streamed; only small ones are read into memory.

use std::cell::RefCell;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::Method;

use super::blob_source::BlobSource;
use super::blobs::blob_request;
use super::client::Registry;
use super::copy_failure::CopyFailure;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::{check_digest, check_size};
use super::interrupted_upload::{InterruptedUpload, UploadFailure, UploadForm};
use super::large_uploads::Slot;
use super::prefix::Prefix;
use super::reader::RegistryReader;
use super::redirects::open_blob;
use super::sender::RegistryRequest;
use super::shared_reads::ReadPlace;
use super::stream::Stream;
use super::streamed_upload::{complete, resume, stream};
use super::upload_session::Upload;
use super::uploads::{SINGLE_POST_MAX_BYTES, UploadStart, Uploader};
use crate::domain::{Algorithm, Descriptor, Repository};
use crate::http::Transient as _;

/// The number of immediate restarts of a copy: for renewed credentials, for smaller requests, or from another byte.
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
    Small(Bytes),
    Large(Stream),
}

/// The work that is left for an upload that broke off.
enum Rest {
    /// The registry has the blob.
    Nothing,
    /// The registry has all bytes, and has to make them a blob.
    Commit,
    /// The registry has the bytes before this one.
    From(u64),
    /// The registry has no bytes that can be used.
    All,
}

/// The copy of one blob.
struct BlobCopy<'a> {
    reader: &'a RegistryReader,
    uploader: &'a Uploader,
    from: BlobSource<'a>,
    to: &'a Repository,
    blob: &'a Descriptor,
    /// The place in a read for several destinations, until the first attempt has used it.
    place: RefCell<Option<ReadPlace<'a>>>,
    /// The upload with which the next attempt goes on.
    interrupted: RefCell<Option<InterruptedUpload>>,
    /// The most bytes that the destination has confirmed before an upload broke off.
    confirmed: AtomicU64,
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
        self.copy_blob_together(from, to, blob, None).await
    }

    /// Copies `blob` as [`Self::copy_blob`] does. Content that other destinations lack too is read once for all, in the
    /// first attempt.
    pub async fn copy_blob_together(
        &self,
        from: &Repository,
        to: &Repository,
        blob: &Descriptor,
        place: Option<ReadPlace<'_>>,
    ) -> Result<Copied, RegistryError> {
        let digest = &blob.digest;
        let what = format!("copy of {from}@{digest} to {to}");
        let source = BlobSource::Repository(from);
        let copy = BlobCopy {
            place: RefCell::new(place),
            ..BlobCopy::new(self, source, to, blob)
        };
        let copied = copy.with_retries(&what).await;
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
        let source = BlobSource::File(file);
        let copy = BlobCopy::new(self, source, to, blob);
        let uploaded = copy.with_retries(&what).await;
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
            place: RefCell::default(),
            interrupted: RefCell::default(),
            confirmed: AtomicU64::default(),
        }
    }

    /// Copies the blob under the retry policy. Attempts are counted anew once the destination has confirmed more of the
    /// blob: the larger it is, the more faults it meets.
    async fn with_retries(&self, what: &str) -> Result<Copied, CopyFailure> {
        let sender = &self.uploader.sender;
        let attempt = || self.run();
        let copied = sender.with_progress(what, &self.confirmed, attempt);
        let copied = copied.await;
        if let Some(InterruptedUpload { session, .. }) = self.interrupted.take() {
            self.uploader.cancel(&session).await;
        }
        copied
    }

    /// Makes one attempt, with a mount if the source is a repository of the same host.
    async fn run(&self) -> Result<Copied, CopyFailure> {
        let mut upload = None;
        let is_begun = self.interrupted.borrow().is_some();
        if let Some(from) = self.mount_source().filter(|_| !is_begun) {
            self.place.take();
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

    /// Copies the blob, and restarts if the reason for a refusal has been fixed: one restart for credentials and one for
    /// the blob's length, and as many again once the destination has confirmed more of the blob, or reads alone.
    async fn transfer_with_restarts(&self, upload: Option<Upload>) -> Result<(), CopyFailure> {
        let mut transferred = self.transfer(upload).await;
        let mut restarts = 0;
        while restarts < RESTARTS_MAX
            && let Err(CopyFailure::Restartable(kind)) = &transferred
        {
            // This happens once: the place among others has been used.
            let is_left_out = matches!(kind, RegistryErrorKind::LeftOut { .. });
            let confirmed = self.confirmed.load(Ordering::Relaxed);
            transferred = self.transfer(None).await;
            restarts = if is_left_out || self.confirmed.load(Ordering::Relaxed) > confirmed {
                0
            } else {
                restarts + 1
            };
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

    /// Goes on with the interrupted upload. Otherwise reads the blob and writes it into `upload`, or into a new upload
    /// session.
    async fn transfer(&self, upload: Option<Upload>) -> Result<(), CopyFailure> {
        let interrupted = self.interrupted.take();
        if let Some(interrupted) = interrupted
            && self.go_on(interrupted).await?
        {
            return Ok(());
        }
        let (uploader, digest) = (self.uploader, &self.blob.digest);
        let (mut slot, place) = self.slot().await;
        // The session begins while the source responds.
        let source = Box::pin(self.open_content(place, &mut slot));
        let (source, session) = (source, Box::pin(self.begin(upload)));
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
                self.ended(stream(uploader, upload, (source, slot), self.blob).await)
            }
            (BlobContent::Large(source), None) => {
                let upload = uploader
                    .begin(self.to, digest.algorithm())
                    .await
                    .map_err(CopyFailure::Destination)?;
                self.ended(stream(uploader, upload, (source, slot), self.blob).await)
            }
        }
    }

    /// Goes on with an upload that broke off. Returns false if the copy has to start again.
    async fn go_on(&self, mut interrupted: InterruptedUpload) -> Result<bool, CopyFailure> {
        let (uploader, blob) = (self.uploader, self.blob);
        let rest = match self.rest(&mut interrupted).await {
            Ok(rest) => rest,
            Err(kind) => return self.keep(interrupted, CopyFailure::Destination(kind)).await,
        };
        match rest {
            Rest::Nothing => uploader.forget(&interrupted.session),
            Rest::Commit => self.ended(complete(uploader, interrupted, blob).await)?,
            Rest::From(stored) => match self.open_after(&interrupted.confirmed).await {
                Ok(source) => {
                    self.ended(resume(uploader, interrupted, stored, source, blob).await)?;
                }
                Err(kind) => return self.keep(interrupted, CopyFailure::Source(kind)).await,
            },
            Rest::All => {
                uploader.cancel(&interrupted.session).await;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds out what is left to do for an upload that broke off.
    async fn rest(&self, interrupted: &mut InterruptedUpload) -> Result<Rest, RegistryErrorKind> {
        if let Some(stored) = interrupted.stored {
            return Ok(Rest::From(stored));
        }
        // The response to the last request may have been lost, or a proxy did not wait for it.
        let all_sent = interrupted.all_sent().length;
        if all_sent == self.blob.size && self.is_stored().await? {
            return Ok(Rest::Nothing);
        }
        let session = &mut interrupted.session;
        let stored = match interrupted.form {
            UploadForm::Whole => None,
            UploadForm::Chunks => self.uploader.stored_bytes(session).await?,
        };
        Ok(match stored {
            Some(stored) if !interrupted.may_have(stored) => Rest::All,
            Some(stored) if stored == self.blob.size => Rest::Commit,
            Some(stored) => Rest::From(stored),
            None => Rest::All,
        })
    }

    /// Checks once whether the destination has the blob. Unless it says so, the blob is sent again.
    async fn is_stored(&self) -> Result<bool, RegistryErrorKind> {
        let head = RegistryRequest {
            method: Method::HEAD,
            ..blob_request(self.to, &self.blob.digest, 0)
        };
        match open_blob(&self.uploader.sender, &head).await {
            Ok(stream) => Ok(stream.head.status == 200),
            Err(kind) if kind.is_unavailable() => Err(kind),
            Err(_) => Ok(false),
        }
    }

    /// Keeps an upload for the next attempt, if a later one may go on with it. Otherwise the copy has to start again.
    async fn keep(
        &self,
        interrupted: InterruptedUpload,
        failure: CopyFailure,
    ) -> Result<bool, CopyFailure> {
        if failure.is_transient() {
            self.interrupted.replace(Some(interrupted));
            return Err(failure);
        }
        self.uploader.cancel(&interrupted.session).await;
        Ok(false)
    }

    /// Keeps the upload of a failed attempt.
    fn ended(&self, ended: Result<(), UploadFailure>) -> Result<(), CopyFailure> {
        ended.map_err(
            |UploadFailure {
                 failure,
                 interrupted,
             }| {
                if let Some(interrupted) = &interrupted {
                    let confirmed = interrupted.confirmed.length;
                    self.confirmed.fetch_max(confirmed, Ordering::Relaxed);
                }
                self.interrupted.replace(interrupted);
                failure
            },
        )
    }

    /// Opens the source, together with other destinations if this one has a place. Otherwise adds memory to the slot.
    async fn open_content(
        &self,
        place: Option<ReadPlace<'_>>,
        slot: &mut Slot,
    ) -> Result<BlobContent, RegistryErrorKind> {
        let (sender, large, blob) = (&self.uploader.sender, &self.uploader.large, self.blob);
        let shared = match (place, self.from) {
            (Some(ReadPlace::Large(place)), BlobSource::Repository(from)) => {
                let stream = place.stream(sender, from, blob).await?;
                if stream.is_none() {
                    *slot = mem::take(slot).with(large.memory(blob.size).await);
                }
                stream.map(BlobContent::Large)
            }
            (Some(ReadPlace::Small(place)), BlobSource::Repository(from)) => {
                let bytes = place.content(from, &blob.digest, async || self.read().await);
                bytes.await?.map(BlobContent::Small)
            }
            (None, _) | (_, BlobSource::File(_)) => None,
        };
        if let Some(content) = shared {
            return Ok(content);
        }
        if blob.size > SINGLE_POST_MAX_BYTES {
            let (stream, _) = self.from.open(sender, blob, 0).await?;
            return Ok(BlobContent::Large(stream.release_permit()));
        }
        Ok(BlobContent::Small(self.read().await?))
    }

    /// Reads a small blob.
    async fn read(&self) -> Result<Bytes, RegistryErrorKind> {
        let blob = self.blob;
        let (stream, _) = self.from.open(&self.uploader.sender, blob, 0).await?;
        let bytes = stream.read(blob.size).await?;
        check_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX), blob)?;
        check_digest(blob.digest.algorithm().digest(&bytes), &blob.digest)?;
        Ok(bytes.into())
    }

    /// Opens the source after the bytes `before`, or at its start. Returns the bytes that are left out.
    async fn open_after(
        &self,
        before: &Prefix,
    ) -> Result<(Stream, Prefix, Slot), RegistryErrorKind> {
        let (slot, _) = self.slot().await;
        let opened = self
            .from
            .open(&self.uploader.sender, self.blob, before.length);
        let (stream, start) = opened.await?;
        let left_out = if start == before.length {
            before.clone()
        } else {
            Prefix::empty(self.blob.digest.algorithm())
        };
        Ok((stream.release_permit(), left_out, slot))
    }

    /// Waits until the blob may be sent. The source is opened after that, or it would wait, too. Returns the place in a read
    /// for several destinations, if this copy takes part.
    async fn slot(&self) -> (Slot, Option<ReadPlace<'a>>) {
        let (large, size) = (&self.uploader.large, self.blob.size);
        let place = self.place.take();
        if size <= SINGLE_POST_MAX_BYTES {
            return (large.memory(size).await.into(), place);
        }
        if let Some(ReadPlace::Large(place)) = place
            && let Some(slot) = place.slot(large, size).await
        {
            return (slot, Some(ReadPlace::Large(place)));
        }
        (large.slot(self.to.host(), size).await, None)
    }
}
