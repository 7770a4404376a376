//! The logs of the proxies before the services: countproxy for plain HTTP; nginx with countproxy before it for TLS.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{stack, tls_authority};

/// A position in the proxies' logs.
pub(crate) struct Mark {
    requests: usize,
    connections: usize,
}

/// The traffic since a position.
pub(crate) struct Traffic {
    /// The requests, in the order of their ends.
    pub(crate) requests: Vec<Request>,
    /// The number of opened connections; if those are not counted, of those with requests.
    pub(crate) connections: usize,
}

/// An answered request.
pub(crate) struct Request {
    /// The service that answered, by its name in `up`.
    pub(crate) service: String,
    /// The version of HTTP.
    pub(crate) protocol: String,
    /// Path and query.
    pub(crate) url: String,
    /// The user agent.
    pub(crate) agent: String,
    /// The times of its arrival and of its complete answer, in seconds.
    pub(crate) span: (f64, f64),
    connection: u64,
}

impl Mark {
    /// Returns the present position.
    pub(crate) fn now() -> Self {
        Self {
            requests: lines(requests_file()).len(),
            connections: lines(CONNECTIONS).len(),
        }
    }

    /// Returns the traffic since this position.
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

/// Returns the lines of a file that may not exist.
fn lines(file: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(&stack("FOLDER")).join(file)).unwrap_or_default();
    // The last line may be incomplete.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}
