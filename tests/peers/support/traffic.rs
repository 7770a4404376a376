//! What the proxies before the services have written down: countproxy for plain HTTP, nginx and countproxy before it for TLS.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{stack, tls_authority};

/// How far the proxies had written.
pub(crate) struct Mark {
    requests: usize,
    connections: usize,
}

/// What has been asked since.
pub(crate) struct Traffic {
    /// In the order of their ends.
    pub(crate) requests: Vec<Request>,
    /// Those that were opened; where they are not counted, those that requests came by.
    pub(crate) connections: usize,
}

/// A request that was answered.
pub(crate) struct Request {
    /// Who answered, as `up` calls it.
    pub(crate) service: String,
    /// The version of HTTP.
    pub(crate) protocol: String,
    /// Path and query.
    pub(crate) url: String,
    /// Who asked, by its own word.
    pub(crate) agent: String,
    /// When it came and when it was answered whole, in seconds.
    pub(crate) span: (f64, f64),
    connection: u64,
}

impl Mark {
    /// As far as they have written now.
    pub(crate) fn now() -> Self {
        Self {
            requests: lines(requests_file()).len(),
            connections: lines(CONNECTIONS).len(),
        }
    }

    /// What they have written since.
    pub(crate) fn traffic(&self) -> Traffic {
        let requests = &lines(requests_file())[self.requests..];
        let requests: Vec<Request> = requests.iter().map(|line| Request::read(line)).collect();
        let opened = lines(CONNECTIONS).len() - self.connections;
        let used: BTreeSet<u64> = requests.iter().map(|request| request.connection).collect();
        Traffic {
            connections: opened.max(used.len()),
            requests,
        }
    }
}

impl Request {
    fn read(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let end = line["end"].as_f64().unwrap();
        Self {
            service: text("service"),
            protocol: text("protocol"),
            url: text("url"),
            agent: text("agent"),
            span: (end - line["seconds"].as_f64().unwrap(), end),
            connection: line["connection"].as_u64().unwrap(),
        }
    }
}

const CONNECTIONS: &str = "log/connections.jsonl";

fn requests_file() -> &'static str {
    match tls_authority() {
        Some(_) => "log/tls.jsonl",
        None => "log/http.jsonl",
    }
}

/// The lines of a file that is there only if somebody writes it.
fn lines(file: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(&stack("FOLDER")).join(file)).unwrap_or_default();
    // The last one may not be written whole.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}
