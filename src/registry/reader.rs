//! The reading half of the registry client: manifests, tags, blobs and lists of referrers. It cannot write, so a command
//! that holds nothing else changes no registry.

use super::RegistrySettings;
use super::sender::RequestSender;

/// A client that reads from all registries of a run. Clones share connections, tokens and the features of each host.
#[derive(Debug, Clone)]
pub struct RegistryReader {
    pub(super) sender: RequestSender,
}

impl RegistryReader {
    /// Builds the client. It sends nothing.
    #[must_use]
    pub fn new(settings: RegistrySettings) -> Self {
        Self {
            sender: RequestSender::new(settings),
        }
    }
}
