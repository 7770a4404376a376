//! One nameserver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::settings::{Families, NameSettings, Transports};

/// The most aliases that are followed. glibc follows no more in one response.
const ALIASES_MAX: usize = 16;
/// The longest response over UDP.
const DATAGRAM_MAX_BYTES: usize = 4096;
/// The longest wait for the IPv6 addresses of a name whose IPv4 addresses are known. Some middleboxes drop these
/// requests.
const IPV6_GRACE: Duration = Duration::from_millis(300);
/// The longest wait for the IPv4 addresses of a name whose IPv6 addresses are known. Many networks can use no others.
const IPV4_GRACE: Duration = Duration::from_secs(2);

/// A client of one nameserver. It repeats nothing and remembers nothing.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    timeout: Duration,
    families: Families,
    transports: Transports,
    has_edns: bool,
}

/// The response of a nameserver about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerReply {
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
    pub(super) fn new(address: SocketAddr, settings: &NameSettings) -> Self {
        Self {
            address,
            timeout: settings.timeout,
            families: settings.families,
            transports: settings.transports,
            has_edns: settings.has_edns,
        }
    }

    /// Asks for the addresses of `name`, of both families at once. If only one family arrives in time, it is used.
    pub(super) async fn ask(&self, name: &Name) -> ServerReply {
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

    async fn ask_for(&self, name: &Name, family: RecordType) -> ServerReply {
        let asked = timeout(self.timeout, self.follow(name, family));
        match asked.await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => ServerReply::Failed(error.to_string()),
            Err(_) => ServerReply::Failed(silence(self.timeout)),
        }
    }

    /// Asks for `name`, and for the target of an alias if the response does not have its addresses.
    async fn follow(&self, name: &Name, family: RecordType) -> io::Result<ServerReply> {
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            let response = self.exchange(&name, family).await?;
            match read(&response, &name, family) {
                ResponseContent::ServerReply(reply) => return Ok(reply),
                ResponseContent::Alias(target) => name = target,
            }
        }
        Ok(ServerReply::Failed("too many aliases".to_owned()))
    }

    /// Sends one request. Returns the response, over TCP if it is too long for UDP.
    async fn exchange(&self, name: &Name, family: RecordType) -> io::Result<Message> {
        // The id of a new message is random, and the port is, too: nobody can guess what a response needs.
        let mut request = Message::query();
        request.metadata.recursion_desired = true;
        request.add_query(Query::query(name.clone(), family));
        if self.has_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
            request.set_edns(edns);
        }
        let bytes = request.to_vec().map_err(io::Error::other)?;
        if self.transports == Transports::UdpAndTcp {
            let response = self.over_udp(&request, &bytes).await?;
            if !response.metadata.truncation {
                return Ok(response);
            }
        }
        self.over_tcp(&request, &bytes).await
    }

    async fn over_udp(&self, request: &Message, bytes: &[u8]) -> io::Result<Message> {
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // SECURITY: a connected socket takes datagrams from this address alone.
        socket.connect(self.address).await?;
        socket.send(bytes).await?;
        let mut response = [0; DATAGRAM_MAX_BYTES];
        loop {
            let length = socket.recv(&mut response).await?;
            let response = response.get(..length).unwrap_or_default();
            if let Some(response) = response_to(request, response) {
                return Ok(response);
            }
        }
    }

    /// Sends a request over TCP. Its length comes first (RFC 1035, section 4.2.2).
    async fn over_tcp(&self, request: &Message, bytes: &[u8]) -> io::Result<Message> {
        let mut stream = TcpStream::connect(self.address).await?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes(), bytes].concat())
            .await?;
        let mut response = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut response).await?;
        let invalid = || io::Error::other("a response to another request");
        response_to(request, &response).ok_or_else(invalid)
    }
}

/// Parses a response. Returns `None` if it belongs to another request, or is none.
fn response_to(request: &Message, bytes: &[u8]) -> Option<Message> {
    let response = Message::from_vec(bytes).ok()?;
    let is_ours =
        response.metadata.id == request.metadata.id && response.queries == request.queries;
    is_ours.then_some(response)
}

/// The content of a response.
pub(super) enum ResponseContent {
    ServerReply(ServerReply),
    /// The name is an alias of this one, whose addresses are not in the response.
    Alias(Name),
}

/// Reads a response about `name`.
pub(super) fn read(response: &Message, name: &Name, family: RecordType) -> ResponseContent {
    let code = response.metadata.response_code;
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return ResponseContent::ServerReply(ServerReply::Failed(code_text(code)));
    }
    // SECURITY: only records of the name count, and of names that it is an alias of.
    let mut owner = name;
    let alias = |owner: &Name| {
        let records = response
            .answers
            .iter()
            .filter(|record| record.name == *owner);
        records.map(|record| &record.data).find_map(|data| {
            let RData::CNAME(target) = data else {
                return None;
            };
            Some(&target.0)
        })
    };
    for _ in 0..ALIASES_MAX {
        match alias(owner) {
            Some(target) => owner = target,
            None => break,
        }
    }
    let is_wanted = |record: &&Record| record.name == *owner && record.record_type() == family;
    let records = response.answers.iter().filter(is_wanted);
    let addresses: Vec<IpAddr> = records.filter_map(|record| record.data.ip_addr()).collect();
    if !addresses.is_empty() {
        return ResponseContent::ServerReply(ServerReply::Addresses(addresses));
    }
    if code == ResponseCode::NXDomain {
        return ResponseContent::ServerReply(ServerReply::NoName);
    }
    // glibc (`next_ns` in `res_send.c`): a server that neither has the zone nor asks others knows nothing.
    let metadata = &response.metadata;
    let knows_nothing = !metadata.authoritative && !metadata.recursion_available;
    if knows_nothing && response.answers.is_empty() && response.additionals.is_empty() {
        let why = "it has no such zone, and asks no other server";
        return ResponseContent::ServerReply(ServerReply::Failed(why.to_owned()));
    }
    // A response with a SOA record says that there are no such records (RFC 2308, section 2.2).
    let is_final = response
        .authorities
        .iter()
        .any(|record| record.record_type() == RecordType::SOA);
    if owner != name && !is_final {
        return ResponseContent::Alias(owner.clone());
    }
    ResponseContent::ServerReply(ServerReply::NoAddress)
}

/// Waits for `other`. If `known` has addresses, waits only for `grace`.
async fn unless_late(
    known: &ServerReply,
    grace: Duration,
    other: impl Future<Output = ServerReply>,
) -> ServerReply {
    if !matches!(known, ServerReply::Addresses(_)) {
        return other.await;
    }
    let late = ServerReply::Failed(silence(grace));
    timeout(grace, other).await.unwrap_or(late)
}

/// Combines the responses about both families.
fn combined(ipv6: ServerReply, ipv4: ServerReply) -> ServerReply {
    match (ipv6, ipv4) {
        // IPv6 comes first. If it does not connect soon, the client tries IPv4 (RFC 8305).
        (ServerReply::Addresses(mut all), ServerReply::Addresses(more)) => {
            all.extend(more);
            ServerReply::Addresses(all)
        }
        (ServerReply::Addresses(all), _) | (_, ServerReply::Addresses(all)) => {
            ServerReply::Addresses(all)
        }
        (ServerReply::NoName, _) | (_, ServerReply::NoName) => ServerReply::NoName,
        (ServerReply::NoAddress, ServerReply::NoAddress) => ServerReply::NoAddress,
        (ServerReply::Failed(why), _) | (_, ServerReply::Failed(why)) => ServerReply::Failed(why),
    }
}

fn silence(wait: Duration) -> String {
    format!("no response within {wait:?}")
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
