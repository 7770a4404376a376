//! Parses `NO_PROXY`: names with their subdomains, addresses, networks and `*`. Names and addresses may have a port.

use std::net::IpAddr;

use reqwest::Url;

/// Hosts that are reached without a proxy.
#[derive(Debug, Default)]
pub(super) struct NoProxyList(Vec<NoProxyEntry>);

#[derive(Debug)]
struct NoProxyEntry {
    pattern: HostPattern,
    /// The port, or `None` for all ports.
    port: Option<u16>,
}

#[derive(Debug)]
enum HostPattern {
    Any,
    /// A name in lower case, and all its subdomains.
    Name(String),
    /// A network: an address, and the number of leading bits that must match.
    Network(IpAddr, u32),
}

impl NoProxyList {
    /// Parses a comma-separated list.
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split(',').map(str::trim);
        Self(
            entries
                .filter(|entry| !entry.is_empty())
                .map(NoProxyEntry::parse)
                .collect(),
        )
    }

    /// True if `url` is reached without a proxy.
    pub(super) fn contains(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let port = url.port_or_known_default();
        let mut entries = self.0.iter();
        entries.any(|entry| {
            entry.pattern.matches(host) && (entry.port.is_none() || entry.port == port)
        })
    }
}

impl NoProxyEntry {
    fn parse(text: &str) -> Self {
        if text == "*" {
            return Self {
                pattern: HostPattern::Any,
                port: None,
            };
        }
        // The colons of a bare IPv6 address separate no port.
        let ported = text.rsplit_once(':').filter(|(host, _)| {
            let is_bracketed = host.ends_with(']');
            is_bracketed || !host.contains(':')
        });
        let ported = ported.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = ported.map_or((text, None), |(host, port)| (host, Some(port)));
        Self {
            pattern: HostPattern::parse(host),
            port,
        }
    }
}

impl HostPattern {
    fn parse(text: &str) -> Self {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| {
                (address, bits.parse::<u32>().ok())
            });
        if let Some(address) = address_in(address) {
            return Self::Network(address, bits.unwrap_or(u32::MAX));
        }
        let name = text.trim_start_matches('*').trim_start_matches('.');
        Self::Name(name.to_ascii_lowercase())
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => host
                .strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            Self::Network(base, bits) => address_in(host).is_some_and(|address| {
                base.is_ipv4() == address.is_ipv4()
                    && (leading(*base) ^ leading(address)).leading_zeros()
                        >= (*bits).min(length(*base))
            }),
        }
    }
}

/// Parses an address. An IPv6 address may be in brackets.
fn address_in(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Returns the bits of an address, aligned to the most significant bit.
fn leading(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn length(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_holds_what_it_names_and_no_more() {
        for (entry, url, contains) in [
            ("ghcr.io", "https://ghcr.io/v2/", true),
            ("GHCR.io", "https://ghcr.io/v2/", true),
            ("ghcr.io", "https://pkg.ghcr.io:8443/", true),
            ("ghcr.io", "https://notghcr.io/", false),
            ("ghcr.io", "https://ghcr.io.evil.test/", false),
            (".ghcr.io", "https://ghcr.io/", true),
            ("*.ghcr.io", "https://pkg.ghcr.io/", true),
            ("ghcr.io:443", "https://ghcr.io/", true),
            ("ghcr.io:443", "http://ghcr.io/", false),
            ("ghcr.io:5000", "https://ghcr.io/", false),
            ("ghcr.io:http", "https://ghcr.io/", false),
            ("*", "https://ghcr.io/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.30/", false),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3/", false),
            ("10.1.0.0/16", "https://10.1.2.3/", true),
            ("10.1.0.0/16", "https://10.2.2.3/", false),
            ("0.0.0.0/0", "https://[fd00::1]/", false),
            ("fd00::/8", "https://[fd12::1]:5000/", true),
            ("fd00::1", "https://[fd00::1]/", true),
            ("[fd00::1]:5000", "https://[fd00::1]:5000/", true),
            ("[fd00::1]:5000", "https://[fd00::1]/", false),
        ] {
            let list = NoProxyList::parse(&format!("first.test, {entry} ,,last.test"));
            let url = Url::parse(url).unwrap();
            assert_eq!(list.contains(&url), contains, "{entry} {url}");
        }
    }
}
