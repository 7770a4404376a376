//! An OCI registry (distribution 1.1) in memory on loopback. It keeps the spec's promises, unless it was told not to.

mod auth;
mod aws;
mod blobs;
mod deletion;
mod images;
mod manifests;
mod options;
mod routes;
mod services;
mod sighting;
mod store;

pub use images::{Image, IndexWithProvenance, Kind};
pub use options::{Auth, Deletes, Options, Referrers};
pub use services::Service;
pub use sighting::{Signatures, Tagging};

use crate::faults::Fault;
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
}

/// Everything that a registry held at some moment, open uploads too.
pub struct Snapshot(Store);

impl Registry {
    /// Starts one on a free port of 127.0.0.1.
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
        Self { server, service }
    }

    /// `127.0.0.1:PORT`, as it stands in image references.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// How it is reached.
    pub fn transport(&self) -> Transport {
        self.service.options.transport
    }

    /// `http://127.0.0.1:PORT`, or the same with `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.transport().scheme(), self.address())
    }

    /// The same as a socket address.
    pub fn socket(&self) -> SocketAddr {
        self.server.address()
    }

    /// The full name of a repository here: `127.0.0.1:PORT/octo-org/app`.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// Pushes a platform image whose content depends on repository and platform alone.
    pub fn push_image(&self, repository: &str, platform: &str, kind: Kind) -> Image {
        self.push_image_seeded(repository, platform, kind, 0)
    }

    /// The same with other content for each `seed`: what another build of that platform would have made.
    pub fn push_image_seeded(
        &self,
        repository: &str,
        platform: &str,
        kind: Kind,
        seed: u64,
    ) -> Image {
        images::push_image(&self.service, repository, platform, kind, seed)
    }

    /// Pushes what a build with provenance on pushes for one platform: an index of the image and its attestation.
    pub fn push_index_with_provenance(
        &self,
        repository: &str,
        platform: &str,
    ) -> IndexWithProvenance {
        images::push_index_with_provenance(&self.service, repository, platform)
    }

    /// Stores a manifest as it is, without a look at what it points to; answers its digest.
    pub fn push_raw(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        self.service
            .store()
            .put_manifest(repository, tag, media_type, bytes)
    }

    /// Takes a tag away, as a client does that deletes it.
    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.service.store().delete_tag(repository, tag);
    }

    /// Stores a blob; answers its digest.
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        self.service.store().put_blob(repository, bytes)
    }

    /// Lets `tag` hold `digest`, which need not be here.
    pub fn tag(&self, repository: &str, tag: &str, digest: &str) {
        self.service.store().set_tag(repository, tag, digest);
    }

    /// Every tag of the repository and the digest it holds.
    pub fn tags(&self, repository: &str) -> BTreeMap<String, String> {
        self.service.store().tags(repository)
    }

    /// Media type and bytes behind a tag or digest, whatever clients are shown.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let store = self.service.store();
        let manifest = store.manifest(repository, reference)?;
        Some((manifest.media_type.clone(), manifest.bytes.to_vec()))
    }

    /// The digests of all manifests in the repository.
    pub fn manifests(&self, repository: &str) -> Vec<String> {
        self.service.store().manifest_digests(repository)
    }

    /// The bytes of a blob.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let store = self.service.store();
        store.blob(repository, digest).map(|bytes| bytes.to_vec())
    }

    /// How many uploads have begun and were neither ended nor taken back.
    pub fn open_uploads(&self) -> usize {
        self.service.store().open_uploads()
    }

    /// The signatures of `digest` that are here, whoever made them.
    pub fn signatures(&self, repository: &str, digest: &str) -> Signatures {
        let referrers = self.service.options.referrers;
        sighting::signatures(&self.service.store(), referrers, repository, digest)
    }

    /// Every push by tag since the start, or since the log was cleared.
    pub fn taggings(&self) -> Vec<Tagging> {
        self.service.taggings().clone()
    }

    /// Keeps what is here now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.service.store().clone())
    }

    /// Goes back to what was here then, with an empty log and without faults.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.service.store() = snapshot.0.clone();
        self.service.taggings().clear();
        self.clear_requests();
        self.clear_faults();
    }

    /// Takes a manifest away but leaves what points to it, tags too: what garbage collection does to untagged children.
    pub fn delete_manifest(&self, repository: &str, digest: &str) {
        self.service.store().forget_manifest(repository, digest);
    }

    /// Takes a blob away under the manifests that need it.
    pub fn delete_blob(&self, repository: &str, digest: &str) {
        self.service.store().forget_blob(repository, digest);
    }

    /// From now on the first `reads` reads of each new manifest or tag do not show it.
    pub fn set_lag(&self, reads: u32) {
        self.service.store().lag = reads;
    }

    /// GitHub's next `lists` lists of versions show the tags as they are now.
    pub fn keep_lists(&self, lists: u32) {
        self.service.store().keep_lists(lists);
    }

    /// Every token issued so far becomes invalid at once.
    pub fn revoke_tokens(&self) {
        self.service.tokens.revoke();
    }

    /// How often the token endpoint was asked.
    pub fn token_requests(&self) -> usize {
        let requests = self.server.traffic.requests();
        requests
            .iter()
            .filter(|request| self.service.tokens.is_realm(&request.host, &request.path))
            .count()
    }

    /// Every request since the start, or since they were cleared; those of the token endpoint too.
    pub fn requests(&self) -> Vec<Request> {
        self.server.traffic.requests()
    }

    /// How many connections there were since the start.
    pub fn connections(&self) -> usize {
        self.server.traffic.connections()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.server.traffic.clear_requests();
    }

    /// Adds a fault; where several match a request, the oldest is played.
    pub fn fault(&self, fault: Fault) {
        self.server.fault(fault);
    }

    /// Forgets the faults that are still to come.
    pub fn clear_faults(&self) {
        self.server.traffic.clear_faults();
    }
}
