//! The HTTP client of the whole program: trusted certificates, proxies, timeouts, bodies with a limit, and error texts.
//! The module does not depend on registries or Sigstore.

mod body;
mod certificate_problem;
mod certificates;
mod client;
mod proxies;
mod response;
mod unanswered;
mod unproxied;
mod watch;

pub use body::{read, read_start};
pub use certificate_problem::CertificateProblem;
pub use certificates::{CertificateError, Certificates};
pub use client::{Client, STALL_TIMEOUT};
pub use proxies::Proxies;
pub use response::Response;
pub use unanswered::{Through, Unanswered, UnansweredKind};
pub use watch::{Watch, authority};

/// The reason why a client could not be built or a body could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// The TLS or connection settings are inconsistent.
    #[error("could not set up the HTTP client: {cause}")]
    Setup {
        /// The HTTP library's message, with all its causes.
        cause: String,
    },
    /// A proxy variable of the environment is not an address.
    #[error("`{variable}` is not the address of an HTTP proxy (`http://HOST:PORT`)")]
    Proxy {
        /// The name of the variable. Its value may contain a password and is not printed.
        variable: &'static str,
    },
    /// The body broke off or did not arrive in time.
    #[error("the answer broke off: {}", .0.cause)]
    Broken(Box<Unanswered>),
    /// The body is longer than the limit.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
}

/// rustls' message for a connection that ended during TLS. Its link does not help the author of a workflow.
const TLS_CUT: &str = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";

/// Returns the chain of causes of `error` on one line, outermost first, without control characters.
///
/// reqwest's own text contains the URL with its query string and hides the cause ("connection refused"). Its outermost
/// level is left out if there is a deeper one.
#[must_use]
pub fn cause_text(error: &(dyn std::error::Error + 'static)) -> String {
    let hides_its_cause = error.is::<reqwest::Error>() && error.source().is_some();
    let first = if hides_its_cause {
        error.source()
    } else {
        Some(error)
    };
    let mut texts: Vec<String> = Vec::new();
    for level in std::iter::successors(first, |level| level.source()) {
        let text: String = level
            .to_string()
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        // hyper's "client error (Connect)" adds nothing to the level below it. Some levels repeat the one below.
        let is_noise = text.starts_with("client error (") && level.source().is_some();
        let is_repeated = texts.last().is_some_and(|last| last.contains(&text));
        if !is_noise && !is_repeated {
            texts.push(text);
        }
    }
    texts.join(": ").replace(TLS_CUT, "it was closed")
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod audit;

    use super::*;

    #[tokio::test]
    async fn cause_of_a_refused_connection_is_told_and_the_query_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = reqwest::Client::builder().tls_certs_only([]).build();
        let url = format!("http://{address}/?token=hidden");
        let error = client.unwrap().get(url).send().await.unwrap_err();
        let text = cause_text(&error);
        assert!(text.contains("refused"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
