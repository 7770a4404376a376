//! The HTTP client of the whole program: trusted certificates, proxies, timeouts, bodies with a limit, and error texts.
//! The module does not depend on registries or Sigstore.

mod body;
mod certificate_problem;
mod certificates;
mod client;
mod incoming;
pub(crate) mod names;
mod no_proxy;
mod proxies;
mod request_timer;
mod response;
mod retry;
mod timeouts;
mod transport_error;
mod tunnel_probe;

pub use body::{BodyError, read, read_start};
pub use certificate_problem::CertificateProblem;
pub use certificates::{CertificateError, Certificates};
pub use client::Client;
pub use incoming::IncomingResponse;
pub use names::{NameError, NameResolver, NameSettings};
pub use proxies::Proxies;
pub use request_timer::{RequestTimer, authority};
pub use response::{Response, retry_after};
pub use retry::{Transient, with_progress, with_retries};
pub use timeouts::{ServerTask, Timeouts};
pub use transport_error::{TransportError, TransportErrorKind, UsedProxy};

/// The reason why a client could not be built.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// The TLS or connection settings are inconsistent.
    #[error("could not set up the HTTP client: {cause}")]
    Setup {
        /// The HTTP library's message, with all its causes.
        cause: String,
    },
    /// A proxy variable of the environment is not an address.
    #[error("`{variable}` is not the address of an HTTP proxy (`http://HOST:PORT`){why}")]
    Proxy {
        /// The name of the variable. Its value may contain a password and is not printed.
        variable: &'static str,
        /// The likely reason, with a colon before it. May be empty.
        why: &'static str,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod audit;
    pub(crate) mod server;
}
