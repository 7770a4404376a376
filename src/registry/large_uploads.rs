//! Uploads blobs that are too large for memory. Their bytes are streamed from a response or a file into a request. They
//! are counted and hashed on the way, and the last bytes are sent only after size and digest match. No registry ever
//! has the whole of a corrupt blob, even if it checks little itself.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Request};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::RegistryErrorKind;
use super::integrity::{check_digest, check_size};
use super::response::{ERROR_MAX_BYTES, authority, unreachable};
use super::stream::Stream;
use super::streaming_response::StreamingResponse;
use crate::domain::{Descriptor, Digester, Events};
use crate::http::{
    Client, RequestTimer, Response, STALL_TIMEOUT, TransportError, TransportErrorKind,
};

/// The longest time for a registry to store a complete upload. Some registries then copy the blob to another storage.
const COMMIT: Duration = Duration::from_mins(5);

/// The most bytes that one copy of a blob keeps in memory: those that arrived and are not sent yet.
const COPY_MAX_BYTES: u64 = 1 << 20;
/// The number of copies of large blobs that run at once. More of them would share the same bandwidth.
const LARGE_COPIES_MAX: u64 = 6;
/// The unit of the permits for memory.
const MEMORY_UNIT_BYTES: u64 = 1024;
const MEMORY_UNITS: u64 = LARGE_COPIES_MAX * COPY_MAX_BYTES / MEMORY_UNIT_BYTES;

/// The large uploads of a run.
#[derive(Debug)]
pub(super) struct LargeUploads {
    http: Client,
    events: Events,
    uploads: Mutex<Vec<Weak<LargeUpload>>>,
    /// The memory for copies of blobs, small ones included.
    memory: Semaphore,
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

/// The state of one large upload.
#[derive(Debug, Default)]
pub(super) struct LargeUpload {
    bytes: AtomicU64,
    of: u64,
    /// The final result, set once: success, or the error of the content.
    end: Mutex<Option<Result<(), RegistryErrorKind>>>,
}

/// The stream behind the bodies of requests.
#[derive(Debug)]
pub(super) struct VerifyingStream {
    source: Stream,
    blob: Descriptor,
    upload: Arc<LargeUpload>,
    digester: Digester,
    /// The number of bytes received.
    arrived: u64,
    last: Option<Bytes>,
}

impl LargeUploads {
    pub(super) fn new(http: Client, events: Events) -> Self {
        Self {
            http,
            events,
            uploads: Mutex::default(),
            memory: Semaphore::new(usize::try_from(MEMORY_UNITS).unwrap_or(usize::MAX)),
        }
    }

    /// Waits until there is memory to copy a blob of this size.
    pub(super) async fn memory_for(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let units = size.min(COPY_MAX_BYTES).div_ceil(MEMORY_UNIT_BYTES);
        // The semaphore is never closed, so this always succeeds.
        self.memory
            .acquire_many(u32::try_from(units).ok()?)
            .await
            .ok()
    }

    /// Prepares `source`, whose content must be `blob`. Errors of the content are in the [`LargeUpload`], whatever the
    /// result of the requests.
    pub(super) fn begin(
        &self,
        source: Stream,
        blob: &Descriptor,
    ) -> (Arc<LargeUpload>, VerifyingStream) {
        let upload = Arc::new(LargeUpload {
            of: blob.size,
            ..LargeUpload::default()
        });
        if let Ok(mut uploads) = self.uploads.lock() {
            uploads.retain(|upload| upload.strong_count() > 0);
            uploads.push(Arc::downgrade(&upload));
        }
        let content = VerifyingStream {
            source,
            blob: blob.clone(),
            upload: Arc::clone(&upload),
            digester: Digester::of(blob.digest.algorithm()),
            arrived: 0,
            last: None,
        };
        (upload, content)
    }

    /// Returns the progress of the open uploads, or `None` if there are none.
    pub(super) fn progress(&self) -> Option<Progress> {
        let uploads = self.uploads.lock().ok()?;
        let uploads: Vec<_> = uploads.iter().filter_map(Weak::upgrade).collect();
        let sent = uploads.iter();
        let sent = sent.map(|upload| upload.bytes.load(Ordering::Relaxed));
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

    /// Sends `request` once, with a `body` of `length` bytes that belong to `upload`. It may take any time while bytes
    /// move.
    pub(super) async fn send(
        &self,
        mut request: Request,
        body: Body,
        length: u64,
        upload: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        self.send_within_timeouts(request, upload).await
    }

    async fn send_within_timeouts(
        &self,
        request: Request,
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
            let sent_before = upload.bytes.load(Ordering::Relaxed);
            let is_whole = upload.is_whole();
            let limit = if is_whole { COMMIT } else { STALL_TIMEOUT };
            match tokio::time::timeout(limit, &mut sending).await {
                Ok(sent) => break sent.map_err(|error| unreachable(&url, error))?,
                Err(_) if upload.bytes.load(Ordering::Relaxed) > sent_before => (),
                Err(elapsed) => return Err(stalled(elapsed)),
            }
        };
        let read = async {
            let stream = StreamingResponse::new(response, &method, timer, None).await?;
            stream.read(ERROR_MAX_BYTES).await
        };
        tokio::time::timeout(STALL_TIMEOUT, read)
            .await
            .map_err(stalled)?
    }
}

impl LargeUpload {
    /// True if the whole blob was sent and was correct.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.end.lock().as_deref(), Ok(Some(Ok(()))))
    }

    /// Returns the error of the content, if there is one.
    pub(super) fn error(&self) -> Option<RegistryErrorKind> {
        let end = self.end.lock().ok()?;
        end.as_ref()?.as_ref().err().cloned()
    }

    fn finish(&self, end: Result<(), RegistryErrorKind>) {
        if let Ok(mut own) = self.end.lock() {
            *own = Some(end);
        }
    }
}

impl VerifyingStream {
    /// Returns all bytes as one body.
    pub(super) fn body(self) -> Body {
        Body::wrap_stream(try_unfold(self, async |mut content| {
            let bytes = content.next_bytes().await?;
            Ok::<_, RegistryErrorKind>(bytes.map(|bytes| (bytes, content)))
        }))
    }

    /// Returns the next bytes, or `None` at the end.
    pub(super) async fn next_bytes(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        let next = self.advance().await;
        match &next {
            Ok(Some(bytes)) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.upload.bytes.fetch_add(length, Ordering::Relaxed);
            }
            Ok(None) => (),
            Err(kind) => self.upload.finish(Err(kind.clone())),
        }
        next
    }

    /// Returns the bytes before the next ones, or the last bytes if size and digest match.
    async fn advance(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        while let Some(bytes) = self.source.next_bytes().await? {
            // SECURITY: HTTP/2 may end a body with an empty frame. If it were kept back instead of the last bytes, a
            // whole corrupt blob would be sent.
            if bytes.is_empty() {
                continue;
            }
            self.arrived += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if self.arrived > self.blob.size {
                check_size(self.arrived, &self.blob)?;
            }
            self.digester.add(&bytes);
            if let Some(last) = self.last.replace(bytes) {
                return Ok(Some(last));
            }
        }
        check_size(self.arrived, &self.blob)?;
        let Some(last) = self.last.take() else {
            return Ok(None);
        };
        check_digest(self.digester.clone().finish(), &self.blob.digest)?;
        self.upload.finish(Ok(()));
        Ok(Some(last))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn few_large_copies_or_many_small_ones_run_at_once() {
        let client = Client::for_tests().unwrap();
        let large = LargeUploads::new(client, Events::silent());
        for (size, most) in [
            (u64::MAX, 6),
            (1 << 20, 6),
            (512 << 10, 12),
            (128 << 10, 48),
        ] {
            let mut running = Vec::new();
            while let Some(memory) = large.memory_for(size).now_or_never() {
                running.push(memory.unwrap());
            }
            assert_eq!(running.len(), most, "{size}");
        }
        assert!(large.memory_for(0).now_or_never().is_some());
    }
}
