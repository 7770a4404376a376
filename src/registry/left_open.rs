//! Uploads that have begun and were not ended by who began them: a run that fails in one place lets go of what is under way
//! in others, and a registry would keep each half-way blob for days.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures_util::future::join_all;
use reqwest::Url;

use super::auth::Access;
use super::client::Registry;
use super::parts::PART_BYTES;
use super::uploads::Upload;
use crate::domain::{Digest, Repository};

/// Uploads that are open, by their place.
#[derive(Debug, Default)]
pub(super) struct LeftOpen(Mutex<BTreeMap<Url, Open>>);

#[derive(Debug)]
struct Open {
    repository: Repository,
    digest: Digest,
    access: Access,
    is_own: bool,
}

impl LeftOpen {
    pub(super) fn add(&self, upload: &Upload<'_>) {
        let open = Open {
            repository: upload.repository.clone(),
            digest: upload.digest.clone(),
            access: upload.access.clone(),
            is_own: upload.is_own,
        };
        if let Ok(mut uploads) = self.0.lock() {
            uploads.insert(upload.place.clone(), open);
        }
    }

    pub(super) fn remove(&self, upload: &Upload<'_>) {
        if let Ok(mut uploads) = self.0.lock() {
            uploads.remove(&upload.place);
        }
    }

    fn take(&self) -> BTreeMap<Url, Open> {
        let uploads = self.0.lock();
        uploads.map_or_else(
            |_| BTreeMap::new(),
            |mut uploads| std::mem::take(&mut *uploads),
        )
    }
}

impl Registry {
    /// Takes back every upload that is still open, where the registry can do that. For when nobody is about them any more.
    pub async fn cancel_uploads(&self) {
        let open = self.left_open().take();
        let each = open.iter().map(|(place, open)| async move {
            let upload = Upload {
                repository: &open.repository,
                digest: &open.digest,
                access: open.access.clone(),
                place: place.clone(),
                is_own: open.is_own,
                part_bytes: PART_BYTES,
            };
            self.cancel(&upload).await;
        });
        join_all(each).await;
    }
}
