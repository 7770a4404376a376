//! The errors of name resolution.

use std::net::SocketAddr;

/// The reason why a host name has no address. Each names the host and the nameserver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is too long, or a part of it is.
    #[error("`{name}` is not a valid host name")]
    Invalid {
        /// The host name.
        name: String,
    },
    /// No nameserver is configured.
    #[error("`{name}` cannot be resolved: {why}")]
    NoServer {
        /// The host name.
        name: String,
        /// The state of the file that should name one.
        why: String,
    },
    /// The nameserver reports that the name does not exist.
    #[error("`{name}` does not exist (nameserver {})", shown(.server))]
    NotFound {
        /// The host name.
        name: String,
        /// The nameserver.
        server: SocketAddr,
    },
    /// The name exists, without an address.
    #[error("`{name}` has no address (nameserver {})", shown(.server))]
    NoAddress {
        /// The host name.
        name: String,
        /// The nameserver.
        server: SocketAddr,
    },
    /// No nameserver gave a usable response.
    #[error("`{name}` cannot be resolved: {}", list(.failures))]
    NoResponse {
        /// The host name.
        name: String,
        /// Each nameserver with its failure, without repetitions.
        failures: Vec<(SocketAddr, String)>,
    },
}

/// Returns the address of a nameserver, without the usual port.
fn shown(server: &SocketAddr) -> String {
    match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    }
}

fn list(failures: &[(SocketAddr, String)]) -> String {
    let failures = failures
        .iter()
        .map(|(server, why)| format!("nameserver {}: {why}", shown(server)));
    failures.collect::<Vec<_>>().join("; ")
}
