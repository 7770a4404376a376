//! Uploads that have begun and were not ended by who began them: a run that fails in one place lets go of what is under way
//! in others, and a registry would keep each half-way blob for days.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Url;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::client::Registry;
use super::uploads::Upload;

/// How long is waited for the place of an upload that is just being begun. A runner gives a job that is told to end 7.5 s.
const PLACE_TIMEOUT: Duration = Duration::from_secs(2);

/// Uploads that are open, by their place, and those that are being begun.
#[derive(Debug, Default)]
pub(super) struct LeftOpen {
    open: Mutex<BTreeMap<Url, Upload>>,
    beginning: Mutex<JoinSet<()>>,
}

impl LeftOpen {
    pub(super) fn add(&self, upload: &Upload) {
        if let Ok(mut uploads) = self.open.lock() {
            uploads.insert(upload.place.clone(), upload.clone());
        }
    }

    pub(super) fn remove(&self, upload: &Upload) {
        if let Ok(mut uploads) = self.open.lock() {
            uploads.remove(&upload.place);
        }
    }

    /// Does `work` to its end, even if nobody waits for it any more.
    pub(super) async fn beyond<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        if let Ok(mut beginning) = self.beginning.lock() {
            while beginning.try_join_next().is_some() {}
            // Who does not wait any more is told nothing.
            beginning.spawn(async move { drop(done.send(work.await)) });
        }
        match result.await {
            Ok(result) => result,
            // It ends without a result only with the run.
            Err(_) => std::future::pending().await,
        }
    }

    async fn take(&self) -> BTreeMap<Url, Upload> {
        let beginning = self.beginning.lock();
        let beginning = beginning.map_or_else(
            |_| JoinSet::new(),
            |mut beginning| std::mem::take(&mut *beginning),
        );
        let _ = tokio::time::timeout(PLACE_TIMEOUT, beginning.join_all()).await;
        let uploads = self.open.lock();
        uploads.map_or_else(
            |_| BTreeMap::new(),
            |mut uploads| std::mem::take(&mut *uploads),
        )
    }
}

impl Registry {
    /// Takes back every upload that is still open, where the registry can do that. For when nobody is about them any more.
    pub async fn cancel_uploads(&self) {
        let open = self.left_open().take().await;
        join_all(open.values().map(|upload| self.cancel(upload))).await;
    }
}
