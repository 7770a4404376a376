//! A server on loopback that answers what a test tells it to, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: String,
}

/// An answer to give. Status 0 closes the connection without one.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

pub(super) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        headers: String::new(),
        body: body.into(),
    }
}

/// Lives as long as the test's process.
pub(super) struct Scripted {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    /// `script` is given the request and how many for the same path came before it.
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
        Self { url, asked }
    }

    /// What was asked under this path, queries left out.
    pub(super) fn asked(&self, method: &str, path: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let same = |each: &&Asked| each.method == method && bare(&each.path) == path;
        asked.iter().filter(same).cloned().collect()
    }
}

fn bare(path: &str) -> &str {
    path.split('?').next().unwrap()
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
    let before = {
        let mut kept = kept.lock().unwrap();
        let same = |each: &&Asked| {
            each.method == request.method && bare(&each.path) == bare(&request.path)
        };
        let before = kept.iter().filter(same).count();
        kept.push(request.clone());
        before
    };
    let reply = script(&request, before);
    if reply.status == 0 {
        return;
    }
    let head = format!(
        "HTTP/1.1 {} x\r\ncontent-length: {}\r\nconnection: close\r\n{}\r\n",
        reply.status,
        reply.body.len(),
        reply.headers
    );
    // The client may have gone: that is its business.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&reply.body);
}
