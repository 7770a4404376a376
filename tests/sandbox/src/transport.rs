//! The transport of a server: plain HTTP, or TLS with a certificate of the sandbox's own authority, and the HTTP version.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::registry::Service;
use crate::sigstore::{Authority, Key, pem};

/// The variable with the default transport of servers: `plain`, or a name of ALPN, `http/1.1` or `h2`.
const VARIABLE: &str = "MANIFEST_SEAL_TEST_TRANSPORT";

/// Hosts that resolve to this machine in tests, besides those of the hosted registries. `*.test` is reserved.
const NAMES: [&str; 12] = [
    "localhost",
    "plain.test",
    "crowded.test",
    "guarded.test",
    "harbor.test",
    "other.test",
    "posted.test",
    "registry.test",
    "storage.test",
    "registry-1.docker.io",
    "hub.docker.com",
    "api.github.com",
];

/// The transport of a server. The default is the one in `MANIFEST_SEAL_TEST_TRANSPORT`, else plain HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    layer: Layer,
    pub(crate) streams_max: Option<u32>,
    pub(crate) window_bytes: Option<u32>,
    certificate: ServerCertificate,
}

/// The certificate of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerCertificate {
    /// One of the sandbox's authority, for every name in tests.
    Right,
    /// One of an authority that no client trusts.
    ByUnknownAuthority,
    /// One that expired an hour ago.
    Ended,
    /// One that becomes valid in an hour.
    NotBegun,
    /// One for `elsewhere.test` alone.
    ForAnotherName,
    /// One for the address 192.0.2.1 alone.
    ForAnAddress,
    /// One without a subjectAltName.
    Nameless,
    /// The certificate of the sandbox's authority itself.
    OfTheAuthority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Plain,
    Tls,
    TlsWithHttp2,
}

impl Transport {
    /// HTTP/1.1 without TLS.
    pub const PLAIN: Self = Self::of(Layer::Plain);
    /// TLS with HTTP/1.1 alone: ALPN refuses HTTP/2.
    pub const HTTP1: Self = Self::of(Layer::Tls);
    /// TLS with HTTP/2 for clients that offer it by ALPN, and HTTP/1.1 for others.
    pub const HTTP2: Self = Self::of(Layer::TlsWithHttp2);

    const fn of(layer: Layer) -> Self {
        Self {
            layer,
            streams_max: None,
            window_bytes: None,
            certificate: ServerCertificate::Right,
        }
    }

    /// Sets the certificate, with TLS.
    #[must_use]
    pub const fn showing(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = certificate;
        self
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "" | "plain" => Some(Self::PLAIN),
            "http/1.1" => Some(Self::HTTP1),
            "h2" => Some(Self::HTTP2),
            _ => None,
        }
    }

    /// Limits the parallel requests of one connection, with HTTP/2 (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    #[must_use]
    pub const fn streams_max(mut self, streams: u32) -> Self {
        self.streams_max = Some(streams);
        self
    }

    /// Limits the unacknowledged bytes of a request's body, with HTTP/2 (`SETTINGS_INITIAL_WINDOW_SIZE`).
    #[must_use]
    pub const fn window_bytes(mut self, bytes: u32) -> Self {
        self.window_bytes = Some(bytes);
        self
    }

    /// Returns `http` or `https`.
    pub fn scheme(self) -> &'static str {
        match self.layer {
            Layer::Plain => "http",
            Layer::Tls | Layer::TlsWithHttp2 => "https",
        }
    }

    /// True if clients must trust the sandbox's authority.
    pub fn is_tls(self) -> bool {
        self.layer != Layer::Plain
    }

    /// True if it serves clients that speak HTTP/2.
    pub fn is_http2(self) -> bool {
        self.layer == Layer::TlsWithHttp2
    }

    /// Returns the TLS acceptor, if the transport has TLS.
    pub(crate) fn acceptor(self) -> Option<TlsAcceptor> {
        static HTTP1: OnceLock<Arc<ServerConfig>> = OnceLock::new();
        static HTTP2: OnceLock<Arc<ServerConfig>> = OnceLock::new();
        let (config, protocols) = match self.layer {
            Layer::Plain => return None,
            Layer::Tls => (&HTTP1, &["http/1.1"][..]),
            Layer::TlsWithHttp2 => (&HTTP2, &["h2", "http/1.1"][..]),
        };
        let make = || Arc::new(server_config(protocols, self.certificate));
        let config = match self.certificate {
            ServerCertificate::Right => Arc::clone(config.get_or_init(make)),
            ServerCertificate::ByUnknownAuthority
            | ServerCertificate::Ended
            | ServerCertificate::NotBegun
            | ServerCertificate::ForAnotherName
            | ServerCertificate::ForAnAddress
            | ServerCertificate::Nameless
            | ServerCertificate::OfTheAuthority => make(),
        };
        Some(TlsAcceptor::from(config))
    }
}

impl Default for Transport {
    fn default() -> Self {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        Self::named(&name).expect("`MANIFEST_SEAL_TEST_TRANSPORT` is `plain`, `http/1.1` or `h2`")
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self.layer {
            Layer::Plain => "HTTP/1.1 without TLS",
            Layer::Tls => "TLS, HTTP/1.1",
            Layer::TlsWithHttp2 => "TLS, HTTP/2",
        })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

/// Returns the authority of every server of this process, as PEM, for clients to trust.
pub fn certificate_authority() -> String {
    pem("CERTIFICATE", authority().certificate())
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::named("CN=tls.sandbox,O=sandbox"))
}

fn server_config(protocols: &[&str], certificate: ServerCertificate) -> ServerConfig {
    let (certificate, key) = issue(certificate);
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivatePkcs8KeyDer::from(key).into(),
        )
        .expect("the key is the certificate's");
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    config
}

/// Issues a certificate as DER, and its key as PKCS 8.
fn issue(certificate: ServerCertificate) -> (Vec<u8>, Vec<u8>) {
    let key = Key::generate();
    let hosted = Service::ALL
        .into_iter()
        .chain([Service::GitLab])
        .flat_map(Service::hosts);
    let names: Vec<&str> = NAMES.into_iter().chain(hosted).collect();
    let (now, hour) = (SystemTime::now(), Duration::from_hours(1));
    let good = now - hour..now + 24 * hour;
    let issued = match certificate {
        ServerCertificate::Right => authority().issue_server(&key, &names, good),
        ServerCertificate::ByUnknownAuthority => {
            Authority::named("CN=nobody.sandbox").issue_server(&key, &names, good)
        }
        ServerCertificate::Ended => {
            authority().issue_server(&key, &names, now - 2 * hour..now - hour)
        }
        ServerCertificate::NotBegun => {
            authority().issue_server(&key, &names, now + hour..now + 2 * hour)
        }
        ServerCertificate::ForAnotherName => {
            authority().issue_server(&key, &["elsewhere.test"], good)
        }
        ServerCertificate::ForAnAddress => authority().issue_server(&key, &["192.0.2.1"], good),
        ServerCertificate::Nameless => authority().issue_server(&key, &[], good),
        ServerCertificate::OfTheAuthority => {
            return (authority().certificate().to_vec(), authority().pkcs8());
        }
    };
    (issued.expect("a certificate can be made"), key.pkcs8())
}
