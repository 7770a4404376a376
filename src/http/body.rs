//! Reads bodies up to a limit. `Content-Length` is only a claim, so the bytes that arrive are counted.

use super::{IncomingResponse, TransportError};

/// The reason why a body was not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BodyError {
    /// The body broke off or did not arrive in time.
    #[error("the response was cut off: {}", .0.cause)]
    Broken(Box<TransportError>),
    /// The body is longer than the limit.
    #[error("the response exceeds {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
}

impl From<TransportError> for BodyError {
    fn from(error: TransportError) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// Reads the body of `response`, which must not be longer than `limit` bytes.
pub async fn read(response: IncomingResponse, limit: u64) -> Result<Vec<u8>, BodyError> {
    if response
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(BodyError::TooLong { limit });
    }
    let (body, cut) = read_until(response, limit).await?;
    if cut {
        Err(BodyError::TooLong { limit })
    } else {
        Ok(body)
    }
}

/// Reads the first `limit` bytes of the body of `response` and ignores the rest. That is enough for the text of an
/// error.
pub async fn read_start(response: IncomingResponse, limit: u64) -> Result<Vec<u8>, BodyError> {
    Ok(read_until(response, limit).await?.0)
}

async fn read_until(
    mut response: IncomingResponse,
    limit: u64,
) -> Result<(Vec<u8>, bool), BodyError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Reserve the announced length, up to the limit: growing step by step would take up to twice the memory.
    let announced = response.content_length().unwrap_or_default();
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(limit).min(limit));
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend_from_slice(chunk.get(..room).unwrap_or_default());
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(body: &'static str) -> IncomingResponse {
        // A body made from a stream has no length in advance, as with chunked encoding.
        let chunks = futures_util::stream::iter(
            body.as_bytes()
                .chunks(3)
                .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())),
        );
        http_response(reqwest::Body::wrap_stream(chunks))
    }

    fn http_response(body: reqwest::Body) -> IncomingResponse {
        IncomingResponse {
            inner: ::http::Response::new(body).into(),
            silence: Duration::from_secs(30),
        }
    }

    #[tokio::test]
    async fn body_of_exactly_the_bound_is_read_and_one_more_byte_is_not() {
        assert_eq!(read(response("12345678"), 8).await.unwrap(), b"12345678");
        let error = read(response("123456789"), 8).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLong { limit: 8 }), "{error}");
    }

    #[tokio::test]
    async fn start_of_a_long_body_is_all_that_is_kept() {
        assert_eq!(read_start(response("123456789"), 4).await.unwrap(), b"1234");
        assert_eq!(read_start(response("12"), 4).await.unwrap(), b"12");
    }
}
