//! The last lines of a traced run: the requests to each host, and how many had to run one after another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::domain::RequestTrace;

/// Returns totals of `requests`: a line for all and one for each host.
#[must_use]
pub fn trace_text(requests: &[RequestTrace]) -> String {
    let mut hosts: BTreeMap<&str, Vec<&RequestTrace>> = BTreeMap::new();
    for request in requests {
        hosts.entry(&request.host).or_default().push(request);
    }
    let mut text = format!(
        "trace: {}, at least {} of them one after another",
        counted(requests.len()),
        one_after_another(requests)
    );
    for (host, requests) in hosts {
        let time: Duration = requests.iter().map(|request| request.duration).sum();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\ntrace: {host}: {}, {} ms in all, at most {} at once",
            counted(requests.len()),
            time.as_millis(),
            at_once(&requests)
        );
    }
    text
}

fn counted(requests: usize) -> String {
    let plural = if requests == 1 { "" } else { "s" };
    format!("{requests} request{plural}")
}

/// The largest set of requests of which no two overlap. More connections would not shorten that sequence.
fn one_after_another(requests: &[RequestTrace]) -> usize {
    let mut times: Vec<(Duration, Duration)> = requests
        .iter()
        .map(|request| (request.start + request.duration, request.start))
        .collect();
    times.sort_unstable();
    let mut free_from = Duration::ZERO;
    let mut rounds = 0;
    for (end, start) in times {
        if rounds == 0 || start >= free_from {
            rounds += 1;
            free_from = end;
        }
    }
    rounds
}

/// The highest number of requests of which all overlap.
fn at_once(requests: &[&RequestTrace]) -> usize {
    let ends = requests
        .iter()
        .map(|request| (request.start + request.duration, false));
    let starts = requests.iter().map(|request| (request.start, true));
    // A request that starts when another one ends does not overlap it.
    let mut times: Vec<(Duration, bool)> = ends.chain(starts).collect();
    times.sort_unstable();
    let (mut open, mut most) = (0_usize, 0);
    for (_, is_start) in times {
        open = if is_start {
            open + 1
        } else {
            open.saturating_sub(1)
        };
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, start: u64, duration: u64) -> RequestTrace {
        RequestTrace {
            start: Duration::from_millis(start),
            duration: Duration::from_millis(duration),
            method: "GET".to_owned(),
            host: host.to_owned(),
            feature: None,
            path: "/".to_owned(),
            status: Some(200),
        }
    }

    #[test]
    fn totals_are_by_host_and_turns_are_counted() {
        // Two in parallel, a long one beside all, and one after the two.
        let requests = [
            request("b", 0, 100),
            request("a", 10, 20),
            request("a", 12, 20),
            request("a", 32, 8),
        ];
        assert_eq!(
            trace_text(&requests),
            "trace: 4 requests, at least 2 of them one after another\n\
             trace: a: 3 requests, 48 ms in all, at most 2 at once\n\
             trace: b: 1 request, 100 ms in all, at most 1 at once"
        );
        assert_eq!(
            trace_text(&[]),
            "trace: 0 requests, at least 0 of them one after another"
        );
    }
}
