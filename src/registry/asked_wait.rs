//! The wait that GHCR asks for in its message, without a `Retry-After`.

use std::time::Duration;

/// Parses the wait in GHCR's message: `retry-after: 10.305464ms, allowed: 2000/minute`.
pub(super) fn asked_wait(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("retry-after: ")?;
    go_duration(rest.split([',', ' ', ';']).next()?)
}

/// Parses a duration as Go prints it: `1h2m3.5s`, `10.3ms`, `305µs`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_ends = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(number_ends);
        let unit_ends = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_ends);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "μs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
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
