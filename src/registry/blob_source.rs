//! The source of a blob: a repository or a file. It is read from its start, or from a later byte.

use std::path::Path;

use super::blobs::blob_request;
use super::classify::{Presence, presence};
use super::error::RegistryErrorKind;
use super::integrity::check_size;
use super::redirects::open_blob;
use super::sender::{RegistryRequest, RequestSender};
use super::stream::Stream;
use crate::domain::{Descriptor, Repository};
use crate::http::Response;

/// The source of a blob.
#[derive(Clone, Copy)]
pub(super) enum BlobSource<'a> {
    Repository(&'a Repository),
    File(&'a Path),
}

impl BlobSource<'_> {
    /// Opens the source once, at the byte `start`, or at 0 if it does not support that. Returns its first byte.
    pub(super) async fn open(
        &self,
        sender: &RequestSender,
        blob: &Descriptor,
        start: u64,
    ) -> Result<(Stream, u64), RegistryErrorKind> {
        match self {
            Self::File(path) => {
                let (stream, length) = Stream::of_file(path, start)?;
                check_size(length, blob)?;
                Ok((stream, start))
            }
            Self::Repository(from) => {
                let request = RegistryRequest {
                    first_byte: start,
                    ..blob_request(from, &blob.digest, blob.size)
                };
                let response = open_blob(sender, &request).await?;
                let first = first_byte(&response.head, start)?;
                if let Some(length) = response.length() {
                    check_size(length.saturating_add(first), blob)?;
                }
                Ok((Stream::Response(Box::new(response)), first))
            }
        }
    }
}

/// Returns the first byte of the blob in a response to a request for the bytes from `start` on.
///
/// SPEC: RFC 9110, 14.2: a server may ignore the range, and then answers 200.
fn first_byte(response: &Response, start: u64) -> Result<u64, RegistryErrorKind> {
    let range = response.header("content-range").unwrap_or_default();
    if start > 0 && response.status == 206 && range.starts_with(&format!("bytes {start}-")) {
        return Ok(start);
    }
    match presence(response) {
        Presence::Present => Ok(0),
        Presence::Absent | Presence::Unknown => Err(RegistryErrorKind::refused(response)),
    }
}
