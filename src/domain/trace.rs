//! The reports of requests when the input `trace` enables them.

use std::fmt;
use std::time::Duration;

/// One request that has ended, with or without a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTrace {
    /// The time when it was sent, since the start of the run.
    pub start: Duration,
    /// The time until the last byte of its response.
    pub duration: Duration,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The host, and the port if it is not the default.
    pub host: String,
    /// The path without the query: a storage's query is a signature, and a token server's query may be anything.
    pub path: String,
    /// The feature of the registry protocol that the request uses: several tags, a condition.
    pub feature: Option<String>,
    /// The status; `None` if no complete response arrived, or the request was dropped.
    pub status: Option<u16>,
}

impl fmt::Display for RequestTrace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, duration) = (self.start.as_millis(), self.duration.as_millis());
        let Self {
            method, host, path, ..
        } = self;
        write!(
            formatter,
            "trace {start:>7} ms {duration:>6} ms  {method:<5} {host}{path} "
        )?;
        match self.status {
            Some(status) => write!(formatter, "{status}")?,
            None => formatter.write_str("no answer")?,
        }
        match &self.feature {
            Some(feature) => write!(formatter, " ({feature})"),
            None => Ok(()),
        }
    }
}

/// A decrease of the limit on concurrent requests to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitTrace {
    /// The time, since the start of the run.
    pub time: Duration,
    /// The host, and the port if it is not the default.
    pub host: String,
    /// The new limit.
    pub limit: usize,
    /// The reason.
    pub why: &'static str,
}

impl fmt::Display for LimitTrace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            time,
            host,
            limit,
            why,
        } = self;
        let time = time.as_millis();
        write!(
            formatter,
            "trace {time:>7} ms  {host}: at most {limit} requests at once from now on, because {why}"
        )
    }
}
