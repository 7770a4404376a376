//! Uploads blobs that are too large for memory. Their bytes are streamed from a response or a file into requests
//! (`VerifyingStream`). Each request may take any time while bytes move.

use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Request};

use super::error::RegistryErrorKind;
use super::prefix::Prefix;
use super::response::{ERROR_MAX_BYTES, authority, unreachable};
use super::streaming_response::StreamingResponse;
use crate::domain::{Descriptor, Events};
use crate::http::{Client, RequestTimer, Response, ServerTask, TransportError, TransportErrorKind};

/// The large uploads of a run.
#[derive(Debug)]
pub(super) struct LargeUploads {
    http: Client,
    events: Events,
    uploads: Mutex<Vec<Weak<LargeUpload>>>,
}

/// The progress of all large uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of blobs.
    pub blobs: usize,
    /// The number of bytes sent so far.
    pub bytes: u64,
    /// The number of bytes of all blobs.
    pub of: u64,
}

/// The state of one large upload, which its content and its requests share.
#[derive(Debug)]
pub(super) struct LargeUpload {
    of: u64,
    state: Mutex<LargeUploadState>,
}

#[derive(Debug)]
struct LargeUploadState {
    /// The bytes that were passed on.
    sent: Prefix,
    /// The error of the content, if there is one.
    failure: Option<RegistryErrorKind>,
    /// True if no more bytes may be passed on.
    is_closed: bool,
}

impl LargeUploads {
    pub(super) fn new(http: Client, events: Events) -> Self {
        Self {
            http,
            events,
            uploads: Mutex::default(),
        }
    }

    /// Registers the upload of `blob`, of which the registry has the bytes `stored`.
    pub(super) fn begin(&self, blob: &Descriptor, stored: Prefix) -> Arc<LargeUpload> {
        let upload = Arc::new(LargeUpload {
            of: blob.size,
            state: Mutex::new(LargeUploadState {
                sent: stored,
                failure: None,
                is_closed: false,
            }),
        });
        if let Ok(mut uploads) = self.uploads.lock() {
            uploads.retain(|upload| upload.strong_count() > 0);
            uploads.push(Arc::downgrade(&upload));
        }
        upload
    }

    /// Returns the progress of the open uploads, or `None` if there are none.
    pub(super) fn progress(&self) -> Option<Progress> {
        let uploads = self.uploads.lock().ok()?;
        let uploads: Vec<_> = uploads.iter().filter_map(Weak::upgrade).collect();
        let sent = uploads.iter().map(|upload| upload.sent_bytes());
        (!uploads.is_empty()).then(|| Progress {
            blobs: uploads.len(),
            bytes: sent.fold(0, u64::saturating_add),
            // A descriptor may state any size.
            of: uploads
                .iter()
                .map(|upload| upload.of)
                .fold(0, u64::saturating_add),
        })
    }

    /// Sends `request` once. Its `body` has these `bytes` of the blob.
    pub(super) async fn send(
        &self,
        mut request: Request,
        body: Body,
        bytes: Range<u64>,
        upload: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let headers = request.headers_mut();
        let length = bytes.end - bytes.start;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        self.send_within_timeouts(request, bytes.end, upload).await
    }

    /// Sends `request`, which has the bytes of the blob up to `end`.
    async fn send_within_timeouts(
        &self,
        request: Request,
        end: u64,
        upload: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let stalled = |_| RegistryErrorKind::Unreachable {
            host: authority(&url),
            error: TransportError {
                cause: "it does not accept the upload".to_owned(),
                kind: TransportErrorKind::Silence,
                proxy: None,
                certificate: None,
            },
        };
        let timer = RequestTimer::start(&self.events, &request);
        let mut sending = pin!(self.http.upload(request));
        let response = loop {
            let sent_before = upload.sent_bytes();
            let silence = self.http.silence(task(sent_before, end));
            match tokio::time::timeout(silence, &mut sending).await {
                Ok(sent) => break sent.map_err(|error| unreachable(&url, error))?,
                Err(_) if upload.sent_bytes() > sent_before => (),
                Err(elapsed) => return Err(stalled(elapsed)),
            }
        };
        let read = async {
            let stream = StreamingResponse::new(response, &method, timer, None).await?;
            stream.read(ERROR_MAX_BYTES).await
        };
        tokio::time::timeout(self.http.silence(ServerTask::Receive), read)
            .await
            .map_err(stalled)?
    }
}

/// Returns the task of a server that receives bytes up to `end`, of which the first `sent` were sent.
fn task(sent: u64, end: u64) -> ServerTask {
    if sent < end {
        ServerTask::Receive
    } else {
        ServerTask::Store
    }
}

impl LargeUpload {
    /// Returns the bytes that were passed on so far.
    pub(super) fn sent(&self) -> Prefix {
        self.state().sent.clone()
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.state().sent.length
    }

    /// True if the whole blob was sent. It was correct, or its last bytes would not have been sent.
    pub(super) fn is_whole(&self) -> bool {
        self.sent_bytes() == self.of
    }

    /// Returns the error of the content, if there is one.
    pub(super) fn error(&self) -> Option<RegistryErrorKind> {
        self.state().failure.clone()
    }

    /// Stops the content, and returns the bytes that were passed on. The HTTP library may read on in a body whose
    /// request has failed.
    pub(super) fn close(&self) -> Prefix {
        let mut state = self.state();
        state.is_closed = true;
        state.sent.clone()
    }

    /// Notes the bytes that are passed on. Fails if they must not be.
    pub(super) fn pass(&self, passed: &Prefix) -> Result<(), RegistryErrorKind> {
        let mut state = self.state();
        if state.is_closed {
            let cause = "the upload has ended".to_owned();
            return Err(RegistryErrorKind::never_asked("", cause));
        }
        state.sent = passed.clone();
        Ok(())
    }

    /// Notes an error of the content.
    pub(super) fn fail(&self, kind: &RegistryErrorKind) {
        self.state().failure = Some(kind.clone());
    }

    fn state(&self) -> MutexGuard<'_, LargeUploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_byte_of_a_request_gives_the_server_time_to_store() {
        assert_eq!(task(0, 10), ServerTask::Receive);
        assert_eq!(task(9, 10), ServerTask::Receive);
        assert_eq!(task(10, 10), ServerTask::Store);
    }
}
