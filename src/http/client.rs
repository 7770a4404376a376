//! How the one client is set up.

use std::time::Duration;

use super::{Certificates, HttpError, cause_text, proxies};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may be silent, before its answer and within it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the client that all rooms share, so that they share its connections.
///
/// It follows no redirect (who may be redirected where is for the caller to say), takes proxies from the environment
/// except for this machine itself, and trusts the public authorities, this machine's and `certificates`.
pub fn client(certificates: &Certificates) -> Result<reqwest::Client, HttpError> {
    build(certificates, |builder| builder.read_timeout(READ_TIMEOUT))
}

/// Makes a client like [`client`], but one that waits without end: reqwest counts the time that a request's body takes
/// to be sent as silence of the server. Who sends large bodies must watch over them.
pub fn upload_client(certificates: &Certificates) -> Result<reqwest::Client, HttpError> {
    build(certificates, |builder| builder)
}

fn build(
    certificates: &Certificates,
    finish: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        // `_only`: reqwest then leaves out the platform's verifier, which cannot be made where there are no system roots.
        .tls_certs_only(certificates.with_public_ones())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("manifest-seal/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    for proxy in proxies::from_environment(|name| std::env::var(name).ok())? {
        builder = builder.proxy(proxy);
    }
    finish(builder).build().map_err(|error| HttpError::Setup {
        cause: cause_text(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_made_without_extra_certificates() {
        assert!(client(&Certificates::default()).is_ok());
    }
}
