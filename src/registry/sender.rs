//! Sends one request to a registry: address, authorization, retries.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE};
use reqwest::{Method, Request, Url};

use super::RegistrySettings;
use super::auth::{Access, AuthCache, Authorization};
use super::conditions::Condition;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::error_response::ErrorResponse;
use super::host_features::{HostFeatures, Scheme};
use super::response;
use super::streaming_response::StreamingResponse;
use super::transport::Transport;
use crate::domain::{Digest, Repository};
use crate::http::{BodyError, Response, ServerTask, Transient, TransportErrorKind, with_progress};

/// The most attempts of one request with different authorization: anonymous, with a token, with a token for extra
/// scopes.
const AUTHORIZATIONS_MAX: u32 = 3;

/// Sends requests to all registries of a run. Clones share connections, tokens and the features of each host.
#[derive(Debug, Clone)]
pub(super) struct RequestSender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    auth: AuthCache,
}

/// A request to a registry.
#[derive(Debug, Clone)]
pub(super) struct RegistryRequest<'a> {
    pub(super) method: Method,
    pub(super) repository: &'a Repository,
    pub(super) target: Target,
    pub(super) access: Access,
    pub(super) accept: Option<&'a str>,
    /// Media type and bytes.
    pub(super) content: Option<(&'a str, &'a [u8])>,
    /// The first byte that is wanted of a blob.
    pub(super) first_byte: u64,
    /// The condition under which the registry may process the request.
    pub(super) condition: Option<Condition>,
    /// The longest body that is read from a successful response.
    pub(super) limit: u64,
}

/// The target of a request.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A path below the repository, such as `manifests/v1`.
    Path(String),
    /// An address from a response of the registry, which has been checked.
    Address(Url),
}

impl<'a> RegistryRequest<'a> {
    pub(super) fn get(repository: &'a Repository, path: String, limit: u64) -> Self {
        Self {
            method: Method::GET,
            repository,
            target: Target::Path(path),
            access: Access::Pull,
            accept: None,
            content: None,
            first_byte: 0,
            condition: None,
            limit,
        }
    }
}

impl RequestSender {
    /// Builds the sender. It sends nothing.
    pub(super) fn new(settings: RegistrySettings) -> Self {
        let RegistrySettings {
            http,
            credentials,
            insecure,
            retry_policy,
            events,
        } = settings;
        Self(Arc::new(Inner {
            transport: Transport::new(http, insecure, retry_policy, events),
            auth: AuthCache::new(credentials),
        }))
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    pub(super) fn auth(&self) -> &AuthCache {
        &self.0.auth
    }

    pub(super) fn features(&self) -> &HostFeatures {
        &self.0.transport.features
    }

    /// Sends an idempotent request, and retries until another attempt would not change the response.
    pub(super) async fn send(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<Response, RegistryErrorKind> {
        let what = request.text();
        self.with_retries(&what, || self.send_once(request)).await
    }

    /// Runs an idempotent `attempt` under the retry policy; `what` names it in the log.
    pub(super) async fn with_retries<T, E, Run>(
        &self,
        what: &str,
        attempt: impl FnMut() -> Run,
    ) -> Result<T, E>
    where
        E: Transient,
        Run: Future<Output = Result<T, E>>,
    {
        self.with_progress(what, &AtomicU64::new(0), attempt).await
    }

    /// Like [`Self::with_retries`], for an attempt that continues the one before: see [`with_progress`].
    pub(super) async fn with_progress<T, E, Run>(
        &self,
        what: &str,
        progress: &AtomicU64,
        attempt: impl FnMut() -> Run,
    ) -> Result<T, E>
    where
        E: Transient,
        Run: Future<Output = Result<T, E>>,
    {
        let Transport {
            retry_policy,
            events,
            ..
        } = self.transport();
        with_progress(*retry_policy, events, what, progress, attempt).await
    }

    /// Sends a request once, apart from repeats with other authorization. A transient error response is an error.
    pub(super) async fn send_once(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<Response, RegistryErrorKind> {
        let stream = self.open_stream(request).await?;
        stream.read(request.limit).await
    }

    /// Sends a request like [`Self::send_once`], but leaves the body of a success unread.
    pub(super) async fn open_stream(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<StreamingResponse, RegistryErrorKind> {
        let mut authorization = self.authorization(request).await?;
        for _ in 1..AUTHORIZATIONS_MAX {
            let stream = self
                .send_authorized(request, authorization.as_ref())
                .await?;
            let status = stream.head.status.as_u16();
            let sent = authorization.as_ref();
            if status != 401 && !AuthCache::may_be_stale(request.repository, status, sent) {
                return check_not_transient(stream);
            }
            let sent = authorization.as_ref();
            let better = self.renew(request, sent, &stream.head).await?;
            if better.is_none() {
                return check_not_transient(stream);
            }
            authorization = better;
        }
        check_not_transient(
            self.send_authorized(request, authorization.as_ref())
                .await?,
        )
    }

    /// Sends a request once to a host that is not the registry. SECURITY: without credentials.
    pub(super) async fn open_without_credentials(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<StreamingResponse, RegistryErrorKind> {
        let http_request = self.build(request, Scheme::Https, None)?;
        let opened = self.transport().open(http_request, request.task()).await;
        check_not_transient(opened?)
    }

    /// Returns the authorization for a request that has not been refused yet.
    pub(super) async fn authorization(
        &self,
        request: &RegistryRequest<'_>,
    ) -> Result<Option<Authorization>, RegistryErrorKind> {
        let Inner { transport, auth } = &*self.0;
        auth.authorization(transport, request.repository, &request.access)
            .await
    }

    /// Returns the authorization after a 401, or `None` if there is nothing better than `sent`.
    pub(super) async fn renew(
        &self,
        request: &RegistryRequest<'_>,
        sent: Option<&Authorization>,
        response: &Response,
    ) -> Result<Option<Authorization>, RegistryErrorKind> {
        let Inner { transport, auth } = &*self.0;
        let (repository, access) = (request.repository, &request.access);
        auth.after_challenge(transport, repository, access, sent, &response.headers)
            .await
    }

    /// Sends a request by the scheme of its host. A new host on this machine gets plain HTTP first. HTTPS follows if
    /// the response may come from a TLS server. The scheme is remembered once it is certain.
    async fn send_authorized(
        &self,
        request: &RegistryRequest<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<StreamingResponse, RegistryErrorKind> {
        let transport = self.transport();
        let host = request.repository.host();
        let by = async |scheme: Scheme| {
            let http_request = self.build(request, scheme, authorization)?;
            transport.open(http_request, request.task()).await
        };
        if let Some(scheme) = transport.scheme(host) {
            return by(scheme).await;
        }
        let plain = by(Scheme::Http).await;
        if may_want_tls(&plain) {
            let secure = by(Scheme::Https).await;
            // An untrusted certificate is also TLS, and its error is the better one to report.
            let is_tls = match &secure {
                Ok(_) => true,
                Err(kind) => kind.certificate().is_some(),
            };
            if is_tls {
                transport.features.remember_scheme(host, Scheme::Https);
                return secure;
            }
        } else if plain.is_ok() {
            transport.features.remember_scheme(host, Scheme::Http);
        }
        plain
    }

    /// Builds the HTTP request.
    pub(super) fn build(
        &self,
        request: &RegistryRequest<'_>,
        scheme: Scheme,
        authorization: Option<&Authorization>,
    ) -> Result<Request, RegistryErrorKind> {
        let repository = request.repository;
        let host = repository.host().api();
        let unusable = |cause: String| RegistryErrorKind::never_asked(host, cause);
        let url = match &request.target {
            Target::Address(url) => url.clone(),
            Target::Path(path) => {
                let scheme = scheme.as_str();
                let text = format!("{scheme}://{host}/v2/{}/{path}", repository.path());
                Url::parse(&text).map_err(|error| unusable(error.to_string()))?
            }
        };
        let mut builder = self.transport().request(request.method.clone(), url);
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if request.first_byte > 0 {
            builder = builder.header(RANGE, format!("bytes={}-", request.first_byte));
        }
        if let Some(condition) = &request.condition {
            let (name, value) = condition.header();
            builder = builder.header(name, value);
        }
        if let Some((media_type, bytes)) = request.content {
            builder = builder
                .header(CONTENT_TYPE, media_type)
                .body(bytes.to_vec());
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization.header.clone());
        }
        builder
            .build()
            .map_err(|error| RegistryErrorKind::not_built(host, &error))
    }

    /// Adds the context of an operation to an error.
    pub(super) fn error(
        &self,
        operation: Operation,
        repository: &Repository,
        object: String,
        kind: RegistryErrorKind,
    ) -> RegistryError {
        let auth = &self.0.auth;
        RegistryError {
            operation,
            object,
            repository: repository.clone(),
            credentials: auth.source_for(repository),
            is_challenged: auth.is_challenged(repository.host()),
            is_destination: auth.is_destination(repository),
            is_named_insecure: self.transport().is_named_insecure(repository.host()),
            media_type: None,
            helper: auth.unused_helper(repository),
            kind,
        }
    }

    /// Adds the context of an operation on a blob to an error.
    pub(super) fn blob_error(
        &self,
        operation: Operation,
        repository: &Repository,
        digest: &Digest,
        kind: RegistryErrorKind,
    ) -> RegistryError {
        let object = repository.at(digest).to_string();
        self.error(operation, repository, object, kind)
    }
}

impl RegistryRequest<'_> {
    /// Returns the task of the server. A registry may store content only once all of it has arrived: a manifest, a small
    /// blob, or a large one that is complete with its last request.
    fn task(&self) -> ServerTask {
        let has_content = self.content.is_some_and(|(_, bytes)| !bytes.is_empty());
        if has_content || self.method == Method::PUT {
            ServerTask::Store
        } else {
            ServerTask::Answer
        }
    }

    /// Returns the request as text for the log: `GET ghcr.io/o/r/manifests/v1`.
    pub(super) fn text(&self) -> String {
        let method = &self.method;
        match &self.target {
            Target::Path(path) => format!("{method} {}/{path}", self.repository),
            Target::Address(url) => format!("{method} {}{}", response::authority(url), url.path()),
        }
    }
}

fn check_not_transient(stream: StreamingResponse) -> Result<StreamingResponse, RegistryErrorKind> {
    let head = &stream.head;
    if !head.status.is_success() && ErrorResponse::of(head).is_transient() {
        Err(RegistryErrorKind::refused(head))
    } else {
        Ok(stream)
    }
}

/// True if the result of plain HTTP may come from a TLS server. Candidates are bytes that are not HTTP, a closed
/// connection, and a 400, which Go's and nginx's servers send. The body of the 400 would be clear, but a HEAD has none.
/// A refused connection and silence are no candidates, nor is a response with a registry's version header.
fn may_want_tls(plain: &Result<StreamingResponse, RegistryErrorKind>) -> bool {
    match plain {
        Ok(StreamingResponse { head, .. }) => {
            head.status == 400 && head.header("docker-distribution-api-version").is_none()
        }
        Err(RegistryErrorKind::Unreachable { error, .. }) => {
            error.kind != TransportErrorKind::Silence && !error.cause.contains("refused")
        }
        Err(RegistryErrorKind::Body { source, .. }) => matches!(source, BodyError::Broken(_)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_may_take_its_time_for_content_alone() {
        let repository: Repository = "ghcr.io/o/r".parse().unwrap();
        let task = |method: Method, content: Option<&'static [u8]>| {
            let request = RegistryRequest {
                method,
                content: content.map(|bytes| ("application/octet-stream", bytes)),
                ..RegistryRequest::get(&repository, String::new(), 0)
            };
            request.task()
        };
        for (method, content, wanted) in [
            (Method::GET, None, ServerTask::Answer),
            (Method::HEAD, None, ServerTask::Answer),
            (Method::DELETE, None, ServerTask::Answer),
            // Opens an upload session.
            (Method::POST, Some(&b""[..]), ServerTask::Answer),
            // Has the blob.
            (Method::POST, Some(&b"blob"[..]), ServerTask::Store),
            (Method::PATCH, Some(&b"chunk"[..]), ServerTask::Store),
            (Method::PUT, Some(&b"manifest"[..]), ServerTask::Store),
            // Completes an upload in chunks.
            (Method::PUT, Some(&b""[..]), ServerTask::Store),
        ] {
            assert_eq!(
                task(method.clone(), content),
                wanted,
                "{method} {content:?}"
            );
        }
    }
}
