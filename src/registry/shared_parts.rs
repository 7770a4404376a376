//! The parts of a blob that one task reads for several destinations, on their way to one of them.

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::error::RegistryErrorKind;

/// The number of parts that may wait for one destination. All destinations share the memory of a part.
pub(super) const PARTS_WAITING: usize = 4;

/// A part, the end of the blob, or the error that ended the read.
pub(super) type ReadPart = Result<Option<Bytes>, RegistryErrorKind>;

/// The parts for one destination.
#[derive(Debug)]
pub(super) struct SharedParts {
    /// The host that they are read from.
    host: String,
    parts: Receiver<ReadPart>,
}

impl SharedParts {
    /// Returns the queue of one destination, for parts that are read from `host`, and the end that they are put into.
    pub(super) fn queue(host: String) -> (Sender<ReadPart>, Self) {
        let (sender, parts) = channel(PARTS_WAITING);
        (sender, Self { host, parts })
    }

    /// Returns the next part, or `None` at the end of the blob.
    pub(super) async fn next(&mut self) -> ReadPart {
        self.parts.recv().await.unwrap_or_else(|| {
            Err(RegistryErrorKind::LeftOut {
                host: self.host.clone(),
            })
        })
    }
}
