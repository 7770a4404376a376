//! The one client, and how it is set up.

use std::time::Duration;

use reqwest::{Method, Request, RequestBuilder, Response, Url};

use super::{Certificates, HttpError, Proxies, Unanswered, cause_text};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, before its answer and within it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an upload may stand still. Longer than a download may, so that the side that stalls is the one named.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(1);
/// HTTP/2: how long a connection may be silent that has requests under way, before it is asked whether it lives (PING).
/// Without that, a connection that has died is taken for every retry.
const PING_INTERVAL: Duration = Duration::from_secs(10);

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
    certificates: Certificates,
    proxies: Proxies,
}

impl Client {
    /// A client that waits so long for a server that is silent, and no longer.
    pub fn new(certificates: Certificates, proxies: Proxies) -> Result<Self, HttpError> {
        Self::build(certificates, proxies, |builder| {
            builder
                .read_timeout(READ_TIMEOUT)
                .http2_keep_alive_timeout(READ_TIMEOUT.saturating_sub(PING_INTERVAL))
        })
    }

    /// A client like this one that waits without end: reqwest counts the time that a request's body takes to be sent as
    /// silence of the server. Who sends large bodies must watch over them.
    pub fn for_uploads(&self) -> Result<Self, HttpError> {
        let (certificates, proxies) = (self.certificates.clone(), self.proxies.clone());
        Self::build(certificates, proxies, |builder| {
            // Its PING waits behind what is being sent, which may take a while.
            builder.http2_keep_alive_timeout(STALL_TIMEOUT.saturating_sub(PING_INTERVAL))
        })
    }

    /// A client with an impatience of its own.
    #[cfg(test)]
    pub(crate) fn of(inner: reqwest::Client, certificates: Certificates) -> Self {
        Self {
            inner,
            certificates,
            proxies: Proxies::default(),
        }
    }

    fn build(
        certificates: Certificates,
        proxies: Proxies,
        finish: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, HttpError> {
        let builder = reqwest::Client::builder()
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
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADERS_MAX_BYTES)
            .user_agent(concat!("manifest-seal/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .proxy(proxies.chooser());
        let inner = finish(builder).build().map_err(|error| HttpError::Setup {
            cause: cause_text(&error),
        })?;
        Ok(Self {
            inner,
            certificates,
            proxies,
        })
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

    /// Sends `request` once.
    pub async fn execute(&self, request: Request) -> Result<Response, Unanswered> {
        let through = self.proxies.way_to(request.url());
        let sent = self.inner.execute(request).await;
        sent.map_err(|error| Unanswered {
            through,
            ..Unanswered::of(&error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_made_without_extra_certificates() {
        assert!(Client::new(Certificates::default(), Proxies::default()).is_ok());
    }
}
