//! The source of a blob's bytes: a response in flight, a file, or a read for several destinations.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{ContentError, RegistryErrorKind};
use super::shared_parts::SharedParts;
use super::streaming_response::StreamingResponse;

/// The number of bytes read from a file at once.
const FILE_READ_BYTES: usize = 128 * 1024;

/// A source of bytes that is read part by part.
#[derive(Debug)]
pub(super) enum Stream {
    Response(Box<StreamingResponse>),
    File(File),
    Shared(SharedParts),
}

impl Stream {
    /// Opens a file at the byte `start`, and returns its whole length too.
    pub(super) fn of_file(path: &Path, start: u64) -> Result<(Self, u64), RegistryErrorKind> {
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        Ok((Self::File(file), length))
    }

    /// Reads the whole source, of at most `limit` bytes.
    pub(super) async fn read(self, limit: u64) -> Result<Vec<u8>, RegistryErrorKind> {
        match self {
            Self::Response(response) => Ok((*response).read(limit).await?.body),
            Self::File(file) => {
                let mut bytes = Vec::new();
                // Read one extra byte, to detect content that is too long.
                let mut some = file.take(limit.saturating_add(1));
                some.read_to_end(&mut bytes).map_err(unreadable)?;
                Ok(bytes)
            }
            Self::Shared(mut parts) => {
                let mut bytes = Vec::new();
                while let Some(part) = parts.next().await? {
                    bytes.extend_from_slice(&part);
                    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
                        break;
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// Releases the permit: see [`StreamingResponse::release_permit`].
    pub(super) fn release_permit(self) -> Self {
        match self {
            Self::Response(response) => Self::Response(Box::new(response.release_permit())),
            Self::File(_) | Self::Shared(_) => self,
        }
    }

    /// Returns the next bytes, or `None` at the end.
    pub(super) async fn next_bytes(&mut self) -> Result<Option<Bytes>, RegistryErrorKind> {
        match self {
            Self::Response(response) => response.next_bytes().await,
            Self::File(file) => {
                let mut bytes = vec![0; FILE_READ_BYTES];
                let length = file.read(&mut bytes).map_err(unreadable)?;
                bytes.truncate(length);
                Ok((length > 0).then(|| bytes.into()))
            }
            Self::Shared(parts) => parts.next().await,
        }
    }
}

fn unreadable(error: io::Error) -> RegistryErrorKind {
    ContentError::File(Arc::new(error)).into()
}
