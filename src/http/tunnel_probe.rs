//! The status of a proxy that opens no tunnel. The HTTP library does not report it, so the request for the tunnel is sent
//! once more, by itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::names::NameResolver;

/// The longest time for the status.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// The length of `HTTP/1.1 403`.
const STATUS_LINE_BYTES: usize = 12;

/// Returns the status that the proxy at `address` gives for a tunnel to `target`. `None` if it gives none, or the proxy has
/// TLS.
pub(super) async fn tunnel_status(
    names: &NameResolver,
    address: &Url,
    target: &Url,
) -> Option<u16> {
    if address.scheme() != "http" {
        return None;
    }
    timeout(PROBE_MAX, ask(names, address, target)).await.ok()?
}

async fn ask(names: &NameResolver, address: &Url, target: &Url) -> Option<u16> {
    let host = address.host_str()?;
    let port = address.port_or_known_default()?;
    let ip = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => *names.addresses(host).await.ok()?.first()?,
    };
    let mut stream = TcpStream::connect(SocketAddr::new(ip, port)).await.ok()?;
    let wanted = format!("{}:{}", target.host_str()?, target.port_or_known_default()?);
    let login = login_of(address).map_or(String::new(), |login| {
        let login = STANDARD.encode(login);
        format!("Proxy-Authorization: Basic {login}\r\n")
    });
    let request = format!("CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n{login}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut line = [0; STATUS_LINE_BYTES];
    stream.read_exact(&mut line).await.ok()?;
    status_of(&line)
}

/// Returns `user:password` of an address, as the proxy expects it.
fn login_of(address: &Url) -> Option<Vec<u8>> {
    let password = address.password().unwrap_or_default();
    let user = percent_decode_str(address.username());
    let login = user.chain(*b":").chain(percent_decode_str(password));
    (!address.username().is_empty()).then(|| login.collect())
}

/// Reads the status in the beginning of a response.
pub(super) fn status_of(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let (version, status) = line.split_once(' ')?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    let status = status.parse().ok().filter(|_| is_status);
    status.filter(|_| version.starts_with("HTTP/1."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_is_decoded() {
        let login = |text: &str| login_of(&Url::parse(text).unwrap());
        let wanted = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(
            login("http://me:pa%23ss%40@proxy.test"),
            wanted("me:pa#ss@")
        );
        assert_eq!(login("http://me@proxy.test"), wanted("me:"));
        assert_eq!(login("http://proxy.test"), None);
    }
}
