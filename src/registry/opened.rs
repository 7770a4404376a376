//! An answer of which only the head has come: what it says decides whether, and how, the rest is read.

use bytes::Bytes;
use reqwest::{Response, Url};

use super::error::Fault;
use super::wire::{Answer, ERROR_MAX_BYTES, broken};
use crate::http::{HttpError, cause_text, read, read_start};

/// An answer whose body, if it is a success, has not been read.
#[derive(Debug)]
pub(super) struct Opened {
    /// All but the body of a success.
    pub(super) answer: Answer,
    rest: Option<Response>,
}

impl Opened {
    /// Takes `response` from `url`. What is no success is read at once, as the text of an error.
    pub(super) async fn new(response: Response, url: Url) -> Result<Self, Fault> {
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, rest) = if status.is_success() {
            (Vec::new(), Some(response))
        } else {
            let body = read_start(response, ERROR_MAX_BYTES).await;
            (body.map_err(|source| broken(&url, source))?, None)
        };
        let answer = Answer {
            url,
            status,
            headers,
            body,
        };
        Ok(Self { answer, rest })
    }

    /// Reads what is left to read, of at most `limit` bytes.
    pub(super) async fn read(self, limit: u64) -> Result<Answer, Fault> {
        let Self { mut answer, rest } = self;
        if let Some(rest) = rest {
            let body = read(rest, limit).await;
            answer.body = body.map_err(|source| broken(&answer.url, source))?;
        }
        Ok(answer)
    }

    /// How long the body is, where the server says so.
    pub(super) fn length(&self) -> Option<u64> {
        self.rest.as_ref()?.content_length()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(rest) = &mut self.rest else {
            return Ok(None);
        };
        let piece = rest.chunk().await.map_err(|error| HttpError::Broken {
            cause: cause_text(&error),
        });
        piece.map_err(|source| broken(&self.answer.url, source))
    }
}
