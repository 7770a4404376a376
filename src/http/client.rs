//! The one client, and how it is set up.

use std::time::Duration;

use reqwest::{Method, Request, RequestBuilder, Url};

use super::{Certificates, HttpError, Proxies, Response, Unanswered, cause_text};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, before its answer and within it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an upload may stand still. Longer than a download may, so that the side that stalls is the one named.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// HTTP/2: how often a connection that has requests under way is asked whether it lives (PING). Without that, one whose other
/// end has died is taken for every retry.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer to a PING may take. It may wait behind all of an upload that a slow line has taken in, so that it has as long
/// as an upload may stand still.
const PING_TIMEOUT: Duration = STALL_TIMEOUT.saturating_sub(PING_INTERVAL);

/// HTTP/2: how much of one body may come in before it is read. All bodies of a host share one connection: what waits there
/// to be read must leave room for the others, or nothing moves any more.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2: how many bodies of one host may wait to be read: as many requests as are under way there at once, and as many
/// copies of blobs.
const UNREAD_BODIES_MAX: u32 = 16;
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * UNREAD_BODIES_MAX;
/// HTTP/2: as much as the library takes over HTTP/1.1.
const HEADERS_MAX_BYTES: u32 = 8192 + 4096 * 100;

/// The client that all rooms share, so that they share its connections.
///
/// It follows no redirect (who may be redirected where is for the caller to say), and trusts the public authorities, this
/// machine's and those that it is given.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    /// How long a server may be silent, before its answer and within it. Not left to reqwest, which counts the time that a
    /// request's body takes to be sent as silence of the server: large uploads would need a client, and connections, of their own.
    silence: Duration,
    proxies: Proxies,
}

impl Client {
    /// Makes the client of a run. It asks nobody yet.
    pub fn new(certificates: &Certificates, proxies: Proxies) -> Result<Self, HttpError> {
        let inner = reqwest::Client::builder()
            // `_only`: reqwest then leaves out the platform's verifier, which cannot be made where there are no system roots.
            .tls_certs_only(certificates.with_public_ones())
            .redirect(reqwest::redirect::Policy::none())
            // SECURITY: a digest is of the bytes that come, and a bound on them too: nothing is unpacked on the way. Other
            // crates switch this on for all.
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
            .user_agent(concat!("manifest-seal/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .proxy(proxies.chooser())
            .build()
            .map_err(|error| HttpError::Setup {
                cause: cause_text(&error),
            })?;
        Ok(Self {
            inner,
            silence: READ_TIMEOUT,
            proxies,
        })
    }

    /// A client with connections, and an impatience, of its own.
    #[cfg(test)]
    pub(crate) fn of(inner: reqwest::Client, silence: Duration) -> Self {
        Self {
            inner,
            silence,
            proxies: Proxies::default(),
        }
    }

    /// A request to be filled in.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    /// Opens a connection to the server of `url`, so that a request that follows need not wait for it. HTTP libraries open
    /// one for a request alone: this is a HEAD, whose answer says nothing.
    pub async fn connect(&self, url: Url) {
        let _ = self.request(Method::HEAD, url).send().await;
    }

    /// A GET to be filled in.
    pub fn get(&self, url: Url) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST to be filled in.
    pub fn post(&self, url: Url) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Sends `request` once. The server may take so long as it is never silent for half a minute.
    pub async fn execute(&self, request: Request) -> Result<Response, Unanswered> {
        let through = self.proxies.way_to(request.url());
        match tokio::time::timeout(self.silence, self.upload(request)).await {
            Ok(sent) => sent,
            Err(_) => Err(Unanswered {
                through,
                ..Unanswered::silent(self.silence)
            }),
        }
    }

    /// Sends `request`, with a body that may take any time, and waits for its answer without end: its caller watches over it.
    pub async fn upload(&self, request: Request) -> Result<Response, Unanswered> {
        let through = self.proxies.way_to(request.url());
        let sent = self.inner.execute(request).await;
        let inner = sent.map_err(|error| Unanswered {
            through,
            ..Unanswered::of(&error)
        })?;
        Ok(Response {
            inner,
            silence: self.silence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{UnansweredKind, read};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const SILENCE: Duration = Duration::from_millis(50);

    fn client() -> Client {
        let inner = reqwest::Client::builder().tls_certs_only([]).build();
        Client::of(inner.unwrap(), SILENCE)
    }

    fn request(listener: &TcpListener) -> Request {
        let url = format!("http://{}/", listener.local_addr().unwrap());
        Request::new(Method::GET, url.parse().unwrap())
    }

    /// The next connection, whose request has come.
    async fn asked(listener: &TcpListener) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream
    }

    #[test]
    fn client_is_made_without_extra_certificates() {
        assert!(Client::new(&Certificates::default(), Proxies::default()).is_ok());
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
        // It begins after the upload, and ends before it is answered.
        let (ended, _held) = tokio::join!(client.execute(request(&listener)), asked(&listener));
        let unanswered = ended.unwrap_err();
        assert_eq!(unanswered.kind, UnansweredKind::Silence);
        assert_eq!(unanswered.to_string(), "it was silent for 50ms");
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
        let (response, _held) = tokio::join!(client.execute(request(&listener)), half());
        let error = read(response.unwrap(), 8).await.unwrap_err();
        let HttpError::Broken(unanswered) = error else {
            panic!("{error}")
        };
        assert_eq!(unanswered.kind, UnansweredKind::Silence);
    }
}
