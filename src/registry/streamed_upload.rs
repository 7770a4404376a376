//! Writes a large blob into an upload session, in one request or in chunks. Its bytes can be read once only: if a
//! request fails, the source is read again. An upload in chunks then goes on after the bytes that the registry has. Any
//! other starts again.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::CONTENT_RANGE;

use super::auth::Authorization;
use super::chunks::{check_range, chunk, content_range};
use super::copy_failure::CopyFailure;
use super::error::RegistryErrorKind;
use super::host_features::{Chunking, Scheme};
use super::interrupted_upload::{InterruptedUpload, UploadFailure, UploadForm};
use super::large_uploads::{LargeUpload, Slot};
use super::prefix::Prefix;
use super::response::authority;
use super::sender::RegistryRequest;
use super::stream::Stream;
use super::upload_session::Upload;
use super::uploads::{Uploader, check_stored};
use super::verifying_stream::{SharedStream, VerifyingStream};
use crate::domain::Descriptor;
use crate::http::{Response, Transient as _};

/// One attempt to upload a large blob.
struct StreamedUpload<'a> {
    uploader: &'a Uploader,
    blob: &'a Descriptor,
    /// The state of the bytes that are sent.
    state: Arc<LargeUpload>,
    /// The bytes that earlier attempts sent, if this one goes on with their upload.
    earlier: Vec<Prefix>,
    /// The number of bytes with which this attempt goes on.
    resumed_at: Option<u64>,
}

/// Completes `upload` with the body of `source`. If it cannot go on, it is cancelled.
pub(super) async fn stream(
    uploader: &Uploader,
    upload: Upload,
    (source, slot): (Stream, Slot),
    blob: &Descriptor,
) -> Result<(), UploadFailure> {
    let features = uploader.sender.features();
    let chunking = features.chunking(upload.repository.host());
    let nothing = Prefix::empty(blob.digest.algorithm());
    let state = uploader.large.begin(blob, nothing.clone(), slot);
    let content = SharedStream::new(VerifyingStream::new(source, blob, &state, nothing));
    let streamed = StreamedUpload {
        uploader,
        blob,
        state,
        earlier: Vec::new(),
        resumed_at: None,
    };
    match chunking {
        Chunking::Untried | Chunking::Refused => streamed.put(upload, &content).await,
        Chunking::ForTokens | Chunking::Required => streamed.put_chunks(upload, &content).await,
    }
}

/// Goes on with an upload in chunks after the first `stored` bytes. `source` begins after the bytes `before`, of which
/// the registry has at least as many.
pub(super) async fn resume(
    uploader: &Uploader,
    interrupted: InterruptedUpload,
    stored: u64,
    (source, before, slot): (Stream, Prefix, Slot),
    blob: &Descriptor,
) -> Result<(), UploadFailure> {
    let state = uploader.large.begin(blob, before.clone(), slot);
    let mut content = VerifyingStream::new(source, blob, &state, before);
    let skipped = content.skip(stored, interrupted.sent.clone()).await;
    if let Err(kind) = skipped {
        let interrupted = if kind.is_transient() {
            Some(interrupted)
        } else {
            uploader.cancel(&interrupted.session).await;
            None
        };
        let failure = CopyFailure::Source(kind);
        return Err(UploadFailure {
            failure,
            interrupted,
        });
    }
    let streamed = StreamedUpload {
        uploader,
        blob,
        state,
        earlier: interrupted.sent,
        resumed_at: Some(stored),
    };
    let content = SharedStream::new(content);
    streamed.put_chunks(interrupted.session, &content).await
}

/// Completes an upload in chunks of which the registry has all bytes.
pub(super) async fn complete(
    uploader: &Uploader,
    interrupted: InterruptedUpload,
    blob: &Descriptor,
) -> Result<(), UploadFailure> {
    let whole = interrupted.all_sent().clone();
    let streamed = StreamedUpload {
        uploader,
        blob,
        state: uploader.large.begin(blob, whole.clone(), Slot::default()),
        earlier: Vec::new(),
        resumed_at: Some(whole.length),
    };
    let upload = interrupted.session;
    let committed = streamed.commit(&upload).await;
    streamed.end_chunks(upload, whole, committed).await
}

impl StreamedUpload<'_> {
    /// Writes the blob into `upload` with one request.
    async fn put(&self, upload: Upload, content: &SharedStream) -> Result<(), UploadFailure> {
        let ended = self.put_whole(&upload, content).await;
        let sent = self.state.close();
        match ended {
            // The registry may have stored the blob, or be about to.
            Err(CopyFailure::Destination(kind))
                if kind.is_transient() && sent.length == self.blob.size =>
            {
                Err(UploadFailure {
                    failure: CopyFailure::Destination(kind),
                    interrupted: Some(InterruptedUpload {
                        session: upload,
                        form: UploadForm::Whole,
                        confirmed: Prefix::empty(self.blob.digest.algorithm()),
                        sent: vec![sent],
                        stored: None,
                    }),
                })
            }
            ended => {
                self.uploader.end(&upload, &ended).await;
                Ok(ended?)
            }
        }
    }

    async fn put_whole(&self, upload: &Upload, content: &SharedStream) -> Result<(), CopyFailure> {
        let request = upload.final_put(&self.blob.digest, &[]);
        let authorization = self.authorization(upload, &request).await?;
        let sender = &self.uploader.sender;
        // The target is a full address, so this scheme is not used.
        let http_request = sender.build(&request, Scheme::Https, authorization.as_ref());
        let http_request = http_request.map_err(CopyFailure::Destination)?;
        let (large, size) = (&self.uploader.large, self.blob.size);
        let sent = large.send(http_request, content.body(size), 0..size, &self.state);
        let response = sent.await;
        let response = self
            .check_response(upload, &request, authorization, response)
            .await;
        let (features, host) = (sender.features(), upload.repository.host());
        // The token ended while the blob was sent: GitLab looks at it afterwards, as does any registry behind a proxy that
        // first buffers the request. A chunk takes less time.
        if matches!(response, Err(CopyFailure::Restartable(_)))
            && self.state.is_whole()
            && size > upload.chunk_bytes
        {
            features.remember_chunks(host, Chunking::ForTokens);
        }
        let response = response?;
        if matches!(response.status.as_u16(), 413 | 416) {
            features.remember_chunks(host, Chunking::Required);
            return Err(CopyFailure::Restartable(RegistryErrorKind::refused(
                &response,
            )));
        }
        let stored = check_stored(&response, &self.blob.digest);
        stored.map_err(CopyFailure::Destination)?;
        self.check_sent(self.blob.size, &response)
    }

    /// Writes the rest of the blob into `upload`, chunk by chunk.
    async fn put_chunks(
        &self,
        mut upload: Upload,
        content: &SharedStream,
    ) -> Result<(), UploadFailure> {
        let mut confirmed = self.state.sent();
        let ended = loop {
            if confirmed.length == self.blob.size {
                break self.commit(&upload).await;
            }
            if let Err(failure) = self.patch(&mut upload, content, confirmed.length).await {
                break Err(failure);
            }
            confirmed = self.state.sent();
        };
        self.end_chunks(upload, confirmed, ended).await
    }

    /// Sends the chunk that begins at `start`, and continues at the location in the response.
    async fn patch(
        &self,
        upload: &mut Upload,
        content: &SharedStream,
        start: u64,
    ) -> Result<(), CopyFailure> {
        let (uploader, sender) = (self.uploader, &self.uploader.sender);
        let chunk = chunk(start, self.blob.size, upload.chunk_bytes);
        let request = upload.session_request(Method::PATCH);
        let authorization = self.authorization(upload, &request).await?;
        // The target is a full address, so this scheme is not used.
        let http_request = sender.build(&request, Scheme::Https, authorization.as_ref());
        let mut http_request = http_request.map_err(CopyFailure::Destination)?;
        let headers = http_request.headers_mut();
        headers.insert(CONTENT_RANGE, content_range(&chunk));
        let body = content.body(chunk.end - chunk.start);
        let sent = uploader
            .large
            .send(http_request, body, chunk.clone(), &self.state);
        let response = sent.await;
        let response = self
            .check_response(upload, &request, authorization, response)
            .await?;
        let refused = || CopyFailure::Restartable(RegistryErrorKind::refused(&response));
        let (features, host) = (sender.features(), upload.repository.host());
        match response.status.as_u16() {
            416 => return Err(refused()),
            400 | 404 | 405 | 411 | 415 | 501
                if start == 0 && features.chunking(host) == Chunking::ForTokens =>
            {
                features.remember_chunks(host, Chunking::Refused);
                return Err(refused());
            }
            _ => (),
        }
        check_range(&response, &chunk).map_err(CopyFailure::Destination)?;
        self.check_sent(chunk.end, &response)?;
        uploader
            .update_location(upload, &response)
            .map_err(CopyFailure::Destination)
    }

    /// Completes an upload of which the registry has all chunks.
    async fn commit(&self, upload: &Upload) -> Result<(), CopyFailure> {
        let request = upload.final_put(&self.blob.digest, &[]);
        let response = self.uploader.send_to_session(upload, &request).await;
        let response = response.map_err(CopyFailure::Destination)?;
        check_stored(&response, &self.blob.digest).map_err(|kind| {
            let is_refused = matches!(response.status.as_u16(), 400 | 404 | 416);
            // The registry may have stated a wrong number of bytes.
            if self.resumed_at.is_some() && is_refused {
                CopyFailure::Restartable(kind)
            } else {
                CopyFailure::Destination(kind)
            }
        })
    }

    /// Ends an attempt of which the registry has confirmed these bytes. If the upload cannot go on, it is cancelled.
    async fn end_chunks(
        &self,
        session: Upload,
        confirmed: Prefix,
        ended: Result<(), CopyFailure>,
    ) -> Result<(), UploadFailure> {
        let sent = self.state.close();
        let failure = match ended {
            Err(failure) if self.may_go_on(&failure, &confirmed) => failure,
            ended => {
                self.uploader.end(&session, &ended).await;
                return Ok(ended?);
            }
        };
        let earlier = self.earlier.iter().chain([&sent]);
        let unconfirmed = earlier.filter(|sent| sent.length > confirmed.length);
        let interrupted = InterruptedUpload {
            session,
            form: UploadForm::Chunks,
            sent: unconfirmed.cloned().collect(),
            // A request that was not authorized had no effect.
            stored: (failure.status() == Some(401)).then_some(confirmed.length),
            confirmed,
        };
        Err(UploadFailure {
            failure,
            interrupted: Some(interrupted),
        })
    }

    /// True if the next attempt can go on with the upload.
    fn may_go_on(&self, failure: &CopyFailure, confirmed: &Prefix) -> bool {
        match (failure, failure.status()) {
            (CopyFailure::Restartable(_), Some(401))
            | (CopyFailure::Restartable(RegistryErrorKind::LeftOut { .. }), _) => true,
            // The registry has another number of bytes. If it stated this one, it states no usable one.
            (CopyFailure::Restartable(_), Some(416)) => self.resumed_at != Some(confirmed.length),
            (CopyFailure::Restartable(_), _) => false,
            (CopyFailure::Source(kind) | CopyFailure::Destination(kind), _) => kind.is_transient(),
        }
    }

    /// Checks that the registry did not confirm bytes before they were sent.
    fn check_sent(&self, end: u64, response: &Response) -> Result<(), CopyFailure> {
        if self.state.sent_bytes() == end {
            Ok(())
        } else {
            Err(CopyFailure::Destination(RegistryErrorKind::Early {
                host: authority(&response.url),
            }))
        }
    }

    /// Returns the authorization for the location of `upload`.
    async fn authorization(
        &self,
        upload: &Upload,
        request: &RegistryRequest<'_>,
    ) -> Result<Option<Authorization>, CopyFailure> {
        if !upload.is_on_registry {
            return Ok(None);
        }
        let known = self.uploader.sender.authorization(request).await;
        known.map_err(CopyFailure::Destination)
    }

    /// Returns the response to a streamed body, unless the source or the credentials failed.
    async fn check_response(
        &self,
        upload: &Upload,
        request: &RegistryRequest<'_>,
        authorization: Option<Authorization>,
        response: Result<Response, RegistryErrorKind>,
    ) -> Result<Response, CopyFailure> {
        // If the body broke off, the read is at fault, whatever the destination answered.
        if let Some(kind) = self.state.error() {
            return Err(CopyFailure::of_read(kind));
        }
        let response = response.map_err(CopyFailure::Destination)?;
        if response.status == 401 && upload.is_on_registry {
            // A streamed body cannot be sent again, so the source must be read again.
            let sender = &self.uploader.sender;
            let better = sender
                .renew(request, authorization.as_ref(), &response)
                .await;
            if better.map_err(CopyFailure::Destination)?.is_some() {
                return Err(CopyFailure::Restartable(RegistryErrorKind::refused(
                    &response,
                )));
            }
        }
        Ok(response)
    }
}
