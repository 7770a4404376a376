//! A nameserver that answers as a script says, over UDP and TCP.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The interval at which the threads look whether the server was dropped.
const TICK: Duration = Duration::from_millis(20);
/// The lifetime of records, in seconds.
const TTL_SECONDS: u32 = 1;

/// The answer to one request.
#[derive(Debug, Clone)]
pub enum NameAnswer {
    /// These addresses, as far as they are of the requested family.
    Addresses(Vec<IpAddr>),
    /// An alias of another name, which the same answer resolves to these addresses.
    Alias(String, Vec<IpAddr>),
    /// An alias of another name, and nothing about that name: the client has to ask for it.
    AliasAlone(String),
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// The server fails (SERVFAIL).
    Fails,
    /// The server refuses (REFUSED).
    Refuses,
    /// No answer.
    Silence,
    /// An empty answer over UDP, marked as truncated. Over TCP, these addresses.
    OverTcp(Vec<IpAddr>),
}

/// The requested family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
}

type Script = dyn Fn(&str, Family) -> NameAnswer + Send + Sync;

/// A nameserver on loopback. It ends when it is dropped.
pub struct NameServer {
    address: SocketAddr,
    requests: Arc<Mutex<BTreeMap<(String, Family), usize>>>,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for NameServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NameServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl NameServer {
    /// Starts a nameserver on any port. `script` gets the name in lower case, without the last dot.
    pub fn start(script: impl Fn(&str, Family) -> NameAnswer + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), script)
    }

    /// Starts a nameserver at this address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&str, Family) -> NameAnswer + Send + Sync + 'static,
    ) -> Self {
        // Any free TCP port may be taken for UDP.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let tcp = TcpListener::bind(address).ok()?;
                let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a port that is free for UDP and TCP");
        let address = tcp.local_addr().expect("the address of a listener");
        let requests = Arc::new(Mutex::new(BTreeMap::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Answers {
            script: Box::new(script),
            requests: requests.clone(),
        });
        let (over_udp, over_tcp) = (server.clone(), server);
        let (udp_stopped, tcp_stopped) = (stopped.clone(), stopped.clone());
        let threads = vec![
            thread::spawn(move || serve_udp(&udp, &over_udp, &udp_stopped)),
            thread::spawn(move || serve_tcp(&tcp, &over_tcp, &tcp_stopped)),
        ];
        Self {
            address,
            requests,
            stopped,
            threads,
        }
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests for each name, in the order of the names.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, Family, usize)> {
        let requests = self.requests.lock().expect("no thread panicked");
        requests
            .iter()
            .map(|((name, family), count)| (name.clone(), *family, *count))
            .collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic was printed already.
            let _ = thread.join();
        }
    }
}

struct Answers {
    script: Box<Script>,
    requests: Arc<Mutex<BTreeMap<(String, Family), usize>>>,
}

impl Answers {
    /// Returns the response to a request, or `None` if there is none.
    fn respond(&self, request: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        let query = request.queries.first()?.clone();
        let families = [
            (RecordType::A, Family::Ipv4),
            (RecordType::AAAA, Family::Ipv6),
        ];
        let mut families = families.into_iter();
        let (_, family) = families.find(|(requested, _)| *requested == query.query_type())?;
        let name = query
            .name()
            .to_ascii()
            .trim_end_matches('.')
            .to_ascii_lowercase();
        *self
            .requests
            .lock()
            .expect("no thread panicked")
            .entry((name.clone(), family))
            .or_default() += 1;
        let answer = (self.script)(&name, family);
        let mut response = Message::response(request.metadata.id, OpCode::Query);
        response.metadata.recursion_desired = true;
        response.metadata.recursion_available = true;
        response.add_query(query.clone());
        match answer {
            NameAnswer::Silence => return None,
            NameAnswer::NoName => response.metadata.response_code = ResponseCode::NXDomain,
            NameAnswer::Fails => response.metadata.response_code = ResponseCode::ServFail,
            NameAnswer::Refuses => response.metadata.response_code = ResponseCode::Refused,
            NameAnswer::Addresses(addresses) => {
                add(&mut response, query.name(), family, &addresses);
            }
            NameAnswer::Alias(target, addresses) => {
                let target = alias(&mut response, &query, &target);
                add(&mut response, &target, family, &addresses);
            }
            NameAnswer::AliasAlone(target) => {
                alias(&mut response, &query, &target);
            }
            NameAnswer::OverTcp(_) if !is_tcp => response.metadata.truncation = true,
            NameAnswer::OverTcp(addresses) => add(&mut response, query.name(), family, &addresses),
        }
        response.to_vec().ok()
    }
}

fn alias(response: &mut Message, query: &Query, target: &str) -> Name {
    let target = Name::from_ascii(format!("{target}.")).expect("a name");
    let record = RData::CNAME(CNAME(target.clone()));
    response.add_answer(Record::from_rdata(
        query.name().clone(),
        TTL_SECONDS,
        record,
    ));
    target
}

fn add(response: &mut Message, name: &Name, family: Family, addresses: &[IpAddr]) {
    for address in addresses {
        let data = match (address, family) {
            (IpAddr::V4(address), Family::Ipv4) => RData::A((*address).into()),
            (IpAddr::V6(address), Family::Ipv6) => RData::AAAA((*address).into()),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => continue,
        };
        response.add_answer(Record::from_rdata(name.clone(), TTL_SECONDS, data));
    }
}

fn serve_udp(socket: &UdpSocket, answers: &Answers, stopped: &AtomicBool) {
    socket.set_read_timeout(Some(TICK)).expect("a timeout");
    let mut request = [0; 4096];
    while !stopped.load(Ordering::Relaxed) {
        if let Ok((length, client)) = socket.recv_from(&mut request)
            && let Some(response) = answers.respond(&request[..length], false)
        {
            // The client may be gone.
            let _ = socket.send_to(&response, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, answers: &Arc<Answers>, stopped: &AtomicBool) {
    listener
        .set_nonblocking(true)
        .expect("a listener that does not block");
    while !stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let answers = answers.clone();
                // Ends with the connection.
                thread::spawn(move || answer_stream(stream, &answers));
            }
            Err(_) => thread::sleep(TICK),
        }
    }
}

/// Answers the requests of one connection. Each has its length before it (RFC 1035, section 4.2.2).
fn answer_stream(mut stream: TcpStream, answers: &Answers) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut request).ok()?;
        if let Some(response) = answers.respond(&request, true) {
            let length = u16::try_from(response.len()).ok()?;
            stream.write_all(&length.to_be_bytes()).ok()?;
            stream.write_all(&response).ok()?;
        }
    }
}
