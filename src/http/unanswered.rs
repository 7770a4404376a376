//! A request that nobody answered: why, whether trying again may help, and whether the other side is out of order.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use super::{CertificateProblem, cause_text};

const PROXY_WANTS_LOGIN: &str = "tunnel error: proxy authorization required";
const NO_TUNNEL: &str = "tunnel error: unsuccessful";
/// How hyper says that there is no address, whatever its resolver says.
const NO_NAME: &str = "dns error";
/// How hyper and h2, whose errors cannot be named here, say that the other side ended a connection or a stream.
const BROKEN_OFF: [&str; 3] = [
    "connection closed",
    "stream error received",
    "connection error received",
];

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{cause}", .through.as_ref().map(|through| format!("{through}: ")).unwrap_or_default())]
pub struct Unanswered {
    /// What happened, with all its causes.
    pub cause: String,
    /// What kind of thing happened.
    pub kind: UnansweredKind,
    /// The proxy that was to bring the question there.
    pub through: Option<Through>,
    /// Why the server's certificate is not accepted, where that is the reason.
    pub certificate: Option<Box<CertificateProblem>>,
}

/// What kept an answer from coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnansweredKind {
    /// The other side is out of order, or not there: refused, reset, no such name, a handshake that broke off.
    Outage,
    /// Nothing came back in time.
    Silence,
    /// What came back is neither TLS nor HTTP.
    Malformed,
    /// The proxy makes no tunnel, and does not say why.
    NoTunnel,
    /// The proxy wants a login.
    ProxyLogin,
    /// The certificate of the other side does not verify.
    Untrusted,
    /// The request cannot be made.
    NotSent,
}

/// A proxy that was asked. Its password is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("through the proxy `{address}` (`{variable}`)")]
pub struct Through {
    /// Where it is.
    pub address: String,
    /// The variable that names it.
    pub variable: &'static str,
}

impl Unanswered {
    /// What `error` says; nothing of a proxy, which it does not know.
    #[must_use]
    pub fn of(error: &reqwest::Error) -> Self {
        let certificate = tls_error_of(error).and_then(|error| {
            if let rustls::Error::InvalidCertificate(problem) = error {
                Some(Box::new(CertificateProblem::of(problem)))
            } else {
                None
            }
        });
        let cause = cause_text(error);
        let kind = UnansweredKind::of(error, &cause);
        let cause = certificate.as_ref().map_or(cause, ToString::to_string);
        let cause = cause.replace(PROXY_WANTS_LOGIN, "it wants a login (407)");
        let cause = cause.replace(NO_TUNNEL, "it makes no tunnel");
        let cause = cause.replace("tunnel error: failed to create underlying connection: ", "");
        Self {
            kind,
            cause,
            through: None,
            certificate,
        }
    }

    /// A server that was silent for so long; nothing of a proxy, which is not known here.
    #[must_use]
    pub fn silent(silence: Duration) -> Self {
        Self {
            cause: format!("it was silent for {silence:?}"),
            kind: UnansweredKind::Silence,
            through: None,
            certificate: None,
        }
    }

    /// The way that was tried, with a space before it; nothing where that is the straight one.
    #[must_use]
    pub fn way(&self) -> String {
        let through = self.through.as_ref();
        through
            .map(|through| format!(" {through}"))
            .unwrap_or_default()
    }

    /// Whether trying again cannot help, as with a certificate that is not trusted.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self.kind {
            UnansweredKind::Outage
            | UnansweredKind::Silence
            | UnansweredKind::Malformed
            | UnansweredKind::NoTunnel => false,
            UnansweredKind::ProxyLogin | UnansweredKind::Untrusted | UnansweredKind::NotSent => {
                true
            }
        }
    }

    /// Whether the other side is out of order, rather than somebody saying no, or something that makes no sense.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self.kind {
            UnansweredKind::Outage | UnansweredKind::Silence => true,
            UnansweredKind::Malformed
            | UnansweredKind::NoTunnel
            | UnansweredKind::ProxyLogin
            | UnansweredKind::Untrusted
            | UnansweredKind::NotSent => false,
        }
    }
}

impl UnansweredKind {
    /// Only what is known to be an outage is one.
    fn of(error: &reqwest::Error, cause: &str) -> Self {
        if let Some(error) = tls_error_of(error) {
            return Self::of_tls(error);
        }
        // By their words, since hyper's type for them cannot be named here.
        if cause.contains(PROXY_WANTS_LOGIN) {
            return Self::ProxyLogin;
        }
        if cause.contains(NO_TUNNEL) {
            return Self::NoTunnel;
        }
        if error.is_builder() || error.is_redirect() {
            return Self::NotSent;
        }
        if error.is_timeout() {
            return Self::Silence;
        }
        let is_broken_off = BROKEN_OFF.iter().any(|words| cause.contains(words));
        let is_unnamed = levels(error).any(|level| level.to_string() == NO_NAME);
        let is_io = levels(error)
            .filter_map(|level| level.downcast_ref::<io::Error>())
            .any(is_outage);
        if is_broken_off || is_unnamed || is_io {
            Self::Outage
        } else {
            Self::Malformed
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::AlertDescription::{CloseNotify, InternalError, UserCanceled};
        let is_untrusted = matches!(error, rustls::Error::InvalidCertificate(_));
        // The server breaks the handshake off. Its other alerts say what it does not like about us.
        let is_broken_off = matches!(
            error,
            rustls::Error::AlertReceived(InternalError | UserCanceled | CloseNotify)
        );
        match (is_untrusted, is_broken_off) {
            (true, _) => Self::Untrusted,
            (false, true) => Self::Outage,
            (false, false) => Self::Malformed,
        }
    }
}

/// Whether the connection, or the name, is at fault, and not what came through it.
fn is_outage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// The error and its causes.
fn levels(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |level| (**level).source())
}

fn tls_error_of(error: &reqwest::Error) -> Option<&rustls::Error> {
    levels(error).find_map(tls_error)
}

/// A TLS error hides in an I/O error, perhaps in several, none of which names it as its source.
fn tls_error<'a>(level: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = level.downcast_ref::<io::Error>()?.get_ref()?;
    inner
        .downcast_ref::<rustls::Error>()
        .or_else(|| tls_error(inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// What a client says of `scheme://` a server that does this with its only connection.
    async fn said(scheme: &str, serve: impl FnOnce(TcpStream) + Send + 'static) -> Unanswered {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        let client = reqwest::Client::builder().tls_certs_only([]);
        let client = client.timeout(Duration::from_millis(500)).build().unwrap();
        let error = match client.get(url).send().await {
            Ok(response) => response.bytes().await.unwrap_err(),
            Err(error) => error,
        };
        Unanswered::of(&error)
    }

    fn heard(stream: &mut TcpStream) {
        let _ = stream.read(&mut [0; 1024]);
    }

    #[tokio::test]
    async fn only_what_is_known_to_be_an_outage_is_one() {
        let answer = |text: &'static str| {
            move |mut stream: TcpStream| {
                heard(&mut stream);
                let _ = stream.write_all(text.as_bytes());
            }
        };
        let silent = |mut stream: TcpStream| {
            // Ends when the client does.
            while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
        };
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        let internal_error = "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{50}";
        let handshake_failure = "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}";
        for (what, said, wanted) in [
            ("closed", said("http", drop).await, UnansweredKind::Outage),
            (
                "closed when asked",
                said("http", answer("")).await,
                UnansweredKind::Outage,
            ),
            (
                "cut",
                said("http", answer(cut)).await,
                UnansweredKind::Outage,
            ),
            ("late", said("http", silent).await, UnansweredKind::Silence),
            (
                "handshake closed",
                said("https", answer("")).await,
                UnansweredKind::Outage,
            ),
            (
                "handshake late",
                said("https", silent).await,
                UnansweredKind::Silence,
            ),
            (
                "handshake given up",
                said("https", answer(internal_error)).await,
                UnansweredKind::Outage,
            ),
            (
                "handshake refused",
                said("https", answer(handshake_failure)).await,
                UnansweredKind::Malformed,
            ),
            (
                "no TLS",
                said("https", answer("HTTP/1.1 200 OK\r\n\r\n")).await,
                UnansweredKind::Malformed,
            ),
            (
                "no HTTP",
                said("http", answer("SSH-2.0-x\r\n\r\n")).await,
                UnansweredKind::Malformed,
            ),
        ] {
            assert_eq!(said.kind, wanted, "{what}: {said}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_an_outage_and_an_address_that_is_none_is_not() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        let client = reqwest::Client::builder().tls_certs_only([]);
        let client = client.build().unwrap();
        for (url, wanted) in [
            (refused.as_str(), UnansweredKind::Outage),
            // RFC 6761: no such name, ever.
            ("http://registry.invalid/", UnansweredKind::Outage),
            ("file:///x", UnansweredKind::NotSent),
        ] {
            let error = client.get(url).send().await.unwrap_err();
            assert_eq!(Unanswered::of(&error).kind, wanted, "{url}");
        }
    }

    #[test]
    fn certificate_that_does_not_verify_is_no_outage() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(UnansweredKind::of_tls(&tls()), UnansweredKind::Untrusted);
        assert!(tls_error(&Error::other(tls())).is_some());
        assert!(tls_error(&Error::other(Error::other(tls()))).is_some());
        assert!(tls_error(&Error::other("refused")).is_none());
    }
}
