//! A response with only its head read. The head decides whether and how the body is read.

use bytes::Bytes;
use reqwest::Method;

use super::error::RegistryErrorKind;
use super::permits::{LARGE_AT_ONCE, Permit};
use super::response::{ERROR_MAX_BYTES, broken};
use crate::http::{IncomingResponse, RequestTimer, Response, read, read_start};

/// Bodies longer than this are read a few at a time. Many large bodies then use no more memory than a few.
const LARGE_BYTES: u64 = 512 * 1024;
/// Bodies longer than this are read alone.
const HUGE_BYTES: u64 = 4 * 1024 * 1024;

/// A response whose body, if it is a success, has not been read.
#[derive(Debug)]
pub(super) struct StreamingResponse {
    /// The response without the body of a success.
    pub(super) head: Response,
    rest: Option<IncomingResponse>,
    timer: RequestTimer,
    /// The permit, kept while the response is in flight.
    permit: Option<Permit>,
}

impl StreamingResponse {
    /// Wraps the `response` to a request with `method`. The body of an error response is read at once.
    ///
    /// SPEC: a HEAD has no body, whatever length its headers announce (RFC 9110, 9.3.2). The HTTP library reports that
    /// length over HTTP/2, and 0 over HTTP/1.1, so it is ignored.
    pub(super) async fn new(
        response: IncomingResponse,
        method: &Method,
        mut timer: RequestTimer,
        permit: Option<Permit>,
    ) -> Result<Self, RegistryErrorKind> {
        let duration = permit.as_ref().map(Permit::elapsed);
        let mut head = response.head();
        let status = head.status;
        let rest = if *method == Method::HEAD {
            timer.answered(status);
            None
        } else if status.is_success() {
            Some(response)
        } else {
            let body = read_start(response, ERROR_MAX_BYTES).await;
            head.body = body.map_err(|source| broken(&head.url, source))?;
            timer.answered(status);
            None
        };
        if let (Some(permit), Some(duration)) = (&permit, duration) {
            permit.observe(method, &head, duration);
        }
        // Release the permit of a response that was read to its end. The next step, such as a token request, needs its
        // own permit.
        let permit = permit.filter(|_| rest.is_some());
        Ok(Self {
            head,
            rest,
            timer,
            permit,
        })
    }

    /// Reads the rest of the body, of at most `limit` bytes.
    pub(super) async fn read(self, limit: u64) -> Result<Response, RegistryErrorKind> {
        // A body without a stated length may be long.
        let may_exceed = |bytes| limit > bytes && self.length().is_none_or(|it| it > bytes);
        let large_permits = match () {
            () if may_exceed(HUGE_BYTES) => LARGE_AT_ONCE,
            () => u32::from(may_exceed(LARGE_BYTES)),
        };
        let Self {
            mut head,
            rest,
            mut timer,
            permit,
        } = self;
        if let Some(rest) = rest {
            let _large = match &permit {
                Some(permit) => permit.large(large_permits).await,
                None => None,
            };
            let body = read(rest, limit).await;
            head.body = body.map_err(|source| broken(&head.url, source))?;
            timer.answered(head.status);
        }
        Ok(head)
    }

    /// Releases the permit while the body is streamed: the receiver needs requests of its own.
    pub(super) fn release_permit(mut self) -> Self {
        self.permit = None;
        self
    }

    /// Returns the length of the body, if the server states it.
    pub(super) fn length(&self) -> Option<u64> {
        self.rest.as_ref()?.content_length()
    }

    /// Returns the next bytes of the body, or `None` at its end.
    pub(super) async fn next_bytes(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        let Some(rest) = &mut self.rest else {
            return Ok(None);
        };
        let bytes = rest.chunk().await;
        let bytes = bytes.map_err(|error| broken(&self.head.url, error.into()))?;
        if bytes.is_none() {
            self.timer.answered(self.head.status);
        }
        Ok(bytes)
    }
}
