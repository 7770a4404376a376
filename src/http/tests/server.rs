//! A scripted HTTP server on loopback, for the tests of all rooms. A function answers each request, and may also break
//! off or never end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Said, Scripted, Transport, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A request as received by the server.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The number of requests before it.
    pub(crate) number: usize,
    /// The number of requests before it with its method and path.
    pub(crate) before: usize,
}

/// A response of the server.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    manner: Manner,
    /// The time before it is sent.
    delay: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Whole,
    /// Half of the body, then the end of the connection.
    Cut,
    /// The body, without a length in advance.
    Chunked,
    /// The body, repeated without end.
    Endless,
    /// Nothing, then the end of the connection.
    Silent,
    /// Nothing, and the connection stays open.
    Stalled,
}

/// The server, which stops with the runtime of its test.
pub(crate) struct Server {
    address: String,
    seen: Arc<ServerLog>,
    /// The server that answers instead, if TLS is used.
    secure: Option<Scripted>,
}

/// The recorded requests.
#[derive(Debug, Default)]
struct ServerLog(Mutex<RecordedRequest>);

#[derive(Debug, Default)]
struct RecordedRequest {
    seen: Vec<Seen>,
    /// The number of requests with each method and path.
    counts: HashMap<(String, String), usize>,
}

impl ServerLog {
    /// Counts the requests before `request` and records it.
    fn keep(&self, request: &mut Seen) {
        let RecordedRequest { seen, counts } = &mut *self.0.lock().unwrap();
        let key = (request.method.clone(), request.path().to_owned());
        let count = counts.entry(key).or_default();
        request.number = seen.len();
        request.before = *count;
        *count += 1;
        seen.push(request.clone());
    }
}

impl Seen {
    /// Makes a request without headers and body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            number: 0,
            before: 0,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns `GET /v2/…`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn host(&self) -> &str {
        self.header("host").unwrap()
    }

    /// Returns the path, without the query.
    pub(crate) fn path(&self) -> &str {
        let target = self.target.split('?').next().unwrap();
        match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
            None => target,
        }
    }
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            manner: Manner::Whole,
            delay: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the body.
    pub(crate) fn content(&self) -> &[u8] {
        &self.body
    }

    /// Sets this body if there is none yet.
    pub(crate) fn or_body(self, body: &str) -> Self {
        if self.body.is_empty() {
            self.body(body)
        } else {
            self
        }
    }

    pub(crate) fn cut(mut self) -> Self {
        self.manner = Manner::Cut;
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.manner = Manner::Chunked;
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        self.manner = Manner::Endless;
        self
    }

    /// Sends the reply late. Only the server without TLS does so.
    pub(crate) fn late(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn stalled() -> Self {
        Self {
            manner: Manner::Stalled,
            ..Self::new(200)
        }
    }

    pub(crate) fn silent() -> Self {
        Self {
            manner: Manner::Silent,
            ..Self::new(200)
        }
    }
}

/// Makes a reply with a body.
pub(crate) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(status).body(body)
}

impl Reply {
    fn said(self) -> Said {
        let secure = |value: String| value.replace("http://", "https://");
        let headers = self.headers.into_iter();
        Said {
            status: self.status,
            headers: headers.map(|(name, value)| (name, secure(value))).collect(),
            body: self.body,
            manner: match self.manner {
                Manner::Whole | Manner::Chunked => sandbox::Manner::Whole,
                Manner::Cut => sandbox::Manner::Cut,
                Manner::Silent => sandbox::Manner::Lost,
                Manner::Stalled | Manner::Endless => sandbox::Manner::Never,
            },
        }
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<ServerLog>::default();
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move { serve(stream, &*script, &log).await });
            }
        });
        Self {
            address,
            seen,
            secure: None,
        }
    }

    /// Starts the same server with TLS and HTTP/2. The addresses in its responses and in the recorded requests have the
    /// scheme `https`.
    pub(crate) fn start_http2(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::<ServerLog>::default();
        let log = Arc::clone(&seen);
        let secure = Scripted::start(Transport::HTTP2, move |asked| {
            assert_eq!(asked.version, Version::Http2, "{asked:?}");
            let mut request = Seen {
                headers: asked.headers.clone(),
                body: asked.body.clone(),
                // A full address, as a proxy receives it without TLS.
                ..Seen::new(
                    &asked.method,
                    &format!("https://{}{}", asked.host, asked.target),
                )
            };
            log.keep(&mut request);
            script(&request).said()
        });
        Self {
            address: secure.address().to_string(),
            seen,
            secure: Some(secure),
        }
    }

    /// Returns the address with its scheme.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Returns host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.0.lock().unwrap().seen.clone()
    }

    /// Returns the requests with this method and path.
    pub(crate) fn asked(&self, method: &str, path: &str) -> Vec<Seen> {
        let is_it = |seen: &Seen| seen.method == method && seen.path() == path;
        self.seen().into_iter().filter(is_it).collect()
    }

    /// Returns the first lines of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Returns the number of requests whose first line contains `part`.
    pub(crate) fn count(&self, part: &str) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| line.contains(part)).count()
    }
}

async fn serve(
    stream: TcpStream,
    script: &(dyn Fn(&Seen) -> Reply + Send + Sync),
    log: &ServerLog,
) -> Option<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let mut request = read_request(&mut stream).await?;
        log.keep(&mut request);
        let reply = script(&request);
        if let Some(delay) = reply.delay {
            tokio::time::sleep(delay).await;
        }
        match reply.manner {
            Manner::Silent => return None,
            Manner::Stalled => std::future::pending::<()>().await,
            Manner::Whole | Manner::Cut | Manner::Chunked | Manner::Endless => (),
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let length = if matches!(reply.manner, Manner::Endless | Manner::Chunked) {
            "transfer-encoding: chunked\r\n\r\n".to_owned()
        } else {
            format!("content-length: {}\r\n\r\n", reply.body.len())
        };
        head.push_str(&length);
        stream.write_all(head.as_bytes()).await.ok()?;
        match reply.manner {
            Manner::Endless => loop {
                write_chunk(&mut stream, &reply.body).await?;
            },
            Manner::Chunked => {
                for chunk in reply.body.chunks(50_000).chain([b"".as_slice()]) {
                    write_chunk(&mut stream, chunk).await?;
                }
            }
            Manner::Cut => {
                let half = &reply.body[..reply.body.len() / 2];
                stream.write_all(half).await.ok()?;
                stream.flush().await.ok()?;
                return None;
            }
            Manner::Silent | Manner::Stalled => (),
            Manner::Whole if request.method == "HEAD" => (),
            Manner::Whole => stream.write_all(&reply.body).await.ok()?,
        }
        stream.flush().await.ok()?;
    }
}

async fn write_chunk(stream: &mut BufStream<TcpStream>, chunk: &[u8]) -> Option<()> {
    let length = format!("{:x}\r\n", chunk.len());
    stream.write_all(length.as_bytes()).await.ok()?;
    stream.write_all(chunk).await.ok()?;
    stream.write_all(b"\r\n").await.ok()
}

async fn read_request(stream: &mut BufStream<TcpStream>) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        // Close on a TLS greeting, as an HTTP server does.
        if head[0] == 0x16 {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen {
        method,
        target,
        headers,
        body,
        number: 0,
        before: 0,
    })
}
