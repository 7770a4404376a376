//! The HTTP client and its settings.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Request, RequestBuilder, StatusCode, Url};

use super::transport_error::cause_text;
use super::tunnel_probe::tunnel_status;
use super::{
    Certificates, HttpError, IncomingResponse, NameResolver, Proxies, ServerTask, Timeouts,
    TransportError, TransportErrorKind,
};

/// The name of this program in requests. A project of Harbor that only lets signed images be pulled lets those who may
/// push read an unsigned one if this contains `cosign`: they have to sign it. Source: `SkipPolicyChecking` in Harbor's
/// `src/server/middleware/util/util.go`.
const AGENT: &str = concat!(
    "manifest-seal/",
    env!("CARGO_PKG_VERSION"),
    " (cosign-compatible)"
);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2: the interval between PINGs on a connection with open requests. Without PINGs, every retry would use a
/// connection whose other end is dead.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The longest wait for the response to a PING. A PING may wait behind a whole upload on a slow line. Interval and
/// timeout together are therefore as long as an upload may stand still.
const PING_TIMEOUT: Duration = Timeouts::USUAL.receive.saturating_sub(PING_INTERVAL);

/// HTTP/2: the most bytes of one body that may arrive before it is read. All bodies of a host share one connection.
/// Unread bytes must leave room for the other bodies, or the connection stalls.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2: the number of bodies of one host that may wait unread. That is one for each of the 32 concurrent requests, and
/// a few for copies of blobs.
const UNREAD_BODIES_MAX: u32 = 40;
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * UNREAD_BODIES_MAX;
/// HTTP/2: the limit for headers, equal to the library's limit for HTTP/1.1.
const HEADERS_MAX_BYTES: u32 = 8192 + 4096 * 100;

/// The HTTP client that all modules share, together with its connections.
///
/// It follows no redirects: the caller decides which redirects are allowed. It trusts the public authorities, the
/// machine's and the given ones.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    /// The longest silences of a server. reqwest's own timeout is not used: it counts the time to send a request's body
    /// as silence. Large uploads would then need a client and connections of their own.
    timeouts: Timeouts,
    proxies: Proxies,
    names: NameResolver,
    /// True if the user gave authorities.
    has_bundle: bool,
}

impl Client {
    /// Builds the client of a run. It sends nothing.
    pub fn new(
        certificates: &Certificates,
        proxies: Proxies,
        names: NameResolver,
    ) -> Result<Self, HttpError> {
        let inner = reqwest::Client::builder()
            // `_only`: reqwest then leaves out the platform's verifier, which cannot be built without system roots.
            .tls_certs_only(certificates.with_public_ones())
            .redirect(reqwest::redirect::Policy::none())
            // SECURITY: digests and limits apply to the bytes as they arrive, so nothing is decompressed. Other crates
            // enable these features for all.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADERS_MAX_BYTES)
            .user_agent(AGENT)
            .dns_resolver(Arc::new(names.clone()))
            .no_proxy()
            .proxy(proxies.chooser())
            .build()
            .map_err(|error| HttpError::Setup {
                cause: cause_text(&error),
            })?;
        Ok(Self {
            inner,
            timeouts: Timeouts::USUAL,
            proxies,
            names,
            has_bundle: !certificates.is_empty(),
        })
    }

    /// Builds a client with the system's settings.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Result<Self, HttpError> {
        let names = NameResolver::new(crate::http::NameSettings::of_system());
        Self::new(&Certificates::default(), Proxies::default(), names)
    }

    /// Wraps a client that has its own connections and timeouts.
    #[cfg(test)]
    pub(crate) fn of(inner: reqwest::Client, timeouts: Timeouts) -> Self {
        Self {
            inner,
            timeouts,
            proxies: Proxies::default(),
            names: NameResolver::new(crate::http::NameSettings::of_system()),
            has_bundle: false,
        }
    }

    /// Returns a builder for a request.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Opens a connection to the server of `url`, so that a later request need not wait for it. HTTP libraries open a
    /// connection only for a request, so this sends a HEAD and ignores the response.
    pub async fn connect(&self, url: Url) {
        let _ = self.request(Method::HEAD, url).send().await;
    }

    /// Returns a builder for a GET.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Returns a builder for a POST.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Returns the longest silence in which a server may do `task`.
    #[must_use]
    pub fn silence(&self, task: ServerTask) -> Duration {
        self.timeouts.silence(task)
    }

    /// Sends `request` once. It may take any time, unless the server is silent for longer than `task` takes.
    pub async fn execute(
        &self,
        request: Request,
        task: ServerTask,
    ) -> Result<IncomingResponse, TransportError> {
        let proxy = self.proxies.used_for(request.url());
        let silence = self.silence(task);
        match tokio::time::timeout(silence, self.upload(request)).await {
            Ok(sent) => sent,
            Err(_) => Err(TransportError {
                proxy,
                ..TransportError::silent(silence)
            }),
        }
    }

    /// Sends `request` and waits for its response without a time limit. The body may take any time; the caller must
    /// watch its progress.
    pub async fn upload(&self, request: Request) -> Result<IncomingResponse, TransportError> {
        let proxy = self.proxies.used_for(request.url());
        let target = request.url().clone();
        let inner = match self.inner.execute(request).await {
            // A proxy forwards plain HTTP without a tunnel.
            Ok(response)
                if proxy.is_some()
                    && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                return Err(TransportError {
                    proxy,
                    ..TransportError::wants_login()
                });
            }
            Ok(response) => response,
            Err(error) => {
                let mut error = TransportError::of(&error);
                if self.has_bundle {
                    error = error.with_bundle();
                }
                if error.kind == TransportErrorKind::NoTunnel
                    && let Some(address) = self.proxies.address(&target)
                    && let Some(status) = tunnel_status(&self.names, &address, &target).await
                {
                    error = error.with_status(status);
                }
                return Err(TransportError { proxy, ..error });
            }
        };
        Ok(IncomingResponse {
            inner,
            silence: self.silence(ServerTask::Answer),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BodyError, TransportErrorKind, read};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const SILENCE: Duration = Duration::from_millis(50);

    fn client() -> Client {
        let inner = reqwest::Client::builder().tls_certs_only([]).build();
        Client::of(inner.unwrap(), Timeouts::short(SILENCE, 10 * SILENCE))
    }

    fn request(listener: &TcpListener) -> Request {
        let url = format!("http://{}/", listener.local_addr().unwrap());
        Request::new(Method::GET, url.parse().unwrap())
    }

    /// Accepts the next connection and reads its request.
    async fn asked(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream
    }

    #[test]
    fn client_is_made_without_extra_certificates() {
        assert!(Client::for_tests().is_ok());
    }

    #[tokio::test]
    async fn silence_ends_a_request_and_no_upload() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();

        let client = client();
        let upload = tokio::spawn({
            let (client, request) = (client.clone(), request(&listener));
            async move { client.upload(request).await }
        });
        let mut uploading = asked(&listener).await;
        // The request starts after the upload, and fails before the upload is answered.
        let (ended, _held) = tokio::join!(
            client.execute(request(&listener), ServerTask::Answer),
            asked(&listener)
        );
        let error = ended.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Silence);
        assert_eq!(error.to_string(), "it was silent for 50ms");
        let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
        uploading.write_all(answer).await.unwrap();
        assert_eq!(upload.await.unwrap().unwrap().status(), 201);
    }

    #[tokio::test]
    async fn silence_ends_a_body() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client();
        let half = async || {
            let mut stream = asked(&listener).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let (response, _held) = tokio::join!(
            client.execute(request(&listener), ServerTask::Answer),
            half()
        );
        let error = read(response.unwrap(), 8).await.unwrap_err();
        let BodyError::Broken(error) = error else {
            panic!("{error}")
        };
        assert_eq!(error.kind, TransportErrorKind::Silence);
    }
}
