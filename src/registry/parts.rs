//! Uploads a large blob in several chunks, for hosts that refuse it in one request: proxies in front of a registry have
//! limits. The bytes are streamed once and not kept, as with one request.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::header::{CONTENT_RANGE, HeaderValue};
use reqwest::{Body, Method};
use tokio::sync::Mutex;

use super::client::Registry;
use super::error::RegistryErrorKind;
use super::host_features::Scheme;
use super::large_uploads::{LargeUpload, VerifyingStream};
use super::response::authority;
use super::sided::Sided;
use super::stream::Stream;
use super::upload_session::Upload;
use super::uploads::check_stored;
use crate::domain::Descriptor;
use crate::http::Response;

/// The unsent rest of a blob.
struct Rest {
    pieces: VerifyingStream,
    /// Bytes that did not fit into the last chunk.
    over: Bytes,
}

/// One chunk, from its first byte to the byte after its last.
struct Part {
    rest: Arc<Mutex<Rest>>,
    start: u64,
    end: u64,
}

impl Registry {
    /// Writes the blob into `upload`, chunk by chunk.
    pub(super) async fn put_parts(
        &self,
        upload: &mut Upload,
        source: Stream,
        blob: &Descriptor,
    ) -> Result<(), Sided> {
        let (passage, pieces) = self.wire().uploads.begin(source, blob);
        let over = Bytes::new();
        let rest = Arc::new(Mutex::new(Rest { pieces, over }));
        let mut start = 0;
        while start < blob.size {
            let end = blob.size.min(start.saturating_add(upload.part_bytes));
            let part = Part {
                rest: Arc::clone(&rest),
                start,
                end,
            };
            self.patch(upload, part, &passage).await?;
            start = end;
        }
        let question = upload.last_question(&blob.digest, &[]);
        let stored = self.ask_at(upload, &question).await;
        let stored = stored.and_then(|answer| check_stored(&answer, &blob.digest));
        stored.map_err(Sided::Destination)
    }

    /// Sends one chunk, and continues at the location in the response.
    async fn patch(
        &self,
        upload: &mut Upload,
        part: Part,
        passage: &LargeUpload,
    ) -> Result<(), Sided> {
        let question = upload.question(Method::PATCH);
        let authorization = self.authorization_at(upload, &question).await?;
        // The target is a full address, so this scheme is not used.
        let request = self.request(&question, Scheme::Https, authorization.as_ref());
        let mut request = request.map_err(Sided::Destination)?;
        let (length, last) = (part.end - part.start, part.end - 1);
        let range = HeaderValue::from_str(&format!("{}-{last}", part.start));
        let range = range.unwrap_or(HeaderValue::from_static("0-0"));
        request.headers_mut().insert(CONTENT_RANGE, range);
        let uploads = &self.wire().uploads;
        let answer = uploads.send(request, part.body(), length, passage).await;
        let answer = self.taken(upload, &question, authorization, answer, passage);
        let answer = answer.await?;
        check_taken(&answer, last).map_err(Sided::Destination)?;
        self.go_on(upload, &answer).map_err(Sided::Destination)
    }
}

impl Part {
    fn body(self) -> Body {
        let left = self.end - self.start;
        Body::wrap_stream(try_unfold((self.rest, left), async |(rest, left)| {
            let piece = rest.lock().await.take(left).await?;
            let length = piece.as_ref().map_or(0, length);
            Ok::<_, RegistryErrorKind>(piece.map(|piece| (piece, (rest, left - length))))
        }))
    }
}

impl Rest {
    /// Returns the next piece, of at most `most` bytes. Returns `None` if `most` is 0 or no bytes remain.
    async fn take(&mut self, most: u64) -> Result<Option<Bytes>, RegistryErrorKind> {
        if most == 0 {
            return Ok(None);
        }
        if self.over.is_empty() {
            match self.pieces.piece().await? {
                Some(piece) => self.over = piece,
                None => return Ok(None),
            }
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let most = most.min(self.over.len());
        Ok(Some(self.over.split_to(most)))
    }
}

fn length(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

/// Checks that the registry accepted the whole chunk, if the response states its range.
fn check_taken(answer: &Response, last: u64) -> Result<(), RegistryErrorKind> {
    if !matches!(answer.status.as_u16(), 201 | 202 | 204) {
        return Err(RegistryErrorKind::refused(answer));
    }
    let range = answer.header("range").unwrap_or_default();
    let taken = range.rsplit_once('-').map(|(_, taken)| taken.trim());
    match taken.and_then(|taken| taken.parse::<u64>().ok()) {
        Some(taken) if taken != last => Err(RegistryErrorKind::Partial {
            host: authority(&answer.url),
            taken,
            sent: last,
        }),
        Some(_) | None => Ok(()),
    }
}
