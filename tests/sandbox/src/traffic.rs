//! The requests to a server, and its pending faults.

use crate::faults::{Fault, Misdeed};
use crate::server::Call;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One request to a server, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number since the server started, from 1.
    pub number: u64,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Its HTTP version.
    pub version: Version,
    /// The requested host, with its port if one was sent.
    pub host: String,
    /// Path and query as sent.
    pub path: String,
    /// The status that was sent; `None` before the answer is sent, or if the connection was dropped instead.
    pub status: Option<u16>,
    /// The kind of its credentials.
    pub authorization: Authorization,
    /// The length of its body in bytes.
    pub body_length: usize,
    /// True if a fault was applied to it.
    pub faulty: bool,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.1 or older.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The scheme of an `Authorization` header; its secret is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// No such header.
    None,
    /// User and password.
    Basic,
    /// A bearer token.
    Bearer,
    /// Anything else.
    Other,
}

impl Authorization {
    pub(crate) fn of(header: Option<&str>) -> Self {
        match header.map(|value| value.split(' ').next().unwrap_or("").to_ascii_lowercase()) {
            None => Self::None,
            Some(scheme) if scheme == "basic" => Self::Basic,
            Some(scheme) if scheme == "bearer" => Self::Bearer,
            Some(_) => Self::Other,
        }
    }
}

/// The request log and the faults of one server.
#[derive(Default)]
pub(crate) struct Traffic {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: usize,
    count: u64,
    /// The number of requests without an answer, and the highest that it was.
    open: usize,
    open_max: usize,
    requests: Vec<Request>,
    faults: Vec<Armed>,
}

/// A request without an answer. It is answered, or its client gone, when this is dropped.
pub(crate) struct OpenRequest {
    pub(crate) number: u64,
    traffic: Arc<Traffic>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.traffic.lock().open -= 1;
    }
}

struct Armed {
    since: u64,
    left: u32,
    fault: Fault,
}

impl Traffic {
    /// Counts a new connection.
    pub(crate) fn connected(&self) {
        self.lock().connections += 1;
    }

    /// Returns the number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Returns the highest number of requests that had no answer at one time.
    pub(crate) fn open_max(&self) -> usize {
        self.lock().open_max
    }

    /// Logs the request; returns it with the fault to apply.
    pub(crate) fn arrived(self: &Arc<Self>, call: &Call) -> (OpenRequest, Option<Misdeed>) {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        let others = state.open;
        state.open += 1;
        state.open_max = state.open_max.max(state.open);
        let position = state.faults.iter().position(|armed| {
            let matches = &armed.fault.trigger.matches;
            matches.holds(number - armed.since, others, call)
        });
        let misdeed = position.map(|position| {
            let armed = &mut state.faults[position];
            let misdeed = armed.fault.misdeed.clone();
            if armed.left != u32::MAX {
                armed.left -= 1;
            }
            if armed.left == 0 {
                state.faults.remove(position);
            }
            misdeed
        });
        state.requests.push(Request {
            number,
            method: call.method.clone(),
            version: call.version,
            host: call.host.clone(),
            path: call.target(),
            status: None,
            authorization: Authorization::of(call.header("authorization")),
            body_length: call.body.len(),
            faulty: misdeed.is_some(),
        });
        let open = OpenRequest {
            number,
            traffic: Arc::clone(self),
        };
        (open, misdeed)
    }

    pub(crate) fn answered(&self, number: u64, status: u16) {
        let mut state = self.lock();
        // From the end, with the newest requests: a long run would make this quadratic.
        if let Some(request) = state.requests.iter_mut().rfind(|r| r.number == number) {
            request.status = Some(status);
        }
    }

    pub(crate) fn add_fault(&self, fault: Fault) {
        let mut state = self.lock();
        let armed = Armed {
            since: state.count,
            left: fault.trigger.times,
            fault,
        };
        if armed.left > 0 {
            state.faults.push(armed);
        }
    }

    pub(crate) fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(crate) fn clear_requests(&self) {
        let mut state = self.lock();
        state.requests.clear();
        state.open_max = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
