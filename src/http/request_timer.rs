//! Measures one request, if the run is traced.

use std::time::{Duration, Instant};

use reqwest::header::{IF_MATCH, IF_NONE_MATCH};
use reqwest::{Request, StatusCode, Url};

use crate::domain::{Event, Events, RequestTrace};

/// A request in flight. The trace is reported when this is dropped, so that abandoned requests are reported too.
#[derive(Debug)]
pub struct RequestTimer(Option<Running>);

#[derive(Debug)]
struct Running {
    events: Events,
    sent_at: Instant,
    trace: RequestTrace,
}

impl RequestTimer {
    /// Starts the measurement when `request` is sent. Nothing is recorded if the run is not traced.
    #[must_use]
    pub fn start(events: &Events, request: &Request) -> Self {
        Self(events.traced_from().map(|began| {
            let sent_at = Instant::now();
            Running {
                events: events.clone(),
                sent_at,
                trace: RequestTrace {
                    start: sent_at.saturating_duration_since(began),
                    duration: Duration::ZERO,
                    method: request.method().to_string(),
                    host: authority(request.url()),
                    path: request.url().path().to_owned(),
                    feature: feature(request),
                    status: None,
                },
            }
        }))
    }

    /// Records that the whole response has arrived.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(running) = &mut self.0 {
            running.trace.status = Some(status.as_u16());
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        if let Some(Running {
            events,
            sent_at,
            mut trace,
        }) = self.0.take()
        {
            trace.duration = sent_at.elapsed();
            events.emit(Event::Request(trace));
        }
    }
}

/// Returns the feature that a write of tags uses. Queries may be secrets, so only the tags are counted.
fn feature(request: &Request) -> Option<String> {
    let tags = request
        .url()
        .query_pairs()
        .filter(|(name, _)| name == "tag");
    match tags.count() {
        0 => (),
        count => return Some(format!("{count} tags")),
    }
    let conditions = [(IF_MATCH, "If-Match"), (IF_NONE_MATCH, "If-None-Match")];
    let sent = conditions
        .iter()
        .find(|(name, _)| request.headers().contains_key(name));
    sent.map(|(_, name)| (*name).to_owned())
}

/// Returns host and port as written in a URL.
#[must_use]
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn request() -> Request {
        let url = "https://me:hunter2@ghcr.io:8443/v2/o/r?sig=hidden#part";
        Request::new(reqwest::Method::PUT, url.parse().unwrap())
    }

    #[test]
    fn request_is_told_of_without_query_and_credentials() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        let events = Events::traced(Instant::now(), move |event| {
            if let Event::Request(trace) = event {
                listener.lock().unwrap().push(trace.to_string());
            }
        });
        let mut answered = RequestTimer::start(&events, &request());
        answered.answered(StatusCode::CREATED);
        drop(answered);
        let mut with_tags = request();
        with_tags.url_mut().set_query(Some("tag=v1&tag=v2"));
        drop(RequestTimer::start(&events, &with_tags));
        let mut conditional = request();
        let headers = conditional.headers_mut();
        headers.insert(IF_NONE_MATCH, "*".parse().unwrap());
        drop(RequestTimer::start(&events, &conditional));
        // The future that owned it was dropped.
        drop(RequestTimer::start(&events, &request()));
        let heard = heard.lock().unwrap();
        let reported: Vec<&str> = heard
            .iter()
            .map(|line| line.split_once("PUT").unwrap().1)
            .collect();
        assert_eq!(
            reported,
            [
                "   ghcr.io:8443/v2/o/r 201",
                "   ghcr.io:8443/v2/o/r no answer (2 tags)",
                "   ghcr.io:8443/v2/o/r no answer (If-None-Match)",
                "   ghcr.io:8443/v2/o/r no answer"
            ]
        );
    }

    #[test]
    fn nothing_is_kept_where_nobody_traces() {
        assert!(
            RequestTimer::start(&Events::silent(), &request())
                .0
                .is_none()
        );
    }
}
