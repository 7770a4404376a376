//! Redirects of reads: manifests are answered by a storage, on this host or on another one.

use super::blobs::two_auth_mechanisms;
use super::routes::Routes;
use super::store::Store;
use crate::server::{Call, Reply};

/// The path before the repository at the storage of manifests.
const STORAGE_PATH: &str = "/storage/";

/// The host that sends the content of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestReads {
    /// The registry itself, without a redirect.
    Direct,
    /// The registry's own host at another path: 307 with a relative location. It accepts requests with credentials.
    SameHost,
    /// Another host: 307 with an absolute location. A request with credentials is refused there (400).
    OtherHost,
}

impl Routes {
    /// Turns the answer to a read of a manifest that exists into a redirect to its content.
    pub(crate) fn redirect_manifest(&self, name: &str, reply: Reply) -> Reply {
        let host = match self.options.manifest_reads {
            ManifestReads::Direct => return reply,
            ManifestReads::SameHost => String::new(),
            ManifestReads::OtherHost => {
                let scheme = self.options.transport.scheme();
                format!("{scheme}://{}", self.manifest_host())
            }
        };
        let digest = reply.value("docker-content-digest").unwrap_or_default();
        let path = format!("{STORAGE_PATH}{name}/manifests/{digest}?X-Amz-Signature=secret");
        let mut redirect = Reply::new(307).header("location", format!("{host}{path}"));
        redirect = redirect.header("docker-content-digest", digest);
        match reply.value("etag") {
            Some(etag) => redirect.header("etag", etag),
            None => redirect,
        }
    }

    /// Answers requests to the storage of manifests, no others.
    pub(crate) fn stored_manifest(&self, call: &Call) -> Option<Reply> {
        let is_elsewhere = match self.options.manifest_reads {
            ManifestReads::Direct => return None,
            ManifestReads::SameHost => false,
            ManifestReads::OtherHost => call.host == self.manifest_host(),
        };
        let place = call.path.strip_prefix(STORAGE_PATH);
        if is_elsewhere && call.header("authorization").is_some() {
            return Some(two_auth_mechanisms());
        }
        let (name, digest) = place?.rsplit_once("/manifests/")?;
        Some(content(&self.store(), name, digest))
    }

    /// Returns the other host: the storage of an imitated service, else a second port of this server.
    fn manifest_host(&self) -> String {
        let second = self.second_port.get().map(ToString::to_string);
        let storage = self.options.habits.hosts.get(2);
        storage.map_or_else(|| second.unwrap_or_default(), |host| (*host).to_owned())
    }
}

fn content(store: &Store, name: &str, digest: &str) -> Reply {
    match store.manifest(name, digest) {
        Some(manifest) => Reply::new(200)
            .body(&manifest.media_type, manifest.bytes.clone())
            .header("docker-content-digest", digest),
        None => Reply::new(404).body("application/xml", "<Code>NoSuchKey</Code>"),
    }
}
