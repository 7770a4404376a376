//! A response whose body has not been read. It is read in pieces, each within a time limit.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;

use super::{Response, TransportError};

/// The head of a response, and the body that follows it.
///
/// Only the time that a caller waits for a piece counts as silence of the server. reqwest's own timeout also counts the
/// time between two pieces when no caller reads.
#[derive(Debug)]
pub struct IncomingResponse {
    pub(super) inner: reqwest::Response,
    /// The longest silence of the server within the body.
    pub(super) silence: Duration,
}

impl IncomingResponse {
    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Returns this response without its body.
    #[must_use]
    pub fn head(&self) -> Response {
        Response {
            url: self.inner.url().clone(),
            status: self.inner.status(),
            headers: self.inner.headers().clone(),
            body: Vec::new(),
        }
    }

    /// Returns the length of the body in bytes, if the server announces it. It is meaningless for a HEAD, which has no
    /// body: 0 over HTTP/1.1, the header's value over HTTP/2.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.inner.content_length()
    }

    /// Reads the next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match tokio::time::timeout(self.silence, self.inner.chunk()).await {
            Ok(read) => read.map_err(|error| TransportError::of(&error)),
            Err(_) => Err(TransportError::silent(self.silence)),
        }
    }
}
