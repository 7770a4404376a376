//! Blobs that are too large to be held: their bytes pass from an answer or a file into one request, and are counted and digested
//! as they pass. The last piece is held back until all of them are known to be right, so that nobody, however little it
//! checks itself, ever has the whole of a wrong blob.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Request};

use super::client::Registry;
use super::downloads::{check_digest, check_size};
use super::error::Fault;
use super::opened::Opened;
use super::stream::Stream;
use super::wire::{Answer, ERROR_MAX_BYTES, authority, unreachable};
use crate::domain::{Descriptor, Digester, Events};
use crate::http::{Client, STALL_TIMEOUT, Unanswered, UnansweredKind, Watch};

/// How long a registry may take to store what it has got whole: those that keep blobs elsewhere copy them there then.
const COMMIT: Duration = Duration::from_mins(5);

/// The large uploads of a run.
#[derive(Debug)]
pub(super) struct Uploads {
    http: Client,
    events: Events,
    passages: Mutex<Vec<Weak<Passage>>>,
}

/// How far the large blobs are that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many there are.
    pub blobs: usize,
    /// The bytes that have passed.
    pub bytes: u64,
    /// All of their bytes.
    pub of: u64,
}

/// What is known of a blob on its way.
#[derive(Debug, Default)]
pub(super) struct Passage {
    bytes: AtomicU64,
    of: u64,
    /// Set once: nothing was wrong with it to its end, or what was.
    end: Mutex<Option<Result<(), Fault>>>,
}

/// The state of the stream that the bodies of requests are made of.
#[derive(Debug)]
pub(super) struct Pieces {
    source: Stream,
    blob: Descriptor,
    passage: Arc<Passage>,
    digester: Digester,
    /// How many bytes have come.
    arrived: u64,
    held: Option<Bytes>,
}

impl Uploads {
    pub(super) fn new(http: Client, events: Events) -> Self {
        Self {
            http,
            events,
            passages: Mutex::default(),
        }
    }

    /// Gets `source` ready, which must be `blob`. What is wrong with it is found in the [`Passage`], whatever comes of the
    /// requests that carry it.
    pub(super) fn begin(&self, source: Stream, blob: &Descriptor) -> (Arc<Passage>, Pieces) {
        let passage = Arc::new(Passage {
            of: blob.size,
            ..Passage::default()
        });
        if let Ok(mut passages) = self.passages.lock() {
            passages.retain(|passage| passage.strong_count() > 0);
            passages.push(Arc::downgrade(&passage));
        }
        let pieces = Pieces {
            source,
            blob: blob.clone(),
            passage: Arc::clone(&passage),
            digester: Digester::default(),
            arrived: 0,
            held: None,
        };
        (passage, pieces)
    }

    /// How far the blobs are that are under way; `None` where there are none.
    fn progress(&self) -> Option<Progress> {
        let passages = self.passages.lock().ok()?;
        let passages: Vec<_> = passages.iter().filter_map(Weak::upgrade).collect();
        let passed = passages.iter();
        let passed = passed.map(|passage| passage.bytes.load(Ordering::Relaxed));
        (!passages.is_empty()).then(|| Progress {
            blobs: passages.len(),
            bytes: passed.fold(0, u64::saturating_add),
            // What a descriptor says may be anything.
            of: passages
                .iter()
                .map(|passage| passage.of)
                .fold(0, u64::saturating_add),
        })
    }

    /// Sends `request` once, with a `body` of `length` bytes that belong to `passage`. It may take as long as something
    /// moves.
    pub(super) async fn send(
        &self,
        mut request: Request,
        body: Body,
        length: u64,
        passage: &Passage,
    ) -> Result<Answer, Fault> {
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        self.watch(request, passage).await
    }

    async fn watch(&self, request: Request, passage: &Passage) -> Result<Answer, Fault> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let stalled = |_| Fault::Unreachable {
            host: authority(&url),
            unanswered: Unanswered {
                cause: "it does not take what is uploaded".to_owned(),
                kind: UnansweredKind::Silence,
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
                Ok(sent) => break sent.map_err(|unanswered| unreachable(&url, unanswered))?,
                Err(_) if passage.bytes.load(Ordering::Relaxed) > passed => (),
                Err(elapsed) => return Err(stalled(elapsed)),
            }
        };
        let answer = async {
            let opened = Opened::new(response, &method, url.clone(), watch, None).await?;
            opened.read(ERROR_MAX_BYTES).await
        };
        tokio::time::timeout(STALL_TIMEOUT, answer)
            .await
            .map_err(stalled)?
    }
}

impl Registry {
    /// How far the large blobs are that are being uploaded; `None` where there are none.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.wire().uploads.progress()
    }
}

impl Passage {
    /// Whether all of the blob has passed, and was right.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.end.lock().as_deref(), Ok(Some(Ok(()))))
    }

    /// What was wrong with what came, if anything was.
    pub(super) fn fault(&self) -> Option<Fault> {
        let end = self.end.lock().ok()?;
        end.as_ref()?.as_ref().err().cloned()
    }

    fn finish(&self, end: Result<(), Fault>) {
        if let Ok(mut own) = self.end.lock() {
            *own = Some(end);
        }
    }
}

impl Pieces {
    /// All of them, as one body.
    pub(super) fn body(self) -> Body {
        Body::wrap_stream(try_unfold(self, async |mut pieces| {
            let piece = pieces.piece().await?;
            Ok::<_, Fault>(piece.map(|piece| (piece, pieces)))
        }))
    }

    /// The next one; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
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

    /// The piece before the one that comes next, or the last one, if everything is right.
    async fn advance(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(piece) = self.source.piece().await? {
            // SECURITY: HTTP/2 may end a body with an empty frame. Held back in place of the last bytes, it would let all of a
            // wrong blob pass.
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
