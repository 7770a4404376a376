//! For the audits of all requests, those of registries and those of Sigstore: how an answer can fail to come, and clients that
//! see it fail soon.

use std::time::Duration;

use sandbox::certificate_authority;

use crate::http::Client;

/// How an answer does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// The connection, or the stream, is closed instead.
    Reset,
    /// Half of what was hoped for, then the end.
    Cut,
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Fails {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Reset, Self::Cut, Self::Silence];
}

/// An answer, or none.
pub(crate) type Case<Says> = Result<(u16, Says), Fails>;

/// The transport by which everything is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Plain,
    Http2,
}

/// A client, and one that does not wait long, for a server that is silent.
pub(crate) struct Clients([Client; 2]);

impl Clients {
    /// Two that trust the sandbox and go through `proxy`.
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
            Client::of(builder.build().unwrap(), silence)
        };
        Self([Duration::from_secs(30), Duration::from_millis(250)].map(client))
    }

    /// The one that `case` is played with.
    pub(crate) fn of<Says>(&self, case: &Case<Says>) -> &Client {
        &self.0[usize::from(matches!(case, Err(Fails::Silence)))]
    }
}
