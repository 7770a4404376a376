//! Frames that are added to the HTTP/2 library's output, because the library would not send them itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Frames that are not yet written.
#[derive(Clone, Default)]
pub(crate) struct Injection(Arc<Mutex<Vec<u8>>>);

/// A connection whose writer adds the frames.
pub(crate) struct Injected<IO> {
    io: IO,
    injection: Injection,
}

impl Injection {
    /// Adds a `GOAWAY`: streams after `last` are not processed.
    pub(crate) fn go_away(&self, last: u32, reason: Reason) {
        // SPEC: RFC 9113, 4.1 and 6.8: length, type, flags, stream 0; last stream, code.
        let head = [0, 0, 8, 7, 0, 0, 0, 0, 0];
        let mut frames = self.frames();
        frames.extend(head);
        frames.extend(last.to_be_bytes());
        frames.extend(u32::from(reason).to_be_bytes());
    }

    /// True if no frame is left to write.
    pub(crate) fn is_sent(&self) -> bool {
        self.frames().is_empty()
    }

    fn frames(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<IO> Injected<IO> {
    pub(crate) fn new(io: IO, injection: Injection) -> Self {
        Self { io, injection }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Injected<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Injected<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    /// Writes the frames. The library flushes only after it has written whole frames.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, injection } = &mut *self;
        let mut frames = injection.frames();
        while !frames.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(context, &frames))?;
            frames.drain(..written);
        }
        drop(frames);
        Pin::new(io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
