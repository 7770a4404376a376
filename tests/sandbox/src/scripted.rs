//! A test's own server, whose answers come from a function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::faults::Misdeed;
use crate::server::{Call, Handler, Reply, Server};
use crate::traffic::Version;
use crate::transport::Transport;

/// Longer than any client's timeout.
const FOR_EVER: Duration = Duration::from_mins(10);

/// A running server; dropping it ends it.
pub struct Scripted {
    server: Server,
}

/// A request, as passed to a script.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its HTTP version.
    pub version: Version,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The requested host, with its port if one was sent.
    pub host: String,
    /// Path and query as sent.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer of a script.
#[derive(Clone, Debug)]
pub struct Said {
    /// The status.
    pub status: u16,
    /// The headers, except the body's length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The manner of delivery.
    pub manner: Manner,
}

/// The manner in which an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Whole.
    Whole,
    /// Half of the body, then the end.
    Cut,
    /// None: the connection, or the stream, ends instead.
    Lost,
    /// None, ever.
    Never,
}

impl Scripted {
    /// Starts a server on a free port of 127.0.0.1.
    pub fn start(
        transport: Transport,
        script: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let handler: Handler = Arc::new(move |call| script(&Asked::of(call)).reply());
        Self {
            server: Server::start(transport, |_| handler),
        }
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl Asked {
    fn of(call: &Call) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = call.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
        Self {
            version: call.version,
            method: call.method.clone(),
            host: call.host.clone(),
            target: call.target(),
            headers: headers.collect(),
            body: call.body.to_vec(),
        }
    }
}

impl Said {
    fn reply(self) -> Reply {
        Reply {
            status: self.status,
            headers: self.headers,
            body: Bytes::from(self.body),
            misdeed: match self.manner {
                Manner::Whole => None,
                Manner::Cut => Some(Misdeed::CutBody),
                Manner::Lost => Some(Misdeed::LostResponse),
                Manner::Never => Some(Misdeed::Delay(FOR_EVER)),
            },
        }
    }
}
