//! The chunks of a large blob, for hosts that refuse it in one request: proxies in front of a registry have limits. The
//! bytes are streamed once and not kept, as with one request.

use std::ops::Range;

use reqwest::header::HeaderValue;

use super::error::RegistryErrorKind;
use super::response::authority;
use crate::http::Response;

/// Returns the chunk that begins at `start`, of a blob of `size` bytes.
pub(super) fn chunk(start: u64, size: u64, chunk_bytes: u64) -> Range<u64> {
    start..size.min(start.saturating_add(chunk_bytes))
}

/// Returns the value of `Content-Range` for a chunk, which is not empty.
pub(super) fn content_range(chunk: &Range<u64>) -> HeaderValue {
    let range = HeaderValue::from_str(&format!("{}-{}", chunk.start, chunk.end - 1));
    range.unwrap_or(HeaderValue::from_static("0-0"))
}

/// Checks that the registry accepted the whole chunk, if the response states its range.
pub(super) fn check_range(
    response: &Response,
    chunk: &Range<u64>,
) -> Result<(), RegistryErrorKind> {
    if !matches!(response.status.as_u16(), 201 | 202 | 204) {
        return Err(RegistryErrorKind::refused(response));
    }
    let last = chunk.end - 1;
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

/// Returns the number of bytes that a registry has of an upload, from the `Range` of its status.
///
/// SPEC: `0-<end-of-range>`, the position of the last byte. That leaves no way to state that there is none. distribution
/// and zot then answer `0-0`, olareg `0--1`. Quay answers `bytes=0-<number of bytes>`.
pub(super) fn stored_bytes(range: &str) -> Option<u64> {
    if let Some(count) = range.strip_prefix("bytes=0-") {
        return count.parse().ok();
    }
    match range.strip_prefix("0-")? {
        "0" | "-1" => Some(0),
        last => last.parse::<u64>().ok()?.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_an_upload_is_read_in_each_form() {
        for (range, bytes) in [
            ("0-4194303", Some(4_194_304)),
            ("0-0", Some(0)),
            ("0--1", Some(0)),
            ("bytes=0-0", Some(0)),
            ("bytes=0-4194304", Some(4_194_304)),
            ("", None),
            ("0-", None),
            ("5-9", None),
            ("0-x", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(stored_bytes(range), bytes, "{range}");
        }
    }

    #[test]
    fn chunks_end_with_the_blob() {
        assert_eq!(chunk(0, 10, 4), 0..4);
        assert_eq!(chunk(8, 10, 4), 8..10);
        assert_eq!(chunk(8, u64::MAX, u64::MAX), 8..u64::MAX);
        assert_eq!(content_range(&(4..8)), "4-7");
    }
}
