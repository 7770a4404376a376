//! Reads `/etc/resolv.conf` and `/etc/hosts`.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use hickory_proto::rr::Name;
use resolv_conf::{Config, ScopedIp};

use super::hosts::Hosts;

/// The longest time for one host name. It is shorter than the time for a connection, so that the error names the
/// nameservers.
const TOTAL: Duration = Duration::from_secs(9);
/// The port of nameservers.
const PORT: u16 = 53;
/// The limits of glibc (`resolv/resolv.h`).
const SERVERS_MAX: usize = 3;
const TIMEOUT_MAX_SECONDS: u32 = 30;
const ATTEMPTS_MAX: u32 = 5;
const NDOTS_MAX: u32 = 15;

/// The system's settings for name resolution.
#[derive(Debug)]
pub struct NameSettings {
    /// The nameservers, in the order in which they are asked; or the reason why there are none.
    pub(super) servers: Result<Vec<SocketAddr>, String>,
    /// The domains that are appended to short names.
    pub(super) search: Vec<Name>,
    /// The number of dots from which a name is first tried as it is.
    pub(super) ndots: usize,
    /// The longest wait for one response.
    pub(super) timeout: Duration,
    /// The number of rounds through all nameservers.
    pub(super) attempts: usize,
    /// True if each lookup begins with another nameserver.
    pub(super) rotates: bool,
    pub(super) transports: Transports,
    pub(super) families: Families,
    /// True if requests announce EDNS.
    pub(super) has_edns: bool,
    /// The longest time for one host name.
    pub(super) total: Duration,
    pub(super) hosts: Hosts,
    warnings: Vec<String>,
}

/// The transports of requests to nameservers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transports {
    /// UDP, and TCP for long responses.
    UdpAndTcp,
    /// TCP alone.
    Tcp,
}

/// The families of addresses that are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone.
    Ipv4,
}

impl NameSettings {
    /// Reads the system's files.
    #[must_use]
    pub fn of_system() -> Self {
        Self::read(Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"))
    }

    /// Reads these files. Without nameservers, a lookup that needs one fails. A hosts file that cannot be
    /// read is warned of.
    #[must_use]
    pub fn read(resolv_conf: &Path, hosts: &Path) -> Self {
        let shown = resolv_conf.display();
        let (hosts, warning) = match fs::read(hosts) {
            Ok(text) => (Hosts::parse(&String::from_utf8_lossy(&text)), None),
            Err(error) if error.kind() == ErrorKind::NotFound => (Hosts::default(), None),
            Err(error) => {
                let hosts = hosts.display();
                let text = format!("`{hosts}` is ignored, since it cannot be read: {error}");
                (Hosts::default(), Some(text))
            }
        };
        let mut settings = match fs::read(resolv_conf) {
            Ok(text) => Self::parse(&text, &shown.to_string(), hosts),
            Err(error) => {
                let mut settings = Self::parse(b"", &shown.to_string(), hosts);
                settings.servers = Err(if error.kind() == ErrorKind::NotFound {
                    format!("there is no `{shown}` to name a nameserver")
                } else {
                    format!("`{shown}` cannot be read: {error}")
                });
                settings
            }
        };
        settings.warnings.extend(warning);
        settings
    }

    /// Returns the parts of the files that are ignored, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn parse(text: &[u8], file: &str, hosts: Hosts) -> Self {
        let (config, _) = Config::parse_with_errors(text);
        let mut warnings = Vec::new();
        let mut servers: Vec<SocketAddr> = Vec::new();
        for server in config.nameservers.iter().take(SERVERS_MAX) {
            match address(server) {
                Some(address) => servers.push(address),
                None => warnings.push(format!(
                    "`{file}`: the nameserver `{server}` is ignored, since this machine has no such interface"
                )),
            }
        }
        let mut search = Vec::new();
        for domain in config.get_last_search_or_domain() {
            match Name::from_ascii(domain) {
                Ok(mut name) => {
                    name.set_fqdn(true);
                    search.push(name);
                }
                Err(_) => warnings.push(format!(
                    "`{file}`: the search domain `{domain}` is ignored, since it is not a valid name"
                )),
            }
        }
        let none = || format!("`{file}` names no nameserver");
        Self {
            servers: if servers.is_empty() {
                Err(none())
            } else {
                Ok(servers)
            },
            search,
            ndots: config.ndots.min(NDOTS_MAX) as usize,
            timeout: Duration::from_secs(config.timeout.clamp(1, TIMEOUT_MAX_SECONDS).into()),
            attempts: config.attempts.clamp(1, ATTEMPTS_MAX) as usize,
            rotates: config.rotate,
            transports: if config.use_vc {
                Transports::Tcp
            } else {
                Transports::UdpAndTcp
            },
            families: if config.no_aaaa {
                Families::Ipv4
            } else {
                Families::Both
            },
            has_edns: config.edns0,
            total: TOTAL,
            hosts,
            warnings,
        }
    }
}

/// Returns the address of a nameserver. A link-local IPv6 address has the name or the number of an interface.
fn address(server: &ScopedIp) -> Option<SocketAddr> {
    match server {
        ScopedIp::V4(address) => Some(SocketAddr::new(IpAddr::V4(*address), PORT)),
        ScopedIp::V6(address, None) => Some(SocketAddr::new(IpAddr::V6(*address), PORT)),
        ScopedIp::V6(address, Some(interface)) => {
            let number = || {
                let file = Path::new("/sys/class/net").join(interface).join("ifindex");
                fs::read_to_string(file).ok()?.trim().parse().ok()
            };
            let scope = interface.parse().ok().or_else(number)?;
            Some(SocketAddr::V6(SocketAddrV6::new(*address, PORT, 0, scope)))
        }
    }
}
