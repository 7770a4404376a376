//! Copies blobs from one repository to another, or from a file. Between repositories of one registry they are mounted
//! if the registry supports that. Other blobs are streamed; only small ones are read into memory.

use std::path::Path;

use super::auth::Authorization;
use super::blobs::blob_question;
use super::classify::{Presence, presence};
use super::client::{Registry, RegistryRequest};
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::host_features::Scheme;
use super::integrity::{check_digest, check_size};
use super::large_uploads::LargeUpload;
use super::sided::Sided;
use super::stream::Stream;
use super::upload_session::Upload;
use super::uploads::{Begun, SMALL_MAX_BYTES, check_stored};
use crate::domain::{Descriptor, Digest, Repository};
use crate::http::Response;

/// The number of immediate restarts of a copy: for renewed credentials, and for smaller requests.
const MENDS_MAX: u32 = 2;

/// The way a blob was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The registry mounted the blob from the other repository.
    Mounted,
    /// The blob was read from one repository and written to the other.
    Streamed,
}

/// The content of a blob, ready to be written.
enum Ready {
    Small(Vec<u8>),
    Large(Stream),
}

/// The source of a blob.
#[derive(Clone, Copy)]
enum Source<'a> {
    Repository(&'a Repository),
    File(&'a Path),
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
        let copied = self.with_retries(&what, || self.copy(from, to, blob)).await;
        copied.map_err(|failed| match failed {
            Sided::Source(fault) => self.blob_error(Operation::ReadBlob, from, digest, fault),
            Sided::Destination(fault) | Sided::Mended(fault) => {
                self.blob_error(Operation::WriteBlob, to, digest, fault)
            }
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
        let upload = || self.carry_mended(Source::File(file), to, blob, None);
        let uploaded = self.with_retries(&what, upload).await;
        uploaded.map_err(|failed| match failed {
            Sided::Source(fault) => {
                let object = file.display().to_string();
                self.error(Operation::ReadBlob, to, object, fault)
            }
            Sided::Destination(fault) | Sided::Mended(fault) => {
                self.blob_error(Operation::WriteBlob, to, digest, fault)
            }
        })
    }

    async fn copy(
        &self,
        from: &Repository,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<Copied, Sided> {
        let mut upload = None;
        if from.host() == to.host() && self.features().may_mount(to, from) {
            let begun = self.begin_with_mount(to, &blob.digest, from).await;
            match begun.map_err(Sided::Destination)? {
                Begun::Created(_) => return Ok(Copied::Mounted),
                Begun::Place(place) => upload = Some(place),
                // A 404 may apply only to this blob, if the source lacks it.
                Begun::Refused(fault) => {
                    if fault.refusal().is_none_or(|refusal| refusal.status != 404) {
                        self.features().remember_no_mount(to, from);
                    }
                }
            }
        }
        let source = Source::Repository(from);
        self.carry_mended(source, to, blob, upload).await?;
        Ok(Copied::Streamed)
    }

    /// Copies the blob, and restarts if the reason for a refusal has been fixed. There is one restart for credentials
    /// and one for the blob's length.
    async fn carry_mended(
        &self,
        from: Source<'_>,
        to: &Repository,
        blob: &Descriptor,
        upload: Option<Upload>,
    ) -> Result<(), Sided> {
        let mut carried = self.carry(from, to, blob, upload).await;
        for _ in 0..MENDS_MAX {
            if !matches!(carried, Err(Sided::Mended(_))) {
                break;
            }
            carried = self.carry(from, to, blob, None).await;
        }
        carried
    }

    /// Reads the blob and writes it into `upload`, or into a new upload session.
    async fn carry(
        &self,
        from: Source<'_>,
        to: &Repository,
        blob: &Descriptor,
        upload: Option<Upload>,
    ) -> Result<(), Sided> {
        // Read from the source first. If that fails, no new upload session is open, and only one from a mount must be
        // cancelled.
        let ready = match self.make_ready(from, blob).await {
            Ok(ready) => ready,
            Err(fault) => {
                if let Some(upload) = &upload {
                    self.cancel(upload).await;
                }
                return Err(Sided::Source(fault));
            }
        };
        match (ready, upload) {
            (Ready::Small(bytes), None) => self
                .upload(to, &blob.digest, &bytes)
                .await
                .map_err(Sided::Destination),
            (Ready::Small(bytes), Some(upload)) => self
                .finish(&upload, &blob.digest, &bytes)
                .await
                .map_err(Sided::Destination),
            (Ready::Large(source), Some(upload)) => self.stream(upload, source, blob).await,
            (Ready::Large(source), None) => {
                let upload = self.begin(to).await.map_err(Sided::Destination)?;
                self.stream(upload, source, blob).await
            }
        }
    }

    async fn make_ready(
        &self,
        from: Source<'_>,
        blob: &Descriptor,
    ) -> Result<Ready, RegistryErrorKind> {
        let (stream, length) = match from {
            Source::File(path) => {
                let (stream, length) = Stream::of_file(path)?;
                (stream, Some(length))
            }
            Source::Repository(from) => {
                let question = blob_question(from, &blob.digest, blob.size);
                let opened = self.open_blob(&question).await?;
                if presence(&opened.answer) != Presence::Present {
                    return Err(RegistryErrorKind::refused(&opened.answer));
                }
                let length = opened.length();
                (Stream::Response(Box::new(opened)), length)
            }
        };
        check_size(length.unwrap_or(blob.size), blob)?;
        if blob.size > SMALL_MAX_BYTES {
            return Ok(Ready::Large(stream.without_turn()));
        }
        let bytes = stream.read(blob.size).await?;
        check_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX), blob)?;
        check_digest(Digest::of(&bytes), &blob.digest)?;
        Ok(Ready::Small(bytes))
    }

    /// Completes `upload` with the body of `source`, or cancels it.
    async fn stream(
        &self,
        mut upload: Upload,
        source: Stream,
        blob: &Descriptor,
    ) -> Result<(), Sided> {
        let streamed = if self.features().wants_chunks(upload.repository.host()) {
            self.put_parts(&mut upload, source, blob).await
        } else {
            self.put_stream(&upload, source, blob).await
        };
        self.end(&upload, &streamed).await;
        streamed
    }

    async fn put_stream(
        &self,
        upload: &Upload,
        source: Stream,
        blob: &Descriptor,
    ) -> Result<(), Sided> {
        let question = upload.last_question(&blob.digest, &[]);
        let authorization = self.authorization_at(upload, &question).await?;
        // The target is a full address, so this scheme is not used.
        let request = self.request(&question, Scheme::Https, authorization.as_ref());
        let request = request.map_err(Sided::Destination)?;
        let uploads = &self.wire().uploads;
        let (passage, pieces) = uploads.begin(source, blob);
        let sent = uploads.send(request, pieces.body(), blob.size, &passage);
        let answer = sent.await;
        let answer = self.taken(upload, &question, authorization, answer, &passage);
        let answer = answer.await?;
        if matches!(answer.status.as_u16(), 413 | 416) {
            self.features().remember_chunks(upload.repository.host());
            return Err(Sided::Mended(RegistryErrorKind::refused(&answer)));
        }
        let stored = check_stored(&answer, &blob.digest);
        stored.map_err(Sided::Destination)?;
        if passage.is_whole() {
            Ok(())
        } else {
            Err(Sided::Destination(RegistryErrorKind::Early {
                host: super::transport::authority(&answer.url),
            }))
        }
    }

    /// Returns the authorization for the location of `upload`.
    pub(super) async fn authorization_at(
        &self,
        upload: &Upload,
        question: &RegistryRequest<'_>,
    ) -> Result<Option<Authorization>, Sided> {
        if !upload.is_own {
            return Ok(None);
        }
        let known = self.authorization(question).await;
        known.map_err(Sided::Destination)
    }

    /// Returns the response to a streamed body, unless the source or the credentials failed.
    pub(super) async fn taken(
        &self,
        upload: &Upload,
        question: &RegistryRequest<'_>,
        authorization: Option<Authorization>,
        answer: Result<Response, RegistryErrorKind>,
        passage: &LargeUpload,
    ) -> Result<Response, Sided> {
        // If the body broke off, the source is at fault, whatever the destination answered.
        if let Some(fault) = passage.fault() {
            return Err(Sided::Source(fault));
        }
        let answer = answer.map_err(Sided::Destination)?;
        if answer.status == 401 && upload.is_own {
            // A streamed body cannot be sent again, so the copy must start from the beginning.
            let better = self.renew(question, authorization.as_ref(), &answer).await;
            if better.map_err(Sided::Destination)?.is_some() {
                return Err(Sided::Mended(RegistryErrorKind::refused(&answer)));
            }
        }
        Ok(answer)
    }
}
