//! Range requests. SPEC: RFC 9110, 14.

use crate::server::{Call, Reply};
use bytes::Bytes;

/// The part of content that a `Range` header selects.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    /// All of it: there is no such header, or one that a server may ignore.
    All,
    /// The bytes from the first number up to the second, inclusive.
    Part(usize, usize),
    /// None of it.
    Nothing,
}

/// Answers a read of `bytes`: 200, or to a GET with a range 206 or 416.
pub(crate) fn content(call: &Call, media_type: &str, bytes: &Bytes) -> Reply {
    // SPEC: 14.2, a range has a meaning for GET alone.
    let range = call.header("range").filter(|_| call.method == "GET");
    let length = bytes.len();
    match range.map_or(Selection::All, |range| select(range, length)) {
        Selection::All => Reply::new(200).body(media_type, bytes.clone()),
        Selection::Part(first, last) => Reply::new(206)
            .body(media_type, bytes.slice(first..=last))
            .header("content-range", format!("bytes {first}-{last}/{length}")),
        Selection::Nothing => Reply::new(416).header("content-range", format!("bytes */{length}")),
    }
}

/// Reads a range of bytes. Several ranges and other units select everything.
fn select(range: &str, length: usize) -> Selection {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Selection::All;
    };
    let end = length.saturating_sub(1);
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => (first, end),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => (length.saturating_sub(count), end),
        (Err(_), Ok(_)) if first.is_empty() => return Selection::Nothing,
        _ => return Selection::All,
    };
    if first < length && first <= last {
        Selection::Part(first, last)
    } else {
        Selection::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, select};

    #[test]
    fn range_selects_what_the_content_has_of_it() {
        let cases = [
            ("bytes=0-0", Selection::Part(0, 0)),
            ("bytes=2-5", Selection::Part(2, 5)),
            ("bytes=2-", Selection::Part(2, 9)),
            ("bytes=-3", Selection::Part(7, 9)),
            ("bytes=-30", Selection::Part(0, 9)),
            ("bytes=8-30", Selection::Part(8, 9)),
            ("bytes=10-", Selection::Nothing),
            ("bytes=5-0", Selection::Nothing),
            ("bytes=-0", Selection::Nothing),
            ("bytes=0-1,4-5", Selection::All),
            ("bytes=a-b", Selection::All),
            ("lines=0-1", Selection::All),
        ];
        for (range, selection) in cases {
            assert_eq!(select(range, 10), selection, "{range}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Nothing);
    }
}
