//! What each host and repository was found not to do when blobs are stored: it is not tried again.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::domain::{Host, Repository};

/// What was found not to work.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Hosts that do not take a blob with the POST.
    whole: Mutex<BTreeSet<Host>>,
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
