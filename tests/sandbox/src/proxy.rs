//! An HTTP proxy that opens tunnels (CONNECT) and lists them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::listener::{Listener, Port};

/// The longest request for a tunnel.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// A running proxy; dropping it ends it and its tunnels.
pub struct Proxy {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The addresses behind host names with ports.
    places: BTreeMap<String, SocketAddr>,
    /// The required `Proxy-Authorization`.
    login: Option<String>,
    /// The status for every request.
    refusal: Option<u16>,
    asked: Vec<String>,
    made: Vec<String>,
}

impl Proxy {
    /// Starts a proxy without destinations.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let own = Arc::clone(&state);
        let listener = Port::take().serve(move |stream| {
            let state = Arc::clone(&own);
            async move {
                // A client that closes the connection is not our error.
                drop(serve(stream, &state).await);
            }
        });
        Self { listener, state }
    }

    /// Requires this user and password.
    #[must_use]
    pub fn login(self, user: &str, password: &str) -> Self {
        let login = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        lock(&self.state).login = Some(login);
        self
    }

    /// Connects tunnels for `name`, a host with its port, to `place`. Other names get 502.
    #[must_use]
    pub fn leads(self, name: &str, place: SocketAddr) -> Self {
        lock(&self.state).places.insert(name.to_owned(), place);
        self
    }

    /// Answers every request with this status from now on.
    pub fn refuse(&self, status: u16) {
        lock(&self.state).refusal = Some(status);
    }

    /// Returns its address: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.listener.address().to_string()
    }

    /// Returns the requested targets in order, with those that got no tunnel.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// Returns the targets of opened tunnels, in order.
    pub fn made(&self) -> Vec<String> {
        lock(&self.state).made.clone()
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(head) = read_head(&mut stream).await? else {
        return Ok(());
    };
    match answer(&head, state) {
        Ok(place) => {
            let mut there = TcpStream::connect(place).await?;
            // A client sends several small packets a request: without this, each would wait 40 ms for the answer to the last.
            there.set_nodelay(true)?;
            stream.write_all(b"HTTP/1.1 200 Tunnel\r\n\r\n").await?;
            copy_bidirectional(&mut stream, &mut there).await?;
        }
        Err(status) => {
            let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
    }
    Ok(())
}

/// Returns the address behind the tunnel, or the status of the refusal.
fn answer(head: &str, state: &Mutex<State>) -> Result<SocketAddr, u16> {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next(), first.next().unwrap_or_default());
    let shown = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_login = name.eq_ignore_ascii_case("proxy-authorization");
        is_login.then_some(value)
    });
    let mut state = lock(state);
    state.asked.push(target.to_owned());
    if let Some(status) = state.refusal {
        return Err(status);
    }
    if state.login.is_some() && state.login.as_deref() != shown {
        return Err(407);
    }
    if method != Some("CONNECT") {
        return Err(405);
    }
    let place = state.places.get(target).copied().ok_or(502_u16)?;
    state.made.push(target.to_owned());
    Ok(place)
}

/// Reads everything up to the empty line; `None` if that is too long, or ends before.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte: the bytes after it belong to the tunnel.
        let mut byte = [0];
        if head.len() == HEAD_MAX_BYTES || stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.extend(byte);
    }
    Ok(String::from_utf8(head).ok())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
