//! An answer whose body is read piece by piece, each of which must come in time.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::Unanswered;

/// The head of an answer, and the body that follows it.
///
/// Only the time that a caller waits for a piece counts as silence of the server: reqwest's own timeout counts the time
/// between two pieces in which nobody reads, too.
#[derive(Debug)]
pub struct Response {
    pub(super) inner: reqwest::Response,
    /// How long the server may be silent within the body.
    pub(super) silence: Duration,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers; no trailers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The length of the body in bytes that the server announces, if it does. Of no use for a HEAD, which has no body: over HTTP/1.1
    /// it is 0 there, over HTTP/2 what the header says.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.inner.content_length()
    }

    /// Reads the next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Unanswered> {
        match tokio::time::timeout(self.silence, self.inner.chunk()).await {
            Ok(read) => read.map_err(|error| Unanswered::of(&error)),
            Err(_) => Err(Unanswered::silent(self.silence)),
        }
    }
}
