//! The bytes of a large blob on their way to a registry. They are counted and hashed, and the last ones are passed on
//! only after size and digest match. No registry ever has the whole of a corrupt blob, even if it checks little itself.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use reqwest::Body;
use tokio::sync::Mutex;

use super::error::{ContentError, RegistryErrorKind};
use super::integrity::{check_digest, check_size};
use super::large_uploads::LargeUpload;
use super::prefix::Prefix;
use super::stream::Stream;
use crate::domain::Descriptor;

/// The content of a blob, read once from its source.
#[derive(Debug)]
pub(super) struct VerifyingStream {
    source: Stream,
    blob: Descriptor,
    upload: Arc<LargeUpload>,
    /// The bytes that were passed on or skipped.
    passed: Prefix,
    /// The bytes from the source that were not passed on.
    ready: Bytes,
    /// The number of bytes up to which the source was read.
    arrived: u64,
    /// The bytes that an earlier read of the source passed on. This one must meet the same.
    earlier: Vec<Prefix>,
}

/// A stream that is passed on in the bodies of several requests, one after the other.
#[derive(Debug, Clone)]
pub(super) struct SharedStream(Arc<Mutex<VerifyingStream>>);

impl VerifyingStream {
    /// Wraps `source`, which begins after the bytes `before` of `blob`.
    pub(super) fn new(
        source: Stream,
        blob: &Descriptor,
        upload: &Arc<LargeUpload>,
        before: Prefix,
    ) -> Self {
        Self {
            source,
            blob: blob.clone(),
            upload: Arc::clone(upload),
            arrived: before.length,
            passed: before,
            ready: Bytes::new(),
            earlier: Vec::new(),
        }
    }

    /// Reads up to the byte `end` and passes nothing on: an earlier read has passed on the bytes up to there, and those
    /// of `earlier`.
    ///
    /// SECURITY: the rest must be of the same content, or the registry would have a mix of both.
    pub(super) async fn skip(
        &mut self,
        end: u64,
        earlier: Vec<Prefix>,
    ) -> Result<(), RegistryErrorKind> {
        self.earlier = earlier;
        while self.passed.length < end {
            self.advance(end - self.passed.length).await?;
        }
        self.upload.pass(&self.passed)
    }

    /// Returns the next bytes, at most `most`. Returns `None` at the end.
    async fn next_bytes(&mut self, most: u64) -> Result<Option<Bytes>, RegistryErrorKind> {
        match self.advance(most).await {
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => {
                self.upload.pass(&self.passed)?;
                Ok(Some(bytes))
            }
            Err(kind) => {
                self.upload.fail(&kind);
                Err(kind)
            }
        }
    }

    /// Takes the next bytes, at most `most`; none at the end.
    async fn advance(&mut self, most: u64) -> Result<Bytes, RegistryErrorKind> {
        if self.ready.is_empty() {
            self.ready = self.read().await?;
        }
        let known = self.earlier.iter().map(|earlier| earlier.length);
        let ahead = known.filter(|length| *length > self.passed.length);
        let most = ahead
            .map(|end| end - self.passed.length)
            .fold(most, u64::min);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let bytes = self.ready.split_to(most.min(self.ready.len()));
        self.passed.add(&bytes);
        self.check()?;
        Ok(bytes)
    }

    /// Reads the next bytes from the source. The last ones are returned only once the source has ended.
    async fn read(&mut self) -> Result<Bytes, RegistryErrorKind> {
        let mut last = Bytes::new();
        while let Some(bytes) = self.source.next_bytes().await? {
            self.arrived += length(&bytes);
            if self.arrived > self.blob.size {
                check_size(self.arrived, &self.blob)?;
            }
            // SECURITY: HTTP/2 may end a body with an empty frame, which is not the last content.
            if bytes.is_empty() {
                continue;
            }
            if self.arrived < self.blob.size {
                return Ok(bytes);
            }
            last = bytes;
        }
        check_size(self.arrived, &self.blob)?;
        Ok(last)
    }

    /// Checks the passed bytes wherever they must have a known digest.
    fn check(&self) -> Result<(), ContentError> {
        let is_met = |earlier: &&Prefix| earlier.length == self.passed.length;
        for earlier in self.earlier.iter().filter(is_met) {
            let (computed, claimed) = (self.passed.digest(), earlier.digest());
            if computed != claimed {
                return Err(ContentError::Digest {
                    computed,
                    claimed: claimed.to_string(),
                    claimant: "the same bytes when they were sent before",
                });
            }
        }
        if self.passed.length == self.blob.size {
            check_digest(self.passed.digest(), &self.blob.digest)?;
        }
        Ok(())
    }
}

impl SharedStream {
    pub(super) fn new(content: VerifyingStream) -> Self {
        Self(Arc::new(Mutex::new(content)))
    }

    /// Returns the next bytes as a body of `length` bytes. The body before it must have been sent.
    pub(super) fn body(&self, length: u64) -> Body {
        let start = (Arc::clone(&self.0), length);
        Body::wrap_stream(try_unfold(start, async |(content, left)| {
            if left == 0 {
                return Ok::<_, RegistryErrorKind>(None);
            }
            let bytes = content.lock().await.next_bytes(left).await?;
            let taken = bytes.as_ref().map_or(0, self::length);
            Ok(bytes.map(|bytes| (bytes, (content, left - taken))))
        }))
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
