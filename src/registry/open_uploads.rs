//! Tracks open upload sessions. When one task fails, the others are dropped, and a registry would keep their sessions
//! for days. These sessions are cancelled here.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::upload_session::Upload;

/// The longest wait for the location of an upload session that is being opened. A runner gives a cancelled job 7.5 s.
const LOCATION_TIMEOUT: Duration = Duration::from_secs(2);

/// Open upload sessions by their location, and those that are being opened.
#[derive(Debug, Default)]
pub(super) struct OpenUploads {
    open: Mutex<BTreeMap<Url, Upload>>,
    starting: Mutex<JoinSet<()>>,
}

impl OpenUploads {
    pub(super) fn add(&self, upload: &Upload) {
        if let Ok(mut uploads) = self.open.lock() {
            uploads.insert(upload.location.clone(), upload.clone());
        }
    }

    pub(super) fn remove(&self, upload: &Upload) {
        if let Ok(mut uploads) = self.open.lock() {
            uploads.remove(&upload.location);
        }
    }

    /// Runs `work` to its end, even if the caller stops waiting.
    pub(super) async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        if let Ok(mut starting) = self.starting.lock() {
            while starting.try_join_next().is_some() {}
            // The receiver is gone if the caller no longer waits.
            starting.spawn(async move { drop(done.send(work.await)) });
        }
        match result.await {
            Ok(result) => result,
            // The task ends without a result only when the run ends.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) async fn take_all(&self) -> BTreeMap<Url, Upload> {
        let starting = self.starting.lock();
        let starting = starting.map_or_else(
            |_| JoinSet::new(),
            |mut starting| std::mem::take(&mut *starting),
        );
        let _ = tokio::time::timeout(LOCATION_TIMEOUT, starting.join_all()).await;
        let uploads = self.open.lock();
        uploads.map_or_else(
            |_| BTreeMap::new(),
            |mut uploads| std::mem::take(&mut *uploads),
        )
    }
}
