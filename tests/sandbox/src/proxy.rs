//! An HTTP proxy that makes tunnels (CONNECT), and keeps a list of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::listener::{Listener, Port};

/// A request for a tunnel is not longer.
const HEAD_MAX_BYTES: usize = 8 * 1024;

/// A running proxy; dropping it ends it and its tunnels.
pub struct Proxy {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Names with their ports, and where they are in truth.
    places: BTreeMap<String, SocketAddr>,
    /// What `Proxy-Authorization` has to be.
    login: Option<String>,
    /// What everybody is answered.
    refusal: Option<u16>,
    asked: Vec<String>,
    made: Vec<String>,
}

impl Proxy {
    /// Starts one that knows nobody.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let own = Arc::clone(&state);
        let listener = Port::take().serve(move |stream| {
            let state = Arc::clone(&own);
            async move {
                // A client that went away is no fault of ours.
                drop(serve(stream, &state).await);
            }
        });
        Self { listener, state }
    }

    /// The same for who shows this user and password alone.
    #[must_use]
    pub fn login(self, user: &str, password: &str) -> Self {
        let login = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        lock(&self.state).login = Some(login);
        self
    }

    /// Tunnels to `name`, which has its port, lead to `place`; to other names there are none (502).
    #[must_use]
    pub fn leads(self, name: &str, place: SocketAddr) -> Self {
        lock(&self.state).places.insert(name.to_owned(), place);
        self
    }

    /// From now on everybody is answered this.
    pub fn refuse(&self, status: u16) {
        lock(&self.state).refusal = Some(status);
    }

    /// Where it is: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.listener.address().to_string()
    }

    /// Where it was asked to lead to, in order, and be it in vain.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// Where it has led to, in order.
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

/// Where the tunnel leads, or the status that says why there is none.
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

/// Everything up to the empty line; none of something longer, or that ends before.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // One by one: what follows belongs to the tunnel.
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
