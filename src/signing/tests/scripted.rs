//! A server on loopback that sends the responses of a test, and records its requests.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sandbox::{Manner, Said, Transport, Version};

/// A request as it was received.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: String,
}

/// A response to send.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    status: u16,
    location: Option<String>,
    pub(super) body: Vec<u8>,
    manner: Manner,
}

pub(super) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        location: None,
        body: body.into(),
        manner: Manner::Whole,
    }
}

/// Closes the connection, or the stream, without a response.
pub(super) fn lost() -> Reply {
    reply(200, "").manner(Manner::Lost)
}

impl Reply {
    pub(super) fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    pub(super) fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    fn said(self) -> Said {
        let location = self.location.into_iter();
        Said {
            status: self.status,
            headers: location.map(|to| ("location".to_owned(), to)).collect(),
            body: self.body,
            manner: self.manner,
        }
    }
}

/// The server. Without TLS it lives as long as the test's process.
pub(super) struct Scripted {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// The server that runs behind this one, if it uses TLS.
    _secure: Option<sandbox::Scripted>,
}

impl Scripted {
    /// Starts a server. `script` gets the request and the number of earlier requests for the same path.
    pub(super) fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(script), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                std::thread::spawn(move || answer(stream.unwrap(), &*script, &kept));
            }
        });
        Self {
            url,
            asked,
            _secure: None,
        }
    }

    /// Starts a server with TLS and HTTP/2.
    pub(super) fn start_http2(
        script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let secure = sandbox::Scripted::start(Transport::HTTP2, move |seen| {
            assert_eq!(seen.version, Version::Http2, "{seen:?}");
            let request = Asked {
                method: seen.method.clone(),
                path: seen.target.clone(),
                body: String::from_utf8_lossy(&seen.body).into_owned(),
            };
            let before = keep(&request, &kept);
            script(&request, before).said()
        });
        Self {
            url: format!("https://{}", secure.address()),
            asked,
            _secure: Some(secure),
        }
    }

    /// Returns the requests for this path, queries left out.
    pub(super) fn asked(&self, method: &str, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let same = |each: &&Asked| each.method == method && bare(&each.path) == path;
        asked.iter().filter(same).cloned().collect()
    }
}

fn bare(path: &str) -> &str {
    path.split('?').next().unwrap()
}

/// Records a request; returns the number of earlier requests for the same path.
fn keep(request: &Asked, kept: &Mutex<Vec<Asked>>) -> usize {
    let mut kept = kept.lock().unwrap();
    let same =
        |each: &&Asked| each.method == request.method && bare(&each.path) == bare(&request.path);
    let before = kept.iter().filter(same).count();
    kept.push(request.clone());
    before
}

fn answer(
    mut stream: TcpStream,
    script: &dyn Fn(&Asked, usize) -> Reply,
    kept: &Mutex<Vec<Asked>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Asked { method, path, body };
    let before = keep(&request, kept);
    let reply = script(&request, before);
    let whole = reply.body.len();
    let length = match reply.manner {
        Manner::Lost => return,
        // Until the client closes the connection.
        Manner::Never => return drop(reader.read_to_end(&mut Vec::new())),
        Manner::Cut => whole / 2,
        Manner::Whole => whole,
    };
    let mut head = format!(
        "HTTP/1.1 {} x\r\ncontent-length: {whole}\r\nconnection: close\r\n",
        reply.status
    );
    if let Some(location) = &reply.location {
        head.extend(["location: ", location, "\r\n"]);
    }
    head.push_str("\r\n");
    // The client may have closed the connection, which is no error here.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&reply.body[..length]);
}
