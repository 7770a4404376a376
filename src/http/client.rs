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
        // SECURITY: a digest is of the bytes that come, and a bound on them too: nothing is unpacked on the way. Other crates
        // switch this on for all.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn nothing_is_unpacked_on_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let answer =
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nblob";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        let client = client(&Certificates::default()).unwrap();
        let answer = client.get(format!("http://{address}/")).send().await;
        assert_eq!(answer.unwrap().bytes().await.unwrap(), "blob");
        let asked = served.await.unwrap();
        assert!(!asked.contains("accept-encoding"), "{asked}");
    }

    #[test]
    fn client_is_made_without_extra_certificates() {
        assert!(client(&Certificates::default()).is_ok());
    }
}
