//! One nameserver.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::settings::{Families, NameSettings, Transports};

/// The longest wait for the IPv6 addresses of a name whose IPv4 addresses are known. Some middleboxes drop these
/// requests.
const IPV6_GRACE: Duration = Duration::from_millis(300);
/// The longest wait for the IPv4 addresses of a name whose IPv6 addresses are known. Many networks can use no others.
const IPV4_GRACE: Duration = Duration::from_secs(2);

/// A client of one nameserver. It repeats nothing.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    client: TokioResolver,
    timeout: Duration,
    families: Families,
}

/// The response of a nameserver about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The addresses; at least one.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoName,
    /// The name exists, without an address.
    NoAddress,
    /// No usable response, with the reason.
    Failed(String),
}

impl NameServer {
    /// Creates a client. Returns `None` if its settings are inconsistent.
    pub(super) fn new(address: SocketAddr, settings: &NameSettings) -> Option<Self> {
        let connection = |protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = address.port();
            connection
        };
        let mut connections = vec![connection(ProtocolConfig::Tcp)];
        if settings.transports == Transports::UdpAndTcp {
            connections.insert(0, connection(ProtocolConfig::Udp));
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = settings.timeout;
        options.attempts = 0;
        options.edns0 = settings.has_edns;
        options.num_concurrent_reqs = 1;
        options.use_hosts_file = ResolveHosts::Never;
        // An absence is asked for again: the name may have been created in the meantime.
        options.negative_max_ttl = Some(Duration::ZERO);
        let client = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build();
        Some(Self {
            address,
            client: client.ok()?,
            timeout: settings.timeout,
            families: settings.families,
        })
    }

    /// Asks for the addresses of `name`, of both families at once. If only one family arrives in time, it is used.
    pub(super) async fn ask(&self, name: &Name) -> Reply {
        let ipv4 = self.ask_for(name, RecordType::A);
        if self.families == Families::Ipv4 {
            return ipv4.await;
        }
        let ipv6 = self.ask_for(name, RecordType::AAAA);
        tokio::pin!(ipv4, ipv6);
        tokio::select! {
            reply = &mut ipv4 => {
                let ipv6 = unless_late(&reply, IPV6_GRACE, ipv6).await;
                combined(ipv6, reply)
            }
            reply = &mut ipv6 => {
                let ipv4 = unless_late(&reply, IPV4_GRACE, ipv4).await;
                combined(reply, ipv4)
            }
        }
    }

    async fn ask_for(&self, name: &Name, family: RecordType) -> Reply {
        match timeout(self.timeout, self.client.lookup(name.clone(), family)).await {
            Ok(Ok(lookup)) => {
                let addresses = lookup.answers().iter();
                let addresses = addresses.filter_map(|record| record.data.ip_addr());
                let addresses: Vec<IpAddr> = addresses.collect();
                if addresses.is_empty() {
                    Reply::NoAddress
                } else {
                    Reply::Addresses(addresses)
                }
            }
            Ok(Err(error)) => reply_of(&error),
            Err(_) => Reply::Failed(silence(self.timeout)),
        }
    }
}

/// Waits for `other`. If `known` has addresses, waits only for `grace`.
async fn unless_late(known: &Reply, grace: Duration, other: impl Future<Output = Reply>) -> Reply {
    if !matches!(known, Reply::Addresses(_)) {
        return other.await;
    }
    let late = Reply::Failed(silence(grace));
    timeout(grace, other).await.unwrap_or(late)
}

/// Combines the responses about both families.
fn combined(ipv6: Reply, ipv4: Reply) -> Reply {
    match (ipv6, ipv4) {
        // IPv6 comes first. If it does not connect soon, the client tries IPv4 (RFC 8305).
        (Reply::Addresses(mut all), Reply::Addresses(more)) => {
            all.extend(more);
            Reply::Addresses(all)
        }
        (Reply::Addresses(all), _) | (_, Reply::Addresses(all)) => Reply::Addresses(all),
        (Reply::NoName, _) | (_, Reply::NoName) => Reply::NoName,
        (Reply::NoAddress, Reply::NoAddress) => Reply::NoAddress,
        (Reply::Failed(why), _) | (_, Reply::Failed(why)) => Reply::Failed(why),
    }
}

fn silence(wait: Duration) -> String {
    format!("no response within {wait:?}")
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add errors, and all others are printed as they are"
)]
fn reply_of(error: &NetError) -> Reply {
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => *response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        NetError::Timeout => return Reply::Failed("no response".to_owned()),
        NetError::Io(error) => return Reply::Failed(error.to_string()),
        other => return Reply::Failed(other.to_string()),
    };
    if error.is_nx_domain() {
        Reply::NoName
    } else if error.is_no_records_found() && code == ResponseCode::NoError {
        Reply::NoAddress
    } else {
        Reply::Failed(code_text(code))
    }
}

/// Returns the name of a response code, as resolvers print it.
fn code_text(code: ResponseCode) -> String {
    let names = [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::NotImp, "NOTIMP"),
        (ResponseCode::FormErr, "FORMERR"),
    ];
    let mut names = names.iter();
    let name = names.find(|(known, _)| *known == code);
    name.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}
