//! The wait that GHCR asks for in its message, without a `Retry-After`.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

/// Parses the wait in GHCR's message: `retry-after: 10.305464ms, allowed: 2000/minute`.
pub(super) fn ghcr_retry_after(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("retry-after: ")?;
    go_duration(rest.split([',', ' ', ';']).next()?)
}

/// Parses a duration as Go prints it: `1h2m3.5s`, `10.3ms`, `305µs`.
fn go_duration(text: &str) -> Option<Duration> {
    SpanParser::new().parse_unsigned_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations_are_read_as_go_prints_them() {
        for (text, nanoseconds) in [
            ("10.305464ms", Some(10_305_464)),
            ("305µs", Some(305_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1.2.3s", None),
            ("1y", None),
        ] {
            assert_eq!(
                go_duration(text).map(|read| read.as_nanos()),
                nanoseconds,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn hostile_durations_do_no_harm(text in "[0-9.hmsµun]{0,60}") {
            let _ = go_duration(&text);
        }
    }
}
