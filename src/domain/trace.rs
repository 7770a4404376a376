//! What is told of each request where the input `trace` asks for it.

use std::fmt;
use std::time::Duration;

/// One request that has ended, with an answer or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTrace {
    /// When it left, counted from the beginning of the run.
    pub start: Duration,
    /// How long it took until the last byte of its answer.
    pub duration: Duration,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Who was asked: host, and port where it is not the usual one.
    pub host: String,
    /// For what, without the query: that of a storage is a signature, that of a token server may be anything.
    pub path: String,
    /// The status; `None` where no whole answer came, or nobody waited for it any longer.
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
            Some(status) => write!(formatter, "{status}"),
            None => formatter.write_str("no answer"),
        }
    }
}
