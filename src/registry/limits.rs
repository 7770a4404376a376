//! Remembers what each host and repository does not support for uploads, so that it is not tried again.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::domain::{Host, Repository};

/// The features that were found to be unsupported.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Hosts that accept no blob with the POST.
    whole: Mutex<BTreeSet<Host>>,
    /// Hosts that accept no large blob in one request.
    parts: Mutex<BTreeSet<Host>>,
    /// Repositories that refuse mounts, each with the repository to mount from.
    mount: Mutex<BTreeSet<(Repository, Repository)>>,
}

impl Limits {
    pub(super) fn may_mount(&self, repository: &Repository, from: &Repository) -> bool {
        let pair = (repository.clone(), from.clone());
        let refused = self.mount.lock();
        refused.is_ok_and(|refused| !refused.contains(&pair))
    }

    pub(super) fn remember_no_mount(&self, repository: &Repository, from: &Repository) {
        if let Ok(mut refused) = self.mount.lock() {
            refused.insert((repository.clone(), from.clone()));
        }
    }

    pub(super) fn wants_parts(&self, host: &Host) -> bool {
        let hosts = self.parts.lock();
        hosts.is_ok_and(|hosts| hosts.contains(host))
    }

    pub(super) fn remember_parts(&self, host: &Host) {
        if let Ok(mut hosts) = self.parts.lock() {
            hosts.insert(host.clone());
        }
    }

    pub(super) fn may_post_whole(&self, host: &Host) -> bool {
        let refused = self.whole.lock();
        refused.is_ok_and(|refused| !refused.contains(host))
    }

    pub(super) fn remember_no_whole(&self, host: &Host) {
        if let Ok(mut refused) = self.whole.lock() {
            refused.insert(host.clone());
        }
    }
}
