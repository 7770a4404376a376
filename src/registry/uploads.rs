//! Stores blobs. An upload starts with a POST, which may contain the whole blob. It ends with a PUT to the location
//! that the registry returns.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Url};

use super::auth::Access;
use super::chunks::stored_bytes;
use super::error::{LoginError, RegistryErrorKind};
use super::integrity::{check_stated, check_stated_digest};
use super::large_uploads::LargeUploads;
use super::open_uploads::OpenUploads;
use super::redirects::{location, refused_address, write_once};
use super::response::{ERROR_MAX_BYTES, authority};
use super::sender::{RegistryRequest, RequestSender, Target};
use super::upload_session::Upload;
use crate::domain::{Algorithm, Digest, Repository};
use crate::http::Response;

/// The longest content that is sent with the POST. Go's servers close a connection if they answer with more than 256
/// KiB of a request unread. Content that a registry refuses in the POST is sent twice.
pub(super) const SINGLE_POST_MAX_BYTES: u64 = 64 * 1024;
/// The default size of a chunk, which every registry is known to accept. GHCR refuses larger chunks, though not larger
/// whole blobs.
pub(super) const CHUNK_BYTES: u64 = 4 << 20;
const OCTETS: &str = "application/octet-stream";
/// The longest wait for a cancellation, whose result does not matter.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a POST.
#[derive(Debug)]
pub(super) enum UploadStart {
    /// The registry reports the blob as stored.
    Stored(Response),
    /// The registry opened an upload session.
    Session(Upload),
    /// The registry refused the request.
    Refused(RegistryErrorKind),
}

/// Uploads blobs to all registries of a run. Clones share the upload sessions.
#[derive(Debug, Clone)]
pub(super) struct Uploader {
    pub(super) sender: RequestSender,
    pub(super) large: Arc<LargeUploads>,
    sessions: Arc<OpenUploads>,
}

impl Uploader {
    pub(super) fn new(sender: RequestSender, large: LargeUploads) -> Self {
        Self {
            sender,
            large: Arc::new(large),
            sessions: Arc::default(),
        }
    }

    /// Makes one attempt to upload `bytes`.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), RegistryErrorKind> {
        if let Some(upload) = self.begin_with(repository, digest, bytes).await? {
            self.finish(&upload, digest, bytes).await?;
        }
        Ok(())
    }

    /// Opens an upload session for a blob whose digest has this algorithm. Its content need not be known yet.
    pub(super) async fn begin(
        &self,
        repository: &Repository,
        algorithm: Algorithm,
    ) -> Result<Upload, RegistryErrorKind> {
        let query = match algorithm_parameter(algorithm) {
            Some(parameter) => format!("?{parameter}"),
            None => String::new(),
        };
        let start = self.post(repository, Access::PullPush, &query, &[]);
        match start.await? {
            UploadStart::Session(upload) => Ok(upload),
            // The POST named no blob, so none can have been created.
            UploadStart::Stored(response) => Err(RegistryErrorKind::refused(&response)),
            UploadStart::Refused(kind) => Err(kind),
        }
    }

    /// Requests a mount of the blob from `from`, on the same registry. If the registry opens an upload session instead,
    /// the caller must use it, or it stays open.
    pub(super) async fn begin_with_mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<UploadStart, RegistryErrorKind> {
        let mount = format!("?mount={digest}&from={}", from.path());
        let query = with_algorithm(mount, digest);
        let access = Access::Mount(from.clone());
        match self.post(repository, access, &query, &[]).await {
            Ok(UploadStart::Stored(response)) => {
                check_stated_digest(digest, &response)?;
                Ok(UploadStart::Stored(response))
            }
            // The token server denies read access to `from`.
            Err(kind @ RegistryErrorKind::Login(LoginError::Token { .. })) => {
                Ok(UploadStart::Refused(kind))
            }
            start => start,
        }
    }

    /// Completes `upload` with `bytes`, or cancels it.
    pub(super) async fn finish(
        &self,
        upload: &Upload,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), RegistryErrorKind> {
        let request = upload.final_put(digest, bytes);
        let response = self.send_to_session(upload, &request).await;
        let finished = response.and_then(|response| check_stored(&response, digest));
        self.end(upload, &finished).await;
        finished
    }

    /// Cancels `upload` if it failed.
    pub(super) async fn end<T, E>(&self, upload: &Upload, ended: &Result<T, E>) {
        if ended.is_ok() {
            self.forget(upload);
        } else {
            self.cancel(upload).await;
        }
    }

    /// Forgets `upload`, which is complete.
    pub(super) fn forget(&self, upload: &Upload) {
        self.sessions.remove(upload);
    }

    /// Cancels `upload`, if the registry supports that. Otherwise the registry expires it by itself.
    pub(super) async fn cancel(&self, upload: &Upload) {
        let request = upload.session_request(Method::DELETE);
        let cancelled = self.send_to_session(upload, &request);
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancelled).await;
        self.sessions.remove(upload);
    }

    /// Asks for the number of bytes that the registry has of `upload`, an upload in chunks. Returns `None` if it does not
    /// state one: the session is gone, or there is no such request.
    ///
    /// SPEC: "To get the current status", with a new location. distribution 2 states that it has nothing, or cancels the
    /// session; zot cancels a session whose chunk was cut off.
    pub(super) async fn stored_bytes(
        &self,
        upload: &mut Upload,
    ) -> Result<Option<u64>, RegistryErrorKind> {
        let request = upload.session_request(Method::GET);
        let response = match self.send_to_session(upload, &request).await {
            Ok(response) if response.status == 204 => response,
            Err(kind) if kind.is_unavailable() => return Err(kind),
            Ok(_) | Err(_) => return Ok(None),
        };
        self.update_location(upload, &response)?;
        Ok(response.header("range").and_then(stored_bytes))
    }

    /// Moves `upload` to the location in `response`, if there is one. The location may change with each chunk.
    pub(super) fn update_location(
        &self,
        upload: &mut Upload,
        response: &Response,
    ) -> Result<(), RegistryErrorKind> {
        if response.header("location").is_some() {
            let (location, is_on_registry) = self.location(response)?;
            self.sessions.remove(upload);
            upload.location = location;
            upload.is_on_registry = is_on_registry && upload.is_on_registry;
            self.sessions.add(upload);
        }
        Ok(())
    }

    pub(super) async fn send_to_session(
        &self,
        upload: &Upload,
        request: &RegistryRequest<'_>,
    ) -> Result<Response, RegistryErrorKind> {
        if upload.is_on_registry {
            write_once(&self.sender, request).await
        } else {
            self.sender
                .open_without_credentials(request)
                .await?
                .read(request.limit)
                .await
        }
    }

    /// Starts an upload. The POST contains all of `bytes` if they are few and the registry is not known to refuse that.
    ///
    /// SPEC: "Single POST". A registry without support for it should answer 202 with a location, as to a plain POST.
    async fn begin_with(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Option<Upload>, RegistryErrorKind> {
        let features = self.sender.features();
        let is_small =
            u64::try_from(bytes.len()).is_ok_and(|length| length <= SINGLE_POST_MAX_BYTES);
        if !is_small || !features.may_post_whole(repository.host()) {
            let session = self.begin(repository, digest.algorithm());
            return session.await.map(Some);
        }
        let query = with_algorithm(format!("?digest={digest}"), digest);
        let start = self.post(repository, Access::PullPush, &query, bytes).await;
        let is_stored = matches!(start, Ok(UploadStart::Stored(_)));
        features.remember_whole(repository.host(), is_stored);
        match start? {
            UploadStart::Stored(response) => {
                check_stated(bytes, digest, &response)?;
                Ok(None)
            }
            UploadStart::Session(upload) => Ok(Some(upload)),
            UploadStart::Refused(kind) if refuses_single_post(&kind) => {
                let session = self.begin(repository, digest.algorithm());
                session.await.map(Some)
            }
            UploadStart::Refused(kind) => Err(kind),
        }
    }

    /// Sends the POST. It is not aborted with the run: the upload session that it opens could then not be cancelled.
    async fn post(
        &self,
        repository: &Repository,
        access: Access,
        query: &str,
        bytes: &[u8],
    ) -> Result<UploadStart, RegistryErrorKind> {
        let (uploader, repository) = (self.clone(), repository.clone());
        let (query, bytes) = (query.to_owned(), bytes.to_vec());
        let post = async move {
            let posted = uploader.post_now(repository, access, &query, &bytes);
            posted.await
        };
        self.sessions.run_to_completion(post).await
    }

    async fn post_now(
        &self,
        repository: Repository,
        access: Access,
        query: &str,
        bytes: &[u8],
    ) -> Result<UploadStart, RegistryErrorKind> {
        let start = RegistryRequest {
            method: Method::POST,
            repository: &repository,
            target: Target::Path(format!("blobs/uploads/{query}")),
            access: access.clone(),
            accept: None,
            content: Some((OCTETS, bytes)),
            first_byte: 0,
            condition: None,
            limit: ERROR_MAX_BYTES,
        };
        let response = write_once(&self.sender, &start).await?;
        match response.status.as_u16() {
            201 => Ok(UploadStart::Stored(response)),
            202 => {
                let (location, is_on_registry) = self.location(&response)?;
                // SPEC: only the last chunk may be shorter.
                let least = response.header("oci-chunk-min-length");
                let least = least.and_then(|least| least.parse().ok()).unwrap_or(0);
                let upload = Upload {
                    repository,
                    access,
                    location,
                    is_on_registry,
                    chunk_bytes: CHUNK_BYTES.max(least),
                };
                self.sessions.add(&upload);
                Ok(UploadStart::Session(upload))
            }
            _ => Ok(UploadStart::Refused(RegistryErrorKind::refused(&response))),
        }
    }

    /// Returns the location in a response, and whether it is on the registry itself.
    fn location(&self, response: &Response) -> Result<(Url, bool), RegistryErrorKind> {
        let location = location(response)?;
        let is_on_registry = authority(&location) == authority(&response.url);
        if is_on_registry
            && location.scheme() != response.url.scheme()
            && location.scheme() != "https"
        {
            return Err(refused_address(
                &location,
                "is not HTTPS, though the registry is",
            ));
        }
        if let Err(reason) = self.sender.transport().check_hop(&response.url, &location) {
            return Err(refused_address(&location, reason));
        }
        Ok((location, is_on_registry))
    }

    /// Cancels every open upload session, if the registry supports that. Call it only after all tasks that use a
    /// session have ended.
    pub(super) async fn cancel_all(&self) {
        let open = self.sessions.take_all().await;
        join_all(open.values().map(|upload| self.cancel(upload))).await;
    }
}

impl Upload {
    /// Returns a request to the location of this session: PATCH to add a chunk, GET for its status, DELETE to cancel it.
    pub(super) fn session_request(&self, method: Method) -> RegistryRequest<'_> {
        self.request_at(method, self.location.clone(), &[])
    }

    /// Returns the final PUT, with the whole blob or the rest of it.
    pub(super) fn final_put<'b>(&'b self, digest: &Digest, bytes: &'b [u8]) -> RegistryRequest<'b> {
        let mut location = self.location.clone();
        // The location may have a query of its own, which must stay unchanged.
        location
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        self.request_at(Method::PUT, location, bytes)
    }

    fn request_at<'b>(
        &'b self,
        method: Method,
        location: Url,
        bytes: &'b [u8],
    ) -> RegistryRequest<'b> {
        let has_content = method == Method::PATCH || method == Method::PUT;
        RegistryRequest {
            method,
            repository: &self.repository,
            target: Target::Address(location),
            access: self.access.clone(),
            accept: None,
            content: has_content.then_some((OCTETS, bytes)),
            first_byte: 0,
            condition: None,
            limit: ERROR_MAX_BYTES,
        }
    }
}

/// Checks the response to the PUT of a blob.
pub(super) fn check_stored(response: &Response, digest: &Digest) -> Result<(), RegistryErrorKind> {
    match response.status.as_u16() {
        200 | 201 | 204 => Ok(check_stated_digest(digest, response)?),
        _ => Err(RegistryErrorKind::refused(response)),
    }
}

/// Returns the parameter of a POST that announces a digest of this algorithm. Registries assume SHA-256 without it.
///
/// SPEC: "Pushing a blob in chunks". A registry that does not mount, or does not accept the blob in the POST, opens a
/// session too, so every POST has the parameter.
fn algorithm_parameter(algorithm: Algorithm) -> Option<String> {
    match algorithm {
        Algorithm::Sha256 => None,
        Algorithm::Sha512 => Some(format!("digest-algorithm={algorithm}")),
    }
}

fn with_algorithm(query: String, digest: &Digest) -> String {
    match algorithm_parameter(digest.algorithm()) {
        Some(parameter) => format!("{query}&{parameter}"),
        None => query,
    }
}

/// True if a POST may have been refused because it contains the blob. A plain POST may then succeed.
fn refuses_single_post(kind: &RegistryErrorKind) -> bool {
    let status = kind.refusal().map(|refusal| refusal.status);
    matches!(status, Some(400 | 404 | 405 | 411 | 413 | 415 | 416 | 501))
}
