//! One HTTP server on a free loopback port, on a thread of its own. It logs requests and misbehaves on request. It does
//! not depend on registries or Sigstore: those are handlers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Payload;
use crate::encoding::{parse_query, sha256_text};
use crate::faults::{Afterwards, Fault, Misdeed};
use crate::listener::{Listener, Port};
use crate::traffic::{Traffic, Version};
use crate::transport::Transport;
use crate::{http1, http2};

/// The error code. SPEC: RFC 9113, 7.
const INTERNAL_ERROR: u32 = 2;
pub(crate) const REQUEST_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A request with its whole body.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) version: Version,
    pub(crate) method: String,
    /// The requested host, with its port if one was sent. It is another host if this server is used as a proxy.
    pub(crate) host: String,
    /// The path as sent, not decoded.
    pub(crate) path: String,
    /// The query as sent.
    raw_query: Option<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn new(version: Version, parts: Parts, body: Bytes) -> Self {
        let Parts {
            method,
            uri,
            mut headers,
            ..
        } = parts;
        // HTTP/2 has the host in the address instead.
        if let Some(Ok(host)) = uri.authority().map(|it| it.as_str().parse())
            && version == Version::Http2
        {
            headers.entry(HOST).or_insert(host);
        }
        let named = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(Authority::as_str).or(named);
        Self {
            version,
            host: host.unwrap_or_default().to_owned(),
            method: method.as_str().to_owned(),
            path: uri.path().to_owned(),
            raw_query: uri.query().map(str::to_owned),
            query: uri.query().map(parse_query).unwrap_or_default(),
            headers,
            body,
        }
    }

    /// Returns the same request with the first half of its body.
    fn cut(&self) -> Self {
        Self {
            body: self.body.slice(..self.body.len() / 2),
            ..self.clone()
        }
    }

    /// Returns path and query as sent.
    pub(crate) fn target(&self) -> String {
        let query = self.raw_query.as_ref();
        query.map_or_else(
            || self.path.clone(),
            |query| format!("{}?{query}", self.path),
        )
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The fault that the handler itself requests.
    pub(crate) misdeed: Option<Misdeed>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            misdeed: None,
        }
    }

    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::new(status).body("application/json", value.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Returns the value of a header.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Adds a header line beside those of the same name.
    pub(crate) fn header_line(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }
}

/// A function that answers requests; called from several tasks at once.
pub(crate) type Handler = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// A running server; dropping it closes the port and every connection.
pub(crate) struct Server {
    listener: Listener,
    pub(crate) traffic: Arc<Traffic>,
    work: Work,
}

/// The part of a server that every connection has.
#[derive(Clone)]
pub(crate) struct Work {
    traffic: Arc<Traffic>,
    handler: Handler,
}

/// An answer as sent: with a fault, if one was requested.
pub(crate) enum Answer {
    Response(Response<Payload>, Afterwards),
    /// None: the connection is closed.
    Closed,
    /// None: the stream is reset with this code; without streams the connection is closed.
    Reset(u32),
    /// None: the connection accepts no more requests. This one is refused too and had no effect.
    Refused,
    /// None: the connection accepts no more requests, with this code, and is closed.
    Abandoned(u32),
}

impl Server {
    /// Binds a port, then makes the handler, which may need the address.
    pub(crate) fn start(transport: Transport, handler: impl FnOnce(SocketAddr) -> Handler) -> Self {
        let port = Port::take();
        let traffic = Arc::new(Traffic::default());
        let work = Work {
            handler: handler(port.address()),
            traffic: Arc::clone(&traffic),
        };
        let listener = work.clone().listen(port, transport);
        Self {
            listener,
            traffic,
            work,
        }
    }

    /// Serves the same handler at another port, with another transport.
    pub(crate) fn twin(&self, transport: Transport) -> Listener {
        self.work.clone().listen(Port::take(), transport)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.traffic.add_fault(fault);
    }
}

async fn serve<IO>(stream: IO, version: Version, transport: Transport, work: Work)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    work.traffic.connected();
    match version {
        Version::Http1 => http1::serve(stream, work).await,
        Version::Http2 => http2::serve(stream, transport, work).await,
    }
}

impl Work {
    fn listen(self, port: Port, transport: Transport) -> Listener {
        let acceptor = transport.acceptor();
        port.serve(move |stream| {
            let (work, acceptor) = (self.clone(), acceptor.clone());
            async move {
                let Some(acceptor) = acceptor else {
                    return serve(stream, Version::Http1, transport, work).await;
                };
                // A client that does not trust our certificate, or tries plain HTTP first, closes the connection. That is
                // correct.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let version = match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => Version::Http2,
                        _ => Version::Http1,
                    };
                    serve(stream, version, transport, work).await;
                }
            }
        })
    }

    /// Logs `call`, and applies its effect unless a fault prevents that.
    pub(crate) async fn answer(&self, call: &Call) -> Answer {
        let (request, misdeed) = self.traffic.arrived(call);
        let mut reply = match &misdeed {
            Some(Misdeed::Reset) => return Answer::Reset(INTERNAL_ERROR),
            Some(Misdeed::HangUp) => return Answer::Closed,
            Some(Misdeed::ResetStream(code)) => return Answer::Reset(*code),
            Some(Misdeed::Refusal) => return Answer::Refused,
            Some(Misdeed::Status(code, headers, body)) => Reply {
                status: *code,
                headers: headers.clone(),
                body: Bytes::from(body.clone()),
                misdeed: None,
            },
            Some(Misdeed::CutRequest) => {
                (self.handler)(&call.cut());
                return Answer::Reset(INTERNAL_ERROR);
            }
            _ => (self.handler)(call),
        };
        let misdeed = misdeed.or(reply.misdeed.take());
        match &misdeed {
            Some(Misdeed::LostResponse) => return Answer::Reset(INTERNAL_ERROR),
            Some(Misdeed::HangUpLate) => return Answer::Closed,
            Some(Misdeed::ResetStreamLate(code)) => return Answer::Reset(*code),
            Some(Misdeed::Abandonment(code)) => return Answer::Abandoned(*code),
            Some(Misdeed::Delay(time)) => tokio::time::sleep(*time).await,
            _ => (),
        }
        self.traffic.answered(request.number, reply.status);
        let afterwards = match misdeed {
            Some(Misdeed::Afterwards(afterwards)) => afterwards,
            _ => Afterwards::Nothing,
        };
        match spoil(&call.method, reply, misdeed) {
            Ok(response) => Answer::Response(response, afterwards),
            Err(_) => Answer::Reset(INTERNAL_ERROR),
        }
    }
}

fn spoil(
    method: &str,
    mut reply: Reply,
    misdeed: Option<Misdeed>,
) -> io::Result<Response<Payload>> {
    let mut length = Some(reply.body.len());
    let mut payload: fn(Bytes) -> Payload = Payload::whole;
    match misdeed {
        Some(Misdeed::CutBody | Misdeed::Afterwards(Afterwards::ResetBody(_))) => {
            if reply.body.len() < 2 {
                return Err(dropped());
            }
            payload = Payload::cut;
        }
        Some(Misdeed::StalledBody) => payload = Payload::stalled,
        Some(Misdeed::EndlessBody) => {
            length = None;
            payload = Payload::endless;
        }
        Some(Misdeed::WrongDigest) => {
            if reply.body.is_empty() || method == "HEAD" {
                let wrong = sha256_text(b"other content");
                reply = reply.header("docker-content-digest", wrong);
            } else {
                reply.body = other_bytes(&reply.body);
                length = Some(reply.body.len());
            }
        }
        Some(Misdeed::SetHeader(name, value)) => reply = reply.header(&name, value),
        Some(Misdeed::DropHeader(name)) => {
            reply
                .headers
                .retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        }
        None
        | Some(
            Misdeed::Status(..)
            | Misdeed::Reset
            | Misdeed::LostResponse
            | Misdeed::Delay(_)
            | Misdeed::ResetStream(_)
            | Misdeed::ResetStreamLate(_)
            | Misdeed::HangUp
            | Misdeed::HangUpLate
            | Misdeed::Refusal
            | Misdeed::Abandonment(_)
            | Misdeed::CutRequest
            | Misdeed::Afterwards(_),
        ) => {}
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
        response = response.header(name, value);
    }
    // SPEC: 204 has no length, and a HEAD answer states the length of the body that GET would send.
    if let Some(length) = length.filter(|_| reply.status != 204) {
        response = response.header(CONTENT_LENGTH, length);
    }
    // SPEC: RFC 9110, 15.3.5 and 15.4.5. The libraries ensure that only over HTTP/1.1.
    let bytes = if method == "HEAD" || matches!(reply.status, 204 | 304) {
        payload = Payload::whole;
        Bytes::new()
    } else {
        reply.body
    };
    response.body(payload(bytes)).map_err(io::Error::other)
}

/// Returns other bytes, of the same length if possible: a size check alone must not find the fault.
fn other_bytes(bytes: &Bytes) -> Bytes {
    let mut other = bytes.to_vec();
    // A changed letter in the middle keeps JSON valid, so that only the digest reveals it.
    let middle = other.len() / 2;
    let position = (middle..other.len())
        .chain(0..middle)
        .find(|&at| other[at].is_ascii_alphabetic())
        .unwrap_or(middle);
    other[position] ^= 0x03;
    if !other[position].is_ascii_alphabetic() {
        other[position] = b'q';
    }
    Bytes::from(other)
}

fn dropped() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
