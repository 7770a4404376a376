//! One HTTP server on a free loopback port, on a thread of its own, which keeps a log of requests and misbehaves on
//! request. It knows nothing of registries or of Sigstore: those are handlers.

use crate::body::Payload;
use crate::encoding::{parse_query, sha256_text};
use crate::faults::{Fault, Misdeed};
use crate::listener::{Listener, Port};
use crate::traffic::{Authorization, Traffic};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

const REQUEST_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A request, read whole.
pub(crate) struct Call {
    pub(crate) method: String,
    /// Who is asked, with the port where one is named; another than this server where it is used as a proxy.
    pub(crate) host: String,
    /// The path as sent, not decoded.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
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

/// An answer, held whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
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

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }
}

/// Answers requests; called from several tasks at once.
pub(crate) type Handler = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// A running server; dropping it closes the port and every connection.
pub(crate) struct Server {
    listener: Listener,
    pub(crate) traffic: Arc<Traffic>,
}

impl Server {
    /// Listens, then asks for the handler, which may need to know the address.
    pub(crate) fn start(handler: impl FnOnce(SocketAddr) -> Handler) -> Self {
        let port = Port::take();
        let traffic = Arc::new(Traffic::default());
        let handler = handler(port.address());
        let own = Arc::clone(&traffic);
        let listener = port.serve(move |stream| {
            own.connected();
            let (traffic, handler) = (Arc::clone(&own), Arc::clone(&handler));
            async move {
                let service = service_fn(|request| serve(request, &traffic, &handler));
                // An error here is a client that went away, or a fault that we were asked for.
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            }
        });
        Self { listener, traffic }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.traffic.add_fault(fault);
    }
}

/// An error makes hyper drop the connection without an answer, which is what two of the faults want.
async fn serve(
    request: Request<Incoming>,
    traffic: &Traffic,
    handler: &Handler,
) -> io::Result<Response<Payload>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let raw_query = parts.uri.query();
    let named = parts
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok());
    let host = parts
        .uri
        .authority()
        .map(hyper::http::uri::Authority::as_str)
        .or(named);
    let call = Call {
        host: host.unwrap_or_default().to_owned(),
        method: parts.method.as_str().to_owned(),
        query: raw_query.map(parse_query).unwrap_or_default(),
        body: Limited::new(body, REQUEST_MAX_BYTES)
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes(),
        headers: parts.headers,
        path,
    };
    let path_and_query = raw_query.map_or(call.path.clone(), |q| format!("{}?{q}", call.path));
    let authorization = Authorization::of(call.header("authorization"));
    let (number, misdeed) = traffic.arrived(&call, &path_and_query, authorization);

    let reply = match &misdeed {
        Some(Misdeed::Reset) => return Err(dropped()),
        Some(Misdeed::Status(code, headers, body)) => Reply {
            status: *code,
            headers: headers.clone(),
            body: Bytes::from(body.clone()),
        },
        _ => handler(&call),
    };
    if matches!(misdeed, Some(Misdeed::LostResponse)) {
        return Err(dropped());
    }
    if let Some(Misdeed::Delay(time)) = &misdeed {
        tokio::time::sleep(*time).await;
    }
    traffic.answered(number, reply.status);
    spoil(&call.method, reply, misdeed)
}

fn spoil(
    method: &str,
    mut reply: Reply,
    misdeed: Option<Misdeed>,
) -> io::Result<Response<Payload>> {
    let mut length = Some(reply.body.len());
    let mut payload: fn(Bytes) -> Payload = Payload::whole;
    match misdeed {
        Some(Misdeed::CutBody) if reply.body.len() < 2 => return Err(dropped()),
        Some(Misdeed::CutBody) => payload = Payload::cut,
        Some(Misdeed::StalledBody) => payload = Payload::stalled,
        Some(Misdeed::EndlessBody) => {
            length = None;
            payload = Payload::endless;
        }
        Some(Misdeed::WrongDigest) => {
            if reply.body.is_empty() || method == "HEAD" {
                let wrong = sha256_text(b"something else");
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
        | Some(Misdeed::Status(..) | Misdeed::Reset | Misdeed::LostResponse | Misdeed::Delay(_)) => {
        }
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
        let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
        response = response.header(name, value);
    }
    // SPEC: 204 has no length, and a HEAD answer tells the length of the body that GET would send.
    if let Some(length) = length.filter(|_| reply.status != 204) {
        response = response.header(CONTENT_LENGTH, length);
    }
    let bytes = if method == "HEAD" {
        payload = Payload::whole;
        Bytes::new()
    } else {
        reply.body
    };
    response.body(payload(bytes)).map_err(io::Error::other)
}

/// Bytes of the same length where that can be: a size check alone must not be what finds the fault.
fn other_bytes(bytes: &Bytes) -> Bytes {
    let mut other = bytes.to_vec();
    // A letter in the middle keeps JSON readable, so that it is the digest that gives it away.
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
