//! Writes a large blob into an upload session, in one request or in chunks. Its bytes can be read once only, so a
//! refusal ends the upload, and the copy starts again from the source.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::CONTENT_RANGE;

use super::auth::Authorization;
use super::chunks::{Chunk, Chunks, check_range};
use super::copy_failure::CopyFailure;
use super::error::RegistryErrorKind;
use super::host_features::Scheme;
use super::large_uploads::{LargeUpload, VerifyingStream};
use super::response::authority;
use super::sender::RegistryRequest;
use super::stream::Stream;
use super::upload_session::Upload;
use super::uploads::{Uploader, check_stored};
use crate::domain::Descriptor;
use crate::http::Response;

/// The upload of one large blob.
struct StreamedUpload<'a> {
    uploader: &'a Uploader,
    blob: &'a Descriptor,
    /// The state of the bytes that are sent.
    upload_state: Arc<LargeUpload>,
}

/// Completes `upload` with the body of `source`, or cancels it.
pub(super) async fn stream(
    uploader: &Uploader,
    mut upload: Upload,
    source: Stream,
    blob: &Descriptor,
) -> Result<(), CopyFailure> {
    let host = upload.repository.host();
    let in_chunks = uploader.sender.features().wants_chunks(host);
    let (upload_state, content) = uploader.large.begin(source, blob);
    let streamed = StreamedUpload {
        uploader,
        blob,
        upload_state,
    };
    let ended = if in_chunks {
        streamed.put_chunks(&mut upload, content).await
    } else {
        streamed.put(&upload, content).await
    };
    uploader.end(&upload, &ended).await;
    ended
}

impl StreamedUpload<'_> {
    /// Writes the blob into `upload` with one request.
    async fn put(&self, upload: &Upload, content: VerifyingStream) -> Result<(), CopyFailure> {
        let request = upload.final_put(&self.blob.digest, &[]);
        let authorization = self.authorization(upload, &request).await?;
        let sender = &self.uploader.sender;
        // The target is a full address, so this scheme is not used.
        let http_request = sender.build(&request, Scheme::Https, authorization.as_ref());
        let http_request = http_request.map_err(CopyFailure::Destination)?;
        let (large, upload_state) = (&self.uploader.large, &self.upload_state);
        let sent = large.send(http_request, content.body(), self.blob.size, upload_state);
        let response = sent.await;
        let response = self
            .check_response(upload, &request, authorization, response)
            .await?;
        if matches!(response.status.as_u16(), 413 | 416) {
            sender.features().remember_chunks(upload.repository.host());
            return Err(CopyFailure::Restartable(RegistryErrorKind::refused(
                &response,
            )));
        }
        let stored = check_stored(&response, &self.blob.digest);
        stored.map_err(CopyFailure::Destination)?;
        if upload_state.is_whole() {
            Ok(())
        } else {
            Err(CopyFailure::Destination(RegistryErrorKind::Early {
                host: authority(&response.url),
            }))
        }
    }

    /// Writes the blob into `upload`, chunk by chunk.
    async fn put_chunks(
        &self,
        upload: &mut Upload,
        content: VerifyingStream,
    ) -> Result<(), CopyFailure> {
        let (uploader, blob) = (self.uploader, self.blob);
        let chunks = Chunks::new(content);
        let mut start = 0;
        while start < blob.size {
            let end = blob.size.min(start.saturating_add(upload.chunk_bytes));
            self.patch(upload, chunks.chunk(start, end)).await?;
            start = end;
        }
        let request = upload.final_put(&blob.digest, &[]);
        let stored = uploader.send_to_session(upload, &request).await;
        let stored = stored.and_then(|response| check_stored(&response, &blob.digest));
        stored.map_err(CopyFailure::Destination)
    }

    /// Sends one chunk, and continues at the location in the response.
    async fn patch(&self, upload: &mut Upload, chunk: Chunk) -> Result<(), CopyFailure> {
        let uploader = self.uploader;
        let request = upload.session_request(Method::PATCH);
        let authorization = self.authorization(upload, &request).await?;
        // The target is a full address, so this scheme is not used.
        let http_request = uploader
            .sender
            .build(&request, Scheme::Https, authorization.as_ref());
        let mut http_request = http_request.map_err(CopyFailure::Destination)?;
        let (length, last) = (chunk.length(), chunk.last());
        http_request
            .headers_mut()
            .insert(CONTENT_RANGE, chunk.range());
        let sent = uploader
            .large
            .send(http_request, chunk.body(), length, &self.upload_state);
        let response = sent.await;
        let response = self
            .check_response(upload, &request, authorization, response)
            .await?;
        check_range(&response, last).map_err(CopyFailure::Destination)?;
        uploader
            .update_location(upload, &response)
            .map_err(CopyFailure::Destination)
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
        // If the body broke off, the source is at fault, whatever the destination answered.
        if let Some(kind) = self.upload_state.error() {
            return Err(CopyFailure::Source(kind));
        }
        let response = response.map_err(CopyFailure::Destination)?;
        if response.status == 401 && upload.is_on_registry {
            // A streamed body cannot be sent again, so the copy must start from the beginning.
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
