//! Reads `/etc/hosts`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the names in a hosts file.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_name: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    /// Parses the text of a hosts file. Lines that name no address are skipped, as glibc does.
    pub(super) fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words {
                let known = hosts.by_name.entry(key(name)).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        }
        hosts
    }

    /// Returns the addresses of `name`, if the file has it. `localhost` always has some (RFC 6761, section 6.3).
    pub(super) fn find(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = key(name);
        if let Some(known) = self.by_name.get(&name) {
            return Some(known.clone());
        }
        let is_local = name == "localhost" || name.ends_with(".localhost");
        is_local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
    }
}

/// Returns the form in which names are compared.
fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
