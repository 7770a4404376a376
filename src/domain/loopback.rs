//! Recognises this machine among hosts.
//!
//! SECURITY: one rule permits and one refuses. The rule that permits plain HTTP accepts only what is certainly this
//! machine. The rule that refuses redirects accepts all that may be this machine.

use std::net::IpAddr;

/// True if `host`, a name or an address without its port, is certainly this machine: `localhost` and its subdomains,
/// 127.0.0.0/8, `[::1]`. Such a host may be reached without TLS.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    is_local_name(host) || address(host).is_some_and(|address| address.is_loopback())
}

/// True if `host`, a name or an address without its port, may be this machine, by any name that a resolver or the
/// system accepts.
#[must_use]
pub fn may_be_loopback(host: &str) -> bool {
    match address(host).map(|address| address.to_canonical()) {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => is_local_name(host.trim_end_matches('.')),
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

/// SPEC: these names never leave the machine (RFC 6761, 6.3).
fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_certain_hosts_and_refusal_for_possible_ones() {
        for (host, is_certain, is_possible) in [
            ("localhost", true, true),
            ("a.localhost", true, true),
            ("127.8.9.1", true, true),
            ("[::1]", true, true),
            ("::1", true, true),
            ("localhost.", false, true),
            ("a.localhost.", false, true),
            ("0.0.0.0", false, true),
            ("[::]", false, true),
            ("[::ffff:127.0.0.1]", false, true),
            ("localhost.example", false, false),
            ("notlocalhost", false, false),
            ("127.0.0.1.example", false, false),
            ("10.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_loopback(host), is_certain, "{host}");
            assert_eq!(may_be_loopback(host), is_possible, "{host}");
        }
    }
}
