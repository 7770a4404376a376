//! Blobs copied from one repository to another, or from a file: mounted where both repositories are on one registry and
//! it does that, else carried over, without ever being held whole unless they are small.

use std::borrow::Borrow;
use std::path::Path;

use super::answers::{Presence, presence};
use super::auth::Authorization;
use super::blobs::blob_question;
use super::client::{Question, Registry};
use super::downloads::{check_digest, check_size};
use super::error::{Fault, Operation, RegistryError};
use super::passage::Passage;
use super::stream::Stream;
use super::uploads::{Begun, SMALL_MAX_BYTES, Upload, check_stored};
use super::wire::{Answer, Scheme};
use crate::domain::{Descriptor, Digest, Repository};

/// How often a blob is begun anew at once: for better credentials, and for smaller requests.
const MENDS_MAX: u32 = 2;

/// How a blob came to where it was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The registry took it from the other repository by itself.
    Mounted,
    /// It was read from the one and written to the other.
    Streamed,
}

/// A fault, and whose it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Sided {
    #[error(transparent)]
    Source(Fault),
    #[error(transparent)]
    Destination(Fault),
    /// The destination's, and of no account any more: what it lacked were better credentials, which we have got since, or
    /// smaller requests, which we can make.
    #[error(transparent)]
    Mended(Fault),
}

/// A blob that the source is ready to give.
enum Ready {
    Small(Vec<u8>),
    Large(Stream),
}

/// Where a blob comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Repository(&'a Repository),
    File(&'a Path),
}

impl Registry {
    /// Copies `blob` to `to`, which lacks it, from `from`, which has it. It is not asked first whether that is so.
    ///
    /// The size and the digest are checked before the destination has all of it. The operation of an error tells whose
    /// fault it is: [`Operation::ReadBlob`] the source's, [`Operation::WriteBlob`] the destination's.
    pub async fn copy_blob(
        &self,
        from: &Repository,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<Copied, RegistryError> {
        let digest = &blob.digest;
        let what = format!("copy of {from}@{digest} to {to}");
        // Each try begins anew: a blob that is half there cannot be told from one that is not.
        let copied = self.patiently(&what, || self.copy(from, to, blob)).await;
        copied.map_err(|failed| match failed {
            Sided::Source(fault) => self.blob_error(Operation::ReadBlob, from, digest, fault),
            Sided::Destination(fault) | Sided::Mended(fault) => {
                self.blob_error(Operation::WriteBlob, to, digest, fault)
            }
        })
    }

    /// Uploads `blob`, which `to` lacks, from a file. Size and digest are checked as [`Self::copy_blob`] does it, and an
    /// error tells in the same way whose fault it is; of the file's the object is its path.
    pub async fn upload_blob(
        &self,
        file: &Path,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<(), RegistryError> {
        let digest = &blob.digest;
        let what = format!("upload of {to}@{digest}");
        let upload = || self.carry_mended(Source::File(file), to, blob, None);
        let uploaded = self.patiently(&what, upload).await;
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
        if from.host() == to.host() && self.limits().may_mount(to, from) {
            let begun = self.begin_with_mount(to, &blob.digest, from).await;
            match begun.map_err(Sided::Destination)? {
                Begun::Created(_) => return Ok(Copied::Mounted),
                Begun::Place(place) => upload = Some(place),
                // A 404 may be about this one blob, which the source lacks.
                Begun::Refused(fault) => {
                    if fault.refusal().is_none_or(|refusal| refusal.status != 404) {
                        self.limits().remember_no_mount(to, from);
                    }
                }
            }
        }
        let source = Source::Repository(from);
        self.carry_mended(source, to, blob, upload).await?;
        Ok(Copied::Streamed)
    }

    /// Carries the blob over, and again from its beginning where the reason for which it was refused is mended: that of
    /// credentials and that of its length, each once.
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

    /// Reads the blob and writes it into `upload`, or into a new one.
    async fn carry(
        &self,
        from: Source<'_>,
        to: &Repository,
        blob: &Descriptor,
        upload: Option<Upload>,
    ) -> Result<(), Sided> {
        // The source is asked first: where it fails there is nothing to be begun, and only a mount to be taken back.
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

    async fn make_ready(&self, from: Source<'_>, blob: &Descriptor) -> Result<Ready, Fault> {
        let (stream, length) = match from {
            Source::File(path) => {
                let (stream, length) = Stream::of_file(path)?;
                (stream, Some(length))
            }
            Source::Repository(from) => {
                let question = blob_question(from, &blob.digest, blob.size);
                let opened = self.open_blob(&question).await?;
                if presence(&opened.answer) != Presence::Present {
                    return Err(opened.answer.fault());
                }
                let length = opened.length();
                (Stream::Answer(Box::new(opened)), length)
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

    /// Ends `upload` with the body of `source`, or takes it back.
    async fn stream(
        &self,
        mut upload: Upload,
        source: Stream,
        blob: &Descriptor,
    ) -> Result<(), Sided> {
        let streamed = if self.limits().wants_parts(upload.repository.host()) {
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
        // The place is an address, which has its scheme.
        let request = self.request(&question, Scheme::Https, authorization.as_ref());
        let request = request.map_err(Sided::Destination)?;
        let uploads = &self.wire().uploads;
        let (passage, pieces) = uploads.begin(source, blob);
        let sent = uploads.send(request, pieces.body(), blob.size, &passage);
        let answer = sent.await;
        let answer = self.taken(upload, &question, authorization, answer, &passage);
        let answer = answer.await?;
        if matches!(answer.status.as_u16(), 413 | 416) {
            self.limits().remember_parts(upload.repository.host());
            return Err(Sided::Mended(answer.fault()));
        }
        let stored = check_stored(&answer, &blob.digest);
        stored.map_err(Sided::Destination)?;
        if passage.is_whole() {
            Ok(())
        } else {
            Err(Sided::Destination(Fault::Early {
                host: super::wire::authority(&answer.url),
            }))
        }
    }

    /// What to show at the place of `upload`.
    pub(super) async fn authorization_at(
        &self,
        upload: &Upload,
        question: &Question<'_>,
    ) -> Result<Option<Authorization>, Sided> {
        if !upload.is_own {
            return Ok(None);
        }
        let known = self.authorization(question).await;
        known.map_err(Sided::Destination)
    }

    /// The answer to a body that was streamed, if it was neither the source's fault nor that of our credentials.
    pub(super) async fn taken(
        &self,
        upload: &Upload,
        question: &Question<'_>,
        authorization: Option<Authorization>,
        answer: Result<Answer, Fault>,
        passage: &Passage,
    ) -> Result<Answer, Sided> {
        // Whatever the destination makes of a body that breaks off, it was not its fault.
        if let Some(fault) = passage.fault() {
            return Err(Sided::Source(fault));
        }
        let answer = answer.map_err(Sided::Destination)?;
        if answer.status == 401 && upload.is_own {
            // What was streamed cannot be sent again, so all has to begin anew.
            let better = self.renew(question, authorization.as_ref(), &answer).await;
            if better.map_err(Sided::Destination)?.is_some() {
                return Err(Sided::Mended(answer.fault()));
            }
        }
        Ok(answer)
    }
}

/// What the retry policy looks at.
impl Borrow<Fault> for Sided {
    fn borrow(&self) -> &Fault {
        match self {
            Self::Source(fault) | Self::Destination(fault) | Self::Mended(fault) => fault,
        }
    }
}
