//! Response bodies: whole, cut or stalled in the middle, or endless.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

const ENDLESS_CHUNK: [u8; 16 * 1024] = [b' '; 16 * 1024];

/// The body of a response.
pub(crate) struct Payload {
    bytes: Option<Bytes>,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Proper,
    DroppedSoon,
    Dropped,
    Never,
    Stalled,
}

impl Payload {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            end: End::Proper,
        }
    }

    pub(crate) fn cut(mut bytes: Bytes) -> Self {
        bytes.truncate(bytes.len() / 2);
        Self {
            bytes: Some(bytes),
            end: End::DroppedSoon,
        }
    }

    pub(crate) fn stalled(bytes: Bytes) -> Self {
        Self {
            end: End::Stalled,
            ..Self::cut(bytes)
        }
    }

    pub(crate) fn endless(bytes: Bytes) -> Self {
        Self {
            bytes: Some(bytes),
            end: End::Never,
        }
    }
}

impl http_body::Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.end {
            End::Proper => Poll::Ready(None),
            End::DroppedSoon => {
                // One poll without a frame lets the buffered half reach the client: an error would drop it.
                self.end = End::Dropped;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            // Nothing wakes it: the connection ends instead.
            End::Stalled => Poll::Pending,
            End::Dropped => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            End::Never => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ENDLESS_CHUNK))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Proper && self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match (self.end, &self.bytes) {
            (End::Proper, Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            (End::Proper, None) => SizeHint::with_exact(0),
            (End::DroppedSoon | End::Dropped | End::Never | End::Stalled, _) => SizeHint::default(),
        }
    }
}
