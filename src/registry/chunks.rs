//! The chunks of a large blob, for hosts that refuse it in one request: proxies in front of a registry have limits. The
//! bytes are streamed once and not kept, as with one request.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::Body;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use super::error::RegistryErrorKind;
use super::large_uploads::VerifyingStream;
use super::response::authority;
use crate::http::Response;

/// The unsent rest of a blob.
struct Rest {
    content: VerifyingStream,
    /// Bytes that did not fit into the last chunk.
    over: Bytes,
}

/// A blob that is cut into chunks.
pub(super) struct Chunks(Arc<Mutex<Rest>>);

/// One chunk, from its first byte to the byte after its last.
pub(super) struct Chunk {
    rest: Arc<Mutex<Rest>>,
    start: u64,
    end: u64,
}

impl Chunks {
    pub(super) fn new(content: VerifyingStream) -> Self {
        let over = Bytes::new();
        Self(Arc::new(Mutex::new(Rest { content, over })))
    }

    /// Returns the chunk from `start` to before `end`. It must begin at the end of the chunk before, which was sent.
    pub(super) fn chunk(&self, start: u64, end: u64) -> Chunk {
        let rest = Arc::clone(&self.0);
        Chunk { rest, start, end }
    }
}

impl Chunk {
    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Returns the position of the chunk's last byte.
    pub(super) fn last(&self) -> u64 {
        self.end - 1
    }

    /// Returns the value of `Content-Range`.
    pub(super) fn range(&self) -> HeaderValue {
        let range = HeaderValue::from_str(&format!("{}-{}", self.start, self.last()));
        range.unwrap_or(HeaderValue::from_static("0-0"))
    }

    pub(super) fn body(self) -> Body {
        let left = self.length();
        Body::wrap_stream(try_unfold((self.rest, left), async |(rest, left)| {
            let bytes = rest.lock().await.take(left).await?;
            let length = bytes.as_ref().map_or(0, length);
            Ok::<_, RegistryErrorKind>(bytes.map(|bytes| (bytes, (rest, left - length))))
        }))
    }
}

impl Rest {
    /// Returns the next bytes, at most `most` bytes. Returns `None` if `most` is 0 or no bytes remain.
    async fn take(&mut self, most: u64) -> Result<Option<Bytes>, RegistryErrorKind> {
        if most == 0 {
            return Ok(None);
        }
        if self.over.is_empty() {
            match self.content.next_bytes().await? {
                Some(bytes) => self.over = bytes,
                None => return Ok(None),
            }
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let most = most.min(self.over.len());
        Ok(Some(self.over.split_to(most)))
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Checks that the registry accepted the whole chunk, if the response states its range.
pub(super) fn check_range(response: &Response, last: u64) -> Result<(), RegistryErrorKind> {
    if !matches!(response.status.as_u16(), 201 | 202 | 204) {
        return Err(RegistryErrorKind::refused(response));
    }
    let range = response.header("range").unwrap_or_default();
    let last_stored = range
        .rsplit_once('-')
        .map(|(_, last_stored)| last_stored.trim());
    match last_stored.and_then(|last_stored| last_stored.parse::<u64>().ok()) {
        Some(last_stored) if last_stored != last => Err(RegistryErrorKind::Partial {
            host: authority(&response.url),
            taken: last_stored,
            sent: last,
        }),
        Some(_) | None => Ok(()),
    }
}
