//! Uploads blobs that are too large for memory. Their bytes are streamed from a response or a file into requests
//! (`VerifyingStream`). Each request may take any time while bytes move.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::RegistryErrorKind;
use super::prefix::Prefix;
use super::response::{ERROR_MAX_BYTES, authority, unreachable};
use super::streaming_response::StreamingResponse;
use crate::domain::{Descriptor, Events, Host};
use crate::http::{Client, RequestTimer, Response, ServerTask, TransportError, TransportErrorKind};

/// The permits for the blobs that are sent to one host at the same time: six small ones, or two large ones. A run that is
/// stopped loses what it has sent of each.
const PERMITS: u32 = 12;
/// The permits that a blob takes. Beyond [`SMALL_BYTES`] each doubling of its size takes one more.
const PERMITS_OF_A_BLOB: RangeInclusive<u32> = 2..=6;
const SMALL_BYTES: u64 = 4 << 20;

/// The most bytes that one copy of a blob keeps in memory: those that arrived and are not sent yet.
const COPY_MAX_BYTES: u64 = 1 << 20;
/// The number of copies of large blobs that run at once. More of them would share the same bandwidth.
const LARGE_COPIES_MAX: u64 = 6;
/// The unit of the permits for memory.
const MEMORY_UNIT_BYTES: u64 = 1024;
const MEMORY_UNITS: u64 = LARGE_COPIES_MAX * COPY_MAX_BYTES / MEMORY_UNIT_BYTES;

/// The large uploads of a run.
#[derive(Debug)]
pub(super) struct LargeUploads {
    http: Client,
    events: Events,
    permits: Mutex<BTreeMap<Host, Arc<Semaphore>>>,
    uploads: Mutex<Vec<Weak<LargeUpload>>>,
    /// The memory for copies of blobs, small ones included.
    memory: Arc<Semaphore>,
}

/// The progress of all large uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of blobs.
    pub blobs: usize,
    /// The number of bytes sent so far.
    pub bytes: u64,
    /// The number of bytes of all blobs.
    pub of: u64,
}

/// The state of one large upload, which its content and its requests share.
#[derive(Debug)]
pub(super) struct LargeUpload {
    of: u64,
    state: Mutex<LargeUploadState>,
}

/// The right to send a blob to a host, and the memory for it. It ends with the last byte, so that a registry that takes
/// long to store a blob delays no other.
#[derive(Debug, Default)]
pub(super) struct Slot {
    _at_host: HostSlot,
    _memory: Memory,
}

/// The right to send a blob to a host. Repositories of the host that get the blob from the same read share it.
#[derive(Debug, Clone, Default)]
pub(super) struct HostSlot {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// The memory for the copy of a blob.
#[derive(Debug, Default)]
pub(super) struct Memory {
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct LargeUploadState {
    slot: Slot,
    /// The bytes that were passed on.
    sent: Prefix,
    /// The error of the content, if there is one.
    failure: Option<RegistryErrorKind>,
    /// True if no more bytes may be passed on.
    is_closed: bool,
}

impl LargeUploads {
    pub(super) fn new(http: Client, events: Events) -> Self {
        Self {
            http,
            events,
            permits: Mutex::default(),
            uploads: Mutex::default(),
            memory: Arc::new(Semaphore::new(
                usize::try_from(MEMORY_UNITS).unwrap_or(usize::MAX),
            )),
        }
    }

    /// Waits until a blob of this size may be sent to `host`, and until there is memory for it.
    pub(super) async fn slot(&self, host: &Host, size: u64) -> Slot {
        let slot = Slot::from(self.slot_at(host, size).await);
        // A blob that waits for its host keeps no memory from others.
        slot.with(self.memory(size).await)
    }

    /// Waits until a blob of this size may be sent to `host`.
    pub(super) async fn slot_at(&self, host: &Host, size: u64) -> HostSlot {
        let semaphore = {
            let mut hosts = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(PERMITS as usize));
            Arc::clone(hosts.entry(host.clone()).or_insert_with(new))
        };
        // The semaphore is never closed, so this always succeeds.
        let permit = semaphore.acquire_many_owned(permits(size)).await.ok();
        HostSlot {
            _permit: permit.map(Arc::new),
        }
    }

    /// Waits until there is memory for a blob of this size.
    pub(super) async fn memory(&self, size: u64) -> Memory {
        let units = size.min(COPY_MAX_BYTES).div_ceil(MEMORY_UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory);
        Memory {
            _permit: memory.acquire_many_owned(units).await.ok(),
        }
    }

    /// Registers the upload of `blob`, of which the registry has the bytes `stored`.
    pub(super) fn begin(&self, blob: &Descriptor, stored: Prefix, slot: Slot) -> Arc<LargeUpload> {
        let upload = Arc::new(LargeUpload {
            of: blob.size,
            state: Mutex::new(LargeUploadState {
                slot,
                sent: stored,
                failure: None,
                is_closed: false,
            }),
        });
        if let Ok(mut uploads) = self.uploads.lock() {
            uploads.retain(|upload| upload.strong_count() > 0);
            uploads.push(Arc::downgrade(&upload));
        }
        upload
    }

    /// Returns the progress of the open uploads, or `None` if there are none.
    pub(super) fn progress(&self) -> Option<Progress> {
        let uploads = self.uploads.lock().ok()?;
        let uploads: Vec<_> = uploads.iter().filter_map(Weak::upgrade).collect();
        let sent = uploads.iter().map(|upload| upload.sent_bytes());
        (!uploads.is_empty()).then(|| Progress {
            blobs: uploads.len(),
            bytes: sent.fold(0, u64::saturating_add),
            // A descriptor may state any size.
            of: uploads
                .iter()
                .map(|upload| upload.of)
                .fold(0, u64::saturating_add),
        })
    }

    /// Sends `request` once. Its `body` has these `bytes` of the blob.
    pub(super) async fn send(
        &self,
        mut request: Request,
        body: Body,
        bytes: Range<u64>,
        upload: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let headers = request.headers_mut();
        let length = bytes.end - bytes.start;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        self.send_within_timeouts(request, bytes.end, upload).await
    }

    /// Sends `request`, which has the bytes of the blob up to `end`.
    async fn send_within_timeouts(
        &self,
        request: Request,
        end: u64,
        upload: &LargeUpload,
    ) -> Result<Response, RegistryErrorKind> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let stalled = |_| RegistryErrorKind::Unreachable {
            host: authority(&url),
            error: TransportError {
                cause: "it does not accept the upload".to_owned(),
                kind: TransportErrorKind::Silence,
                proxy: None,
                certificate: None,
            },
        };
        let timer = RequestTimer::start(&self.events, &request);
        let mut sending = pin!(self.http.upload(request));
        let response = loop {
            let sent_before = upload.sent_bytes();
            let silence = self.http.silence(task(sent_before, end));
            match tokio::time::timeout(silence, &mut sending).await {
                Ok(sent) => break sent.map_err(|error| unreachable(&url, error))?,
                Err(_) if upload.sent_bytes() > sent_before => (),
                Err(elapsed) => return Err(stalled(elapsed)),
            }
        };
        let read = async {
            let stream = StreamingResponse::new(response, &method, timer, None).await?;
            stream.read(ERROR_MAX_BYTES).await
        };
        tokio::time::timeout(self.http.silence(ServerTask::Receive), read)
            .await
            .map_err(stalled)?
    }
}

/// Returns the number of permits that a blob of this size takes.
fn permits(size: u64) -> u32 {
    let (least, most) = PERMITS_OF_A_BLOB.into_inner();
    let times = size.div_ceil(SMALL_BYTES).max(1);
    let doublings = (times - 1).checked_ilog2().map_or(0, |log| log + 1);
    most.min(least + doublings)
}

/// Returns the task of a server that receives bytes up to `end`, of which the first `sent` were sent.
fn task(sent: u64, end: u64) -> ServerTask {
    if sent < end {
        ServerTask::Receive
    } else {
        ServerTask::Store
    }
}

impl Slot {
    /// Adds the memory.
    pub(super) fn with(self, memory: Memory) -> Self {
        Self {
            _memory: memory,
            ..self
        }
    }
}

impl From<HostSlot> for Slot {
    /// Returns the slot of a blob that another one reads: that one has the memory.
    fn from(at_host: HostSlot) -> Self {
        Self {
            _at_host: at_host,
            ..Self::default()
        }
    }
}

impl From<Memory> for Slot {
    /// Returns the slot of a small blob, which waits for nothing else.
    fn from(memory: Memory) -> Self {
        Self::default().with(memory)
    }
}

impl LargeUpload {
    /// Returns the bytes that were passed on so far.
    pub(super) fn sent(&self) -> Prefix {
        self.state().sent.clone()
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.state().sent.length
    }

    /// True if the whole blob was sent. It was correct, or its last bytes would not have been sent.
    pub(super) fn is_whole(&self) -> bool {
        self.sent_bytes() == self.of
    }

    /// Returns the error of the content, if there is one.
    pub(super) fn error(&self) -> Option<RegistryErrorKind> {
        self.state().failure.clone()
    }

    /// Stops the content, and returns the bytes that were passed on. The HTTP library may read on in a body whose
    /// request has failed.
    pub(super) fn close(&self) -> Prefix {
        let mut state = self.state();
        state.is_closed = true;
        state.slot = Slot::default();
        state.sent.clone()
    }

    /// Notes the bytes that are passed on. Fails if they must not be.
    pub(super) fn pass(&self, passed: &Prefix) -> Result<(), RegistryErrorKind> {
        let mut state = self.state();
        if state.is_closed {
            let cause = "the upload has ended".to_owned();
            return Err(RegistryErrorKind::never_asked("", cause));
        }
        state.sent = passed.clone();
        if passed.length == self.of {
            state.slot = Slot::default();
        }
        Ok(())
    }

    /// Notes an error of the content.
    pub(super) fn fail(&self, kind: &RegistryErrorKind) {
        self.state().failure = Some(kind.clone());
    }

    fn state(&self) -> MutexGuard<'_, LargeUploadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::Algorithm;

    #[test]
    fn fewer_blobs_are_sent_at_once_if_they_are_large() {
        let at_once = |mib: u64| PERMITS / permits(mib << 20);
        let numbers = [0, 4, 5, 8, 9, 16, 17, 32, 4096].map(at_once);
        assert_eq!(numbers, [6, 6, 4, 4, 3, 3, 2, 2, 2]);
        assert_eq!(permits(u64::MAX), 6);
    }

    #[test]
    fn last_byte_of_a_request_gives_the_server_time_to_store() {
        assert_eq!(task(0, 10), ServerTask::Receive);
        assert_eq!(task(9, 10), ServerTask::Receive);
        assert_eq!(task(10, 10), ServerTask::Store);
    }

    fn blob(size: u64) -> Descriptor {
        let text = format!(
            r#"{{"mediaType":"a/b","digest":"{}","size":{size}}}"#,
            Algorithm::Sha256.digest(b"")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn blob_that_is_sent_whole_makes_room_for_the_next() {
        let large = LargeUploads::new(Client::for_tests().unwrap(), Events::silent());
        let (host, size): (Host, u64) = ("ghcr.io".parse().unwrap(), u64::MAX);
        let nothing = Prefix::empty(Algorithm::Sha256);
        let first = large.slot(&host, size).await;
        let second = large.slot(&host, size).await;
        assert!(large.slot(&host, size).now_or_never().is_none());
        // Another host has room of its own.
        let other = "quay.io".parse().unwrap();
        assert!(large.slot(&other, size).now_or_never().is_some());

        let upload = large.begin(&blob(1), nothing.clone(), first);
        upload.pass(&nothing).unwrap();
        assert!(large.slot(&host, size).now_or_never().is_none());
        upload.close();
        assert!(upload.pass(&nothing).is_err());
        let third = large.slot(&host, size).now_or_never().unwrap();

        let upload = large.begin(&blob(0), nothing.clone(), second);
        upload.pass(&nothing).unwrap();
        assert!(upload.is_whole());
        let fourth = large.slot(&host, size).now_or_never();
        assert!(fourth.is_some(), "beside {third:?}");
    }

    #[tokio::test]
    async fn few_large_copies_or_many_small_ones_run_at_once() {
        let client = Client::for_tests().unwrap();
        let large = LargeUploads::new(client, Events::silent());
        for (size, most) in [
            (u64::MAX, 6),
            (1 << 20, 6),
            (512 << 10, 12),
            (128 << 10, 48),
        ] {
            let mut running = Vec::new();
            while let Some(memory) = large.memory(size).now_or_never() {
                running.push(memory);
            }
            assert_eq!(running.len(), most, "{size}");
        }
        assert!(large.memory(0).now_or_never().is_some());
    }
}
