//! An upload that broke off, and the point where it can go on: the registry knows how many bytes it has, and this
//! program knows which bytes it sent.

use super::copy_failure::CopyFailure;
use super::prefix::Prefix;
use super::upload_session::Upload;

/// An upload whose last request failed. Its session is open.
#[derive(Debug)]
pub(super) struct InterruptedUpload {
    pub(super) session: Upload,
    pub(super) form: UploadForm,
    /// The bytes that the registry has confirmed.
    pub(super) confirmed: Prefix,
    /// The bytes that were sent by each attempt since then.
    pub(super) sent: Vec<Prefix>,
    /// The number of bytes that the registry has, if it need not be asked.
    pub(super) stored: Option<u64>,
}

/// The form of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadForm {
    /// One request. SPEC: nothing of it counts unless all arrives.
    Whole,
    /// Chunks. SPEC: the registry keeps those that arrived.
    Chunks,
}

/// The failure of an upload, and the upload if the next attempt need not start again.
#[derive(Debug)]
pub(super) struct UploadFailure {
    pub(super) failure: CopyFailure,
    pub(super) interrupted: Option<InterruptedUpload>,
}

impl InterruptedUpload {
    /// Returns all bytes that were sent.
    pub(super) fn all_sent(&self) -> &Prefix {
        let known = self.sent.iter().chain([&self.confirmed]);
        known
            .max_by_key(|known| known.length)
            .unwrap_or(&self.confirmed)
    }

    /// True if the registry may have this number of bytes: what it has confirmed, up to all that was sent.
    pub(super) fn may_have(&self, bytes: u64) -> bool {
        (self.confirmed.length..=self.all_sent().length).contains(&bytes)
    }
}

impl From<CopyFailure> for UploadFailure {
    fn from(failure: CopyFailure) -> Self {
        Self {
            failure,
            interrupted: None,
        }
    }
}
