//! An answer of which only the head has come: what it says decides whether, and how, the rest is read.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Fault;
use super::wire::{Answer, ERROR_MAX_BYTES, broken};
use crate::http::{HttpError, Response, Watch, read, read_start};

/// Longer bodies are read a few at a time, so that many that are as long as they may be take no more memory than a few.
const LARGE_BYTES: u64 = 512 * 1024;
/// How many are read at once.
pub(super) const LARGE_AT_ONCE: u32 = 2;
/// Longer ones are read alone.
const HUGE_BYTES: u64 = 4 * 1024 * 1024;

/// The right to have an answer on its way.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) _permit: OwnedSemaphorePermit,
    /// The turns of large bodies.
    pub(super) large: Arc<Semaphore>,
}

/// An answer whose body, if it is a success, has not been read.
#[derive(Debug)]
pub(super) struct Opened {
    /// All but the body of a success.
    pub(super) answer: Answer,
    rest: Option<Response>,
    watch: Watch,
    /// Held while the answer is on its way.
    turn: Option<Turn>,
}

impl Opened {
    /// Takes the `response` to a request for `url`. A body that is no success's is read at once, as the text of an error.
    ///
    /// SPEC: a HEAD has no body, whatever length its headers announce (RFC 9110, 9.3.2). The HTTP library hands that
    /// length on as the body's over HTTP/2, and 0 over HTTP/1.1: so it is not asked.
    pub(super) async fn new(
        response: Response,
        method: &Method,
        url: Url,
        mut watch: Watch,
        turn: Option<Turn>,
    ) -> Result<Self, Fault> {
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, rest) = if *method == Method::HEAD {
            watch.answered(status);
            (Vec::new(), None)
        } else if status.is_success() {
            (Vec::new(), Some(response))
        } else {
            let body = read_start(response, ERROR_MAX_BYTES).await;
            let body = body.map_err(|source| broken(&url, source))?;
            watch.answered(status);
            (body, None)
        };
        let answer = Answer {
            url,
            status,
            headers,
            body,
        };
        // What is read is let go of at once: what follows, such as asking for a token, needs a turn of its own.
        let turn = turn.filter(|_| rest.is_some());
        Ok(Self {
            answer,
            rest,
            watch,
            turn,
        })
    }

    /// Reads what is left to read, of at most `limit` bytes.
    pub(super) async fn read(self, limit: u64) -> Result<Answer, Fault> {
        // What does not say how long it is may be long.
        let may_exceed = |bytes| limit > bytes && self.length().is_none_or(|it| it > bytes);
        let turns = match () {
            () if may_exceed(HUGE_BYTES) => LARGE_AT_ONCE,
            () => u32::from(may_exceed(LARGE_BYTES)),
        };
        let Self {
            mut answer,
            rest,
            mut watch,
            turn,
        } = self;
        if let Some(rest) = rest {
            let _large = match &turn {
                Some(turn) => Arc::clone(&turn.large).acquire_many_owned(turns).await.ok(),
                None => None,
            };
            let body = read(rest, limit).await;
            answer.body = body.map_err(|source| broken(&answer.url, source))?;
            watch.answered(answer.status);
        }
        Ok(answer)
    }

    /// Lets another request go while this body is passed on piece by piece: what takes it needs requests of its own.
    pub(super) fn without_turn(mut self) -> Self {
        self.turn = None;
        self
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
        let broken_off = |unanswered| HttpError::Broken(Box::new(unanswered));
        let piece = rest.chunk().await.map_err(broken_off);
        let piece = piece.map_err(|source| broken(&self.answer.url, source))?;
        if piece.is_none() {
            self.watch.answered(self.answer.status);
        }
        Ok(piece)
    }
}
