//! What each host and repository was found to do when blobs are stored, and what not: that is not tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::domain::{Host, Repository};

/// What was found to work, and what not.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Whether hosts take a blob with the POST.
    whole: Mutex<BTreeMap<Host, bool>>,
    /// Hosts that take no large blob in one request.
    parts: Mutex<BTreeSet<Host>>,
    /// Repositories that nothing can be mounted into, each with the one that it was to come from.
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

    /// `None`: nobody knows yet.
    pub(super) fn takes_whole(&self, host: &Host) -> Option<bool> {
        let hosts = self.whole.lock();
        hosts.ok().and_then(|hosts| hosts.get(host).copied())
    }

    pub(super) fn remember_whole(&self, host: &Host, is_taken: bool) {
        if let Ok(mut hosts) = self.whole.lock() {
            hosts.insert(host.clone(), is_taken);
        }
    }
}
