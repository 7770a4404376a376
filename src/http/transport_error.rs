//! A request without a response: the cause, whether a retry may help, and whether the other side is down.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use super::{CertificateProblem, NameError};
use crate::domain::chain_text;

const PROXY_WANTS_LOGIN: &str = "tunnel error: proxy authorization required";
/// The text of hyper-util for a proxy that it could not connect to.
const NO_PROXY_CONNECTION: &str = "tunnel error: failed to create underlying connection: ";
const NO_TUNNEL: &str = "tunnel error: unsuccessful";
/// The texts of hyper and h2 for a connection or stream that the other side ended. Their error types cannot be named
/// here.
const BROKEN_OFF: [&str; 3] = [
    "connection closed",
    "stream error received",
    "connection error received",
];

/// rustls' message for a connection that ended during TLS. Its link does not help the author of a workflow.
const TLS_CUT: &str = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";

/// The reason why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{cause}", .proxy.as_ref().map(|proxy| format!("{proxy}: ")).unwrap_or_default())]
pub struct TransportError {
    /// The error, with all its causes.
    pub cause: String,
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// The proxy that the request was sent through.
    pub proxy: Option<Box<UsedProxy>>,
    /// The problem with the server's certificate, if that is the reason.
    pub certificate: Option<Box<CertificateProblem>>,
}

/// The kind of failure that prevented a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The other side is down or unreachable: connection refused or reset, no such name, a handshake that broke off.
    Outage,
    /// No response arrived in time.
    Silence,
    /// The bytes received are neither TLS nor HTTP.
    Malformed,
    /// The proxy opens no tunnel and gives no reason.
    NoTunnel,
    /// The proxy refuses, as without a login.
    ProxyRefusal,
    /// The certificate of the other side does not verify.
    Untrusted,
    /// The request cannot be made.
    NotSent,
    /// This machine has no room for another connection.
    Local,
}

/// The proxy of a request, without its password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("through the proxy `{address}` (`{variable}`)")]
pub struct UsedProxy {
    /// The address of the proxy.
    pub address: String,
    /// The environment variable that names it.
    pub variable: &'static str,
    /// True if the variable has a login.
    pub has_login: bool,
}

impl TransportError {
    /// Describes `error`. The proxy is left empty, because `error` does not name it.
    #[must_use]
    pub fn of(error: &reqwest::Error) -> Self {
        let certificate = tls_error_of(error).and_then(|error| {
            if let rustls::Error::InvalidCertificate(problem) = error {
                Some(Box::new(CertificateProblem::of(problem)))
            } else {
                None
            }
        });
        let name = name_error_of(error);
        let cause = name.map_or_else(|| cause_text(error), ToString::to_string);
        let kind = TransportErrorKind::of(error, &cause);
        let cause = certificate.as_ref().map_or(cause, ToString::to_string);
        let cause = cause.replace(PROXY_WANTS_LOGIN, "it requires a login (407)");
        let cause = cause.replace(NO_TUNNEL, "it opens no tunnel");
        // A proxy with TLS has a certificate, too.
        let is_of_proxy =
            certificate.is_some() && cause_text(error).contains(NO_PROXY_CONNECTION.trim_end());
        let (cause, certificate) = if is_of_proxy {
            (format!("the proxy is not trusted: {cause}"), None)
        } else {
            (cause.replace(NO_PROXY_CONNECTION, ""), certificate)
        };
        Self {
            kind,
            cause,
            proxy: None,
            certificate,
        }
    }

    /// Completes the error of a client with authorities that the user gave.
    #[must_use]
    pub(super) fn with_bundle(mut self) -> Self {
        if let Some(problem) = self.certificate.take() {
            let problem = problem.with_bundle();
            self.cause = problem.to_string();
            self.certificate = Some(Box::new(problem));
        }
        self
    }

    /// Describes a proxy that forwards nothing without a login. The proxy is left empty, because it is not available
    /// here.
    #[must_use]
    pub(super) fn wants_login() -> Self {
        Self {
            cause: "it requires a login (407)".to_owned(),
            kind: TransportErrorKind::ProxyRefusal,
            proxy: None,
            certificate: None,
        }
    }

    /// Completes the error of a proxy that opens no tunnel with its status.
    #[must_use]
    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.cause = format!("it opens no tunnel (status {status})");
        if (400..500).contains(&status) {
            self.kind = TransportErrorKind::ProxyRefusal;
        }
        self
    }

    /// Describes a server that was silent for `silence`. The proxy is left empty, because it is not available here.
    #[must_use]
    pub fn silent(silence: Duration) -> Self {
        Self {
            cause: format!("it was silent for {silence:?}"),
            kind: TransportErrorKind::Silence,
            proxy: None,
            certificate: None,
        }
    }

    /// Returns the proxy of the request as text, with a space before it. The text is empty without a proxy.
    #[must_use]
    pub fn way(&self) -> String {
        let proxy = self.proxy.as_ref();
        proxy.map(|proxy| format!(" {proxy}")).unwrap_or_default()
    }

    /// The state of the server in words: it cannot be reached, or it answered and is not trusted.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.certificate.is_some() {
            "is not trusted"
        } else {
            "cannot be reached"
        }
    }

    /// True if a retry cannot help, as with an untrusted certificate.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self.kind {
            TransportErrorKind::Outage
            | TransportErrorKind::Silence
            | TransportErrorKind::Malformed
            | TransportErrorKind::NoTunnel
            | TransportErrorKind::Local => false,
            TransportErrorKind::ProxyRefusal
            | TransportErrorKind::Untrusted
            | TransportErrorKind::NotSent => true,
        }
    }

    /// True if the other side is down. A denial or a malformed response does not count.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self.kind {
            TransportErrorKind::Outage | TransportErrorKind::Silence => true,
            TransportErrorKind::Malformed
            | TransportErrorKind::NoTunnel
            | TransportErrorKind::ProxyRefusal
            | TransportErrorKind::Untrusted
            | TransportErrorKind::NotSent
            | TransportErrorKind::Local => false,
        }
    }
}

impl TransportErrorKind {
    /// Classifies `error`. Only known outages count as an outage.
    fn of(error: &reqwest::Error, cause: &str) -> Self {
        if let Some(error) = tls_error_of(error) {
            return Self::of_tls(error);
        }
        if let Some(error) = name_error_of(error) {
            return Self::of_name(error);
        }
        // These errors are found by their text, because hyper's type for them cannot be named here.
        if cause.contains(PROXY_WANTS_LOGIN) {
            return Self::ProxyRefusal;
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
        let mut io_errors = levels(error).filter_map(|level| level.downcast_ref::<io::Error>());
        if io_errors.any(is_local) {
            return Self::Local;
        }
        let is_broken_off = BROKEN_OFF.iter().any(|words| cause.contains(words));
        let is_io = levels(error)
            .filter_map(|level| level.downcast_ref::<io::Error>())
            .any(is_outage);
        if is_broken_off || is_io {
            Self::Outage
        } else {
            Self::Malformed
        }
    }

    fn of_name(error: &NameError) -> Self {
        match error {
            // A name may be created at any moment, and nameservers fail for a while.
            NameError::NotFound { .. }
            | NameError::NoAddress { .. }
            | NameError::NoResponse { .. } => Self::Outage,
            NameError::NoServer { .. } | NameError::Invalid { .. } => Self::NotSent,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::AlertDescription::{CloseNotify, InternalError, UserCanceled};
        let is_untrusted = matches!(error, rustls::Error::InvalidCertificate(_));
        // The server broke off the handshake. Its other alerts reject something that this client sent.
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

/// True if this process or machine has too many open files.
fn is_local(error: &io::Error) -> bool {
    // ENFILE and EMFILE (errno(3)).
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// True if the connection or the name is at fault, rather than the bytes received.
fn is_outage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Returns the causes of `error` on one line, without control characters.
///
/// reqwest's own text contains the URL with its query string and hides the cause ("connection refused"). hyper's "client
/// error (Connect)" adds nothing to the level below it.
pub(super) fn cause_text(error: &reqwest::Error) -> String {
    let first = error.source().unwrap_or(error);
    let first = match first.source() {
        Some(below) if first.to_string().starts_with("client error (") => below,
        Some(_) | None => first,
    };
    let text = chain_text(first).replace(TLS_CUT, "it was closed");
    text.replace(|letter: char| letter.is_control(), " ")
}

/// Iterates over the error and its causes.
fn levels(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    successors(Some(first), |level| (**level).source())
}

fn name_error_of(error: &reqwest::Error) -> Option<&NameError> {
    levels(error).find_map(|level| level.downcast_ref())
}

fn tls_error_of(error: &reqwest::Error) -> Option<&rustls::Error> {
    levels(error).find_map(tls_error)
}

/// Finds the TLS error inside one or more nested I/O errors. None of them returns it as its source.
fn tls_error<'a>(level: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = level.downcast_ref::<io::Error>()?.get_ref()?;
    inner
        .downcast_ref::<rustls::Error>()
        .or_else(|| tls_error(inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{NameResolver, NameSettings};
    use std::io::{Error, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    /// Returns the error of a client for `scheme://` at a server that handles its only connection with `serve`.
    async fn said(scheme: &str, serve: impl FnOnce(TcpStream) + Send + 'static) -> TransportError {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        let client = reqwest::Client::builder().tls_certs_only([]);
        let client = client.timeout(Duration::from_millis(500)).build().unwrap();
        let error = match client.get(url).send().await {
            Ok(response) => response.bytes().await.unwrap_err(),
            Err(error) => error,
        };
        TransportError::of(&error)
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
            // Ends when the client closes the connection.
            while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
        };
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        let internal_error = "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{50}";
        let handshake_failure = "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}";
        for (what, said, wanted) in [
            (
                "closed",
                said("http", drop).await,
                TransportErrorKind::Outage,
            ),
            (
                "closed when asked",
                said("http", answer("")).await,
                TransportErrorKind::Outage,
            ),
            (
                "cut",
                said("http", answer(cut)).await,
                TransportErrorKind::Outage,
            ),
            (
                "late",
                said("http", silent).await,
                TransportErrorKind::Silence,
            ),
            (
                "handshake closed",
                said("https", answer("")).await,
                TransportErrorKind::Outage,
            ),
            (
                "handshake late",
                said("https", silent).await,
                TransportErrorKind::Silence,
            ),
            (
                "handshake given up",
                said("https", answer(internal_error)).await,
                TransportErrorKind::Outage,
            ),
            (
                "handshake refused",
                said("https", answer(handshake_failure)).await,
                TransportErrorKind::Malformed,
            ),
            (
                "no TLS",
                said("https", answer("HTTP/1.1 200 OK\r\n\r\n")).await,
                TransportErrorKind::Malformed,
            ),
            (
                "no HTTP",
                said("http", answer("SSH-2.0-x\r\n\r\n")).await,
                TransportErrorKind::Malformed,
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
        let names = NameResolver::new(NameSettings::of_system());
        let client = reqwest::Client::builder().tls_certs_only([]);
        let client = client.dns_resolver(Arc::new(names)).build().unwrap();
        for (url, wanted) in [
            (refused.as_str(), TransportErrorKind::Outage),
            // RFC 6761: this name never exists.
            ("http://registry.invalid/", TransportErrorKind::Outage),
            ("file:///x", TransportErrorKind::NotSent),
        ] {
            let error = client.get(url).send().await.unwrap_err();
            assert_eq!(TransportError::of(&error).kind, wanted, "{url}");
        }
    }

    #[tokio::test]
    async fn cause_of_a_refused_connection_is_told_and_the_query_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = reqwest::Client::builder().tls_certs_only([]).build();
        let url = format!("http://{address}/?token=hidden");
        let error = client.unwrap().get(url).send().await.unwrap_err();
        let text = TransportError::of(&error).cause;
        assert!(text.contains("refused"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn certificate_that_does_not_verify_is_no_outage() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(
            TransportErrorKind::of_tls(&tls()),
            TransportErrorKind::Untrusted
        );
        assert!(tls_error(&Error::other(tls())).is_some());
        assert!(tls_error(&Error::other(Error::other(tls()))).is_some());
        assert!(tls_error(&Error::other("refused")).is_none());
    }
}
