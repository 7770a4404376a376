//! Uploads blobs that are too large for memory. Their bytes are streamed from a response or a file into a request. They
//! are counted and hashed on the way, and the last piece is sent only after size and digest match. No registry ever has
//! the whole of a corrupt blob, even if it checks little itself.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Request};

use super::error::RegistryErrorKind;
use super::integrity::{check_digest, check_size};
use super::response::{ERROR_MAX_BYTES, authority, unreachable};
use super::stream::Stream;
use super::streaming_response::StreamingResponse;
use crate::domain::{Descriptor, Digester, Events};
use crate::http::{Client, Response, STALL_TIMEOUT, TransportError, TransportErrorKind, Watch};

/// The longest time for a registry to store a complete upload. Some registries then copy the blob to another storage.
const COMMIT: Duration = Duration::from_mins(5);

/// The large uploads of a run.
#[derive(Debug)]
pub(super) struct LargeUploads {
    http: Client,
    events: Events,
    passages: Mutex<Vec<Weak<LargeUpload>>>,
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
    passage: Arc<LargeUpload>,
    digester: Digester,
    /// The number of bytes received.
    arrived: u64,
    held: Option<Bytes>,
}

impl LargeUploads {
    pub(super) fn new(http: Client, events: Events) -> Self {
        Self {
            http,
            events,
            passages: Mutex::default(),
        }
    }

    /// Prepares `source`, whose content must be `blob`. Errors of the content are in the [`LargeUpload`], whatever the
    /// result of the requests.
    pub(super) fn begin(
        &self,
        source: Stream,
        blob: &Descriptor,
    ) -> (Arc<LargeUpload>, VerifyingStream) {
        let passage = Arc::new(LargeUpload {
            of: blob.size,
            ..LargeUpload::default()
        });
        if let Ok(mut passages) = self.passages.lock() {
            passages.retain(|passage| passage.strong_count() > 0);
            passages.push(Arc::downgrade(&passage));
        }
        let pieces = VerifyingStream {
            source,
            blob: blob.clone(),
            passage: Arc::clone(&passage),
            digester: Digester::default(),
            arrived: 0,
            held: None,
        };
        (passage, pieces)
    }

    /// Returns the progress of the open uploads, or `None` if there are none.
    pub(super) fn progress(&self) -> Option<Progress> {
        let passages = self.passages.lock().ok()?;
        let passages: Vec<_> = passages.iter().filter_map(Weak::upgrade).collect();
        let passed = passages.iter();
        let passed = passed.map(|passage| passage.bytes.load(Ordering::Relaxed));
        (!passages.is_empty()).then(|| Progress {
            blobs: passages.len(),
            bytes: passed.fold(0, u64::saturating_add),
            // A descriptor may state any size.
            of: passages
                .iter()
                .map(|passage| passage.of)
                .fold(0, u64::saturating_add),
        })
    }

    /// Sends `request` once, with a `body` of `length` bytes that belong to `passage`. It may take any time while bytes
    /// move.
    pub(super) async fn send(
        &self,
        mut request: Request,
        body: Body,
        length: u64,
        passage: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        self.watch(request, passage).await
    }

    async fn watch(
        &self,
        request: Request,
        passage: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let stalled = |_| RegistryErrorKind::Unreachable {
            host: authority(&url),
            error: TransportError {
                cause: "it does not accept the upload".to_owned(),
                kind: TransportErrorKind::Silence,
                through: None,
                certificate: None,
            },
        };
        let watch = Watch::start(&self.events, &request);
        let mut sending = pin!(self.http.upload(request));
        let response = loop {
            let passed = passage.bytes.load(Ordering::Relaxed);
            let is_whole = passage.is_whole();
            let limit = if is_whole { COMMIT } else { STALL_TIMEOUT };
            match tokio::time::timeout(limit, &mut sending).await {
                Ok(sent) => break sent.map_err(|error| unreachable(&url, error))?,
                Err(_) if passage.bytes.load(Ordering::Relaxed) > passed => (),
                Err(elapsed) => return Err(stalled(elapsed)),
            }
        };
        let read = async {
            let stream = StreamingResponse::new(response, &method, watch, None).await?;
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
    pub(super) fn fault(&self) -> Option<RegistryErrorKind> {
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
    /// Returns all pieces as one body.
    pub(super) fn body(self) -> Body {
        Body::wrap_stream(try_unfold(self, async |mut pieces| {
            let piece = pieces.piece().await?;
            Ok::<_, RegistryErrorKind>(piece.map(|piece| (piece, pieces)))
        }))
    }

    /// Returns the next piece, or `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        let next = self.advance().await;
        match &next {
            Ok(Some(piece)) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.passage.bytes.fetch_add(length, Ordering::Relaxed);
            }
            Ok(None) => (),
            Err(fault) => self.passage.finish(Err(fault.clone())),
        }
        next
    }

    /// Returns the piece before the next one, or the last piece if size and digest match.
    async fn advance(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        while let Some(piece) = self.source.piece().await? {
            // SECURITY: HTTP/2 may end a body with an empty frame. If it were kept back instead of the last bytes, a
            // whole corrupt blob would be sent.
            if piece.is_empty() {
                continue;
            }
            self.arrived += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if self.arrived > self.blob.size {
                check_size(self.arrived, &self.blob)?;
            }
            self.digester.add(&piece);
            if let Some(held) = self.held.replace(piece) {
                return Ok(Some(held));
            }
        }
        check_size(self.arrived, &self.blob)?;
        let Some(held) = self.held.take() else {
            return Ok(None);
        };
        check_digest(
            std::mem::take(&mut self.digester).finish(),
            &self.blob.digest,
        )?;
        self.passage.finish(Ok(()));
        Ok(Some(held))
    }
}
