//! Helpers of the audits of all registry and Sigstore requests: ways in which a response can fail, and clients that
//! soon notice it.

use std::time::Duration;

use sandbox::certificate_authority;

use crate::http::{Client, Timeouts};

/// A way in which a response fails to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// The connection or the stream is closed instead.
    Reset,
    /// Half of the expected response, then the end.
    Cut,
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Fails {
    /// All variants.
    pub(crate) const ALL: [Self; 3] = [Self::Reset, Self::Cut, Self::Silence];
}

/// A response, or the way in which it fails.
pub(crate) type Case<Says> = Result<(u16, Says), Fails>;

/// The transport of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Plain,
    Http2,
}

/// A normal client, and one with a short timeout for a silent server.
pub(crate) struct Clients([Client; 2]);

impl Clients {
    /// Builds two clients that trust the sandbox and use `proxy`.
    pub(crate) fn new(proxy: Option<&reqwest::Proxy>) -> Self {
        let authority = certificate_authority();
        let client = |silence| {
            let root = reqwest::Certificate::from_pem(authority.as_bytes());
            let builder = reqwest::Client::builder()
                .tls_certs_only([root.unwrap()])
                .redirect(reqwest::redirect::Policy::none());
            let builder = proxy
                .into_iter()
                .cloned()
                .fold(builder, reqwest::ClientBuilder::proxy);
            Client::of(builder.build().unwrap(), Timeouts::short(silence, silence))
        };
        Self([Duration::from_secs(30), Duration::from_millis(250)].map(client))
    }

    /// Returns the client for `case`.
    pub(crate) fn of<Says>(&self, case: &Case<Says>) -> &Client {
        &self.0[usize::from(matches!(case, Err(Fails::Silence)))]
    }
}
