//! TLS before a server that speaks without: with a certificate by an authority that nobody knows yet.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::listener::{Listener, Port};
use crate::sigstore::{Authority, Key, pem};

/// A running front; dropping it ends it.
pub struct Tls {
    listener: Listener,
    authority: String,
}

impl Tls {
    /// Speaks for the server at `place`, as `name`.
    pub fn before(place: SocketAddr, name: &str) -> Self {
        let authority = Authority::new();
        let key = Key::generate();
        let certificate = authority
            .issue_server(&key, name)
            .expect("a certificate can be made");
        let chain = vec![CertificateDer::from(certificate)];
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.pkcs8()).into())
            .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = Port::take().serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // A client that does not trust us goes away, as it should.
                if let Ok(mut here) = acceptor.accept(stream).await
                    && let Ok(mut there) = TcpStream::connect(place).await
                {
                    drop(copy_bidirectional(&mut here, &mut there).await);
                }
            }
        });
        Self {
            listener,
            authority: pem("CERTIFICATE", authority.certificate()),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Who vouches for it, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}
