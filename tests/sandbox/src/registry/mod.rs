//! An OCI registry (distribution 1.1) in memory on loopback. It follows the specification, unless the options differ.

mod auth;
mod aws;
mod blobs;
mod conditions;
mod deletion;
mod digest;
mod gitlab;
mod images;
mod manifests;
mod options;
mod push;
mod ranges;
mod redirects;
mod routes;
mod services;
mod sighting;
mod store;
mod tag_parameter;

pub use conditions::Conditions;
pub use digest::Algorithm;
pub use images::{Image, IndexWithProvenance, Kind};
pub use options::{Auth, Deletes, Options, Referrers};
pub use redirects::ManifestReads;
pub use services::Service;
pub use sighting::{Signatures, Tagging};
pub use tag_parameter::TagParameter;

use crate::faults::Fault;
use crate::listener::Listener;
use crate::server::{Handler, Server};
use crate::traffic::Request;
use crate::transport::Transport;
use routes::Routes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;

/// A running registry; dropping it ends it.
pub struct Registry {
    server: Server,
    service: Arc<Routes>,
    /// The second port, if the options need one.
    _second: Option<Listener>,
}

/// The whole content of a registry at one moment, with its open uploads.
pub struct Snapshot(Store);

impl Registry {
    /// Starts a registry on a free port of 127.0.0.1.
    pub fn start(options: Options) -> Self {
        let mut kept = None;
        let transport = options.transport;
        let server = Server::start(transport, |address| {
            let service = Arc::new(Routes::new(address, options));
            kept = Some(Arc::clone(&service));
            let handler: Handler = Arc::new(move |call| service.answer(call));
            handler
        });
        let service = kept.expect("the server asked for its handler");
        let needs_second = service.options.manifest_reads == ManifestReads::OtherHost
            && service.options.service.is_none();
        let second = needs_second.then(|| server.twin(transport));
        if let Some(second) = &second {
            service.second_port.get_or_init(|| second.address());
        }
        Self {
            server,
            service,
            _second: second,
        }
    }

    /// Returns `127.0.0.1:PORT`, as in image references.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Returns its transport.
    pub fn transport(&self) -> Transport {
        self.service.options.transport
    }

    /// Returns `http://127.0.0.1:PORT`, or `https://`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.transport().scheme(), self.address())
    }

    /// Returns its socket address.
    pub fn socket(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the full name of a repository: `127.0.0.1:PORT/octo-org/app`.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// Pushes a platform image. Its content depends only on repository and platform.
    pub fn push_image(&self, repository: &str, platform: &str, kind: Kind) -> Image {
        self.push_image_seeded(repository, platform, kind, 0)
    }

    /// Pushes a platform image with other content for each `seed`, like another build for that platform.
    pub fn push_image_seeded(
        &self,
        repository: &str,
        platform: &str,
        kind: Kind,
        seed: u64,
    ) -> Image {
        let algorithm = Algorithm::Sha256;
        images::push_image(&self.service, algorithm, repository, platform, kind, seed)
    }

    /// Pushes a platform image whose manifest, config and layer have digests of this algorithm.
    pub fn push_image_as(
        &self,
        algorithm: Algorithm,
        repository: &str,
        platform: &str,
        kind: Kind,
    ) -> Image {
        images::push_image(&self.service, algorithm, repository, platform, kind, 0)
    }

    /// Pushes the index of a build with provenance for one platform: the image and its attestation.
    pub fn push_index_with_provenance(
        &self,
        repository: &str,
        platform: &str,
    ) -> IndexWithProvenance {
        images::push_index_with_provenance(&self.service, repository, platform)
    }

    /// Stores a manifest as it is, without a check of its children; returns its digest.
    pub fn push_raw(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        self.push_raw_as(Algorithm::Sha256, repository, tag, media_type, bytes)
    }

    /// Stores a manifest as it is under a digest of this algorithm; returns the digest.
    pub fn push_raw_as(
        &self,
        algorithm: Algorithm,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let mut store = self.service.store();
        let digest = store.put_manifest(repository, algorithm, media_type, bytes);
        if let Some(tag) = tag {
            store.set_tag(repository, tag, &digest);
        }
        digest
    }

    /// Deletes a tag, as a client would.
    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.service.store().delete_tag(repository, tag);
    }

    /// Stores a blob; returns its digest.
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        self.push_blob_as(Algorithm::Sha256, repository, bytes)
    }

    /// Stores a blob under a digest of this algorithm; returns the digest.
    pub fn push_blob_as(&self, algorithm: Algorithm, repository: &str, bytes: &[u8]) -> String {
        self.service.store().put_blob(repository, algorithm, bytes)
    }

    /// Points `tag` to `digest`, which need not exist.
    pub fn tag(&self, repository: &str, tag: &str, digest: &str) {
        self.service.store().set_tag(repository, tag, digest);
    }

    /// Returns every tag of the repository and its digest.
    pub fn tags(&self, repository: &str) -> BTreeMap<String, String> {
        self.service.store().tags(repository)
    }

    /// Returns the media type and bytes of a tag or digest, without lag.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let store = self.service.store();
        let manifest = store.manifest(repository, reference)?;
        Some((manifest.media_type.clone(), manifest.bytes.to_vec()))
    }

    /// Returns the digests of all manifests in the repository.
    pub fn manifests(&self, repository: &str) -> Vec<String> {
        self.service.store().manifest_digests(repository)
    }

    /// Returns the bytes of a blob.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let store = self.service.store();
        store.blob(repository, digest).map(|bytes| bytes.to_vec())
    }

    /// Counts the uploads that were begun and neither completed nor cancelled.
    pub fn open_uploads(&self) -> usize {
        self.service.store().open_uploads()
    }

    /// Returns the stored signatures of `digest`, of any signer.
    pub fn signatures(&self, repository: &str, digest: &str) -> Signatures {
        let referrers = self.service.options.referrers;
        sighting::signatures(&self.service.store(), referrers, repository, digest)
    }

    /// Returns every push by tag since the start, or since the log was cleared.
    pub fn taggings(&self) -> Vec<Tagging> {
        self.service.taggings().clone()
    }

    /// Saves the current content.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.service.store().clone())
    }

    /// Restores a snapshot, with an empty log and without faults.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.service.store() = snapshot.0.clone();
        self.service.taggings().clear();
        self.clear_requests();
        self.clear_faults();
    }

    /// Deletes a manifest but keeps references to it, tags too: the effect of garbage collection on untagged children.
    pub fn delete_manifest(&self, repository: &str, digest: &str) {
        self.service.store().forget_manifest(repository, digest);
    }

    /// Deletes a blob but keeps the manifests that need it.
    pub fn delete_blob(&self, repository: &str, digest: &str) {
        self.service.store().forget_blob(repository, digest);
    }

    /// Hides each new manifest or tag from its first `reads` reads, from now on.
    pub fn set_lag(&self, reads: u32) {
        self.service.store().lag = reads;
    }

    /// Makes GitHub's next `lists` version lists return the present tags.
    pub fn keep_lists(&self, lists: u32) {
        self.service.store().keep_lists(lists);
    }

    /// Invalidates every token issued so far.
    pub fn revoke_tokens(&self) {
        self.service.tokens.revoke();
    }

    /// Counts the requests to the token endpoint.
    pub fn token_requests(&self) -> usize {
        let requests = self.server.traffic.requests();
        requests
            .iter()
            .filter(|request| self.service.tokens.is_realm(&request.host, &request.path))
            .count()
    }

    /// Returns every request since the start, or since the last clearing, token requests included.
    pub fn requests(&self) -> Vec<Request> {
        self.server.traffic.requests()
    }

    /// Counts the connections since the start.
    pub fn connections(&self) -> usize {
        self.server.traffic.connections()
    }

    /// Returns the highest number of requests that had no answer at one time, since the log was cleared.
    pub fn open_max(&self) -> usize {
        self.server.traffic.open_max()
    }

    /// Clears the log of requests.
    pub fn clear_requests(&self) {
        self.server.traffic.clear_requests();
    }

    /// Adds a fault. If several match a request, the oldest is used.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Removes the pending faults.
    pub fn clear_faults(&self) {
        self.server.traffic.clear_faults();
    }
}
