//! The small grammars that inputs share: lists, booleans, durations, `key=value` lines.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Digest, DigestError};

/// The separator of list entries, besides the line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    /// Commas too: no entry can contain one.
    Comma,
    /// None: entries may contain commas.
    LineOnly,
}

/// Splits a list into its trimmed entries. Empty entries are dropped; a line that starts with `#` is a comment.
pub(super) fn list(text: &str, separator: Separator) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| match separator {
            Separator::Comma => line.split(',').collect::<Vec<_>>(),
            Separator::LineOnly => vec![line],
        })
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// Reads one of several words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("`{text}` is not one of {}", words.join(", "))
    })
}

/// Reads a boolean like GitHub's toolkit: YAML 1.2's core schema, so neither `yes` nor `1`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("`{text}` is not a boolean (`true` or `false`)")),
    }
}

/// Reads a SHA-256: 64 hex digits, with or without the prefix `sha256:`.
pub(super) fn sha256(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let digest = format!("sha256:{hex}").parse();
    digest.map_err(|_: DigestError| {
        format!("`{text}` is not a SHA-256 (64 lower-case hex digits, with or without `sha256:`)")
    })
}

/// Reads the file name of a digest: its hex digits, alone or after `sha256-` or `sha256:` (SHA-512 likewise).
pub(super) fn digest_of_file(name: &str) -> Option<Digest> {
    match name.split_once(['-', ':']) {
        Some((algorithm, hex)) => format!("{algorithm}:{hex}").parse().ok(),
        None => Digest::from_hex(name),
    }
}

/// Reads a duration: a number and its unit, such as `100ms`, `10s`, `2m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!(
            "`{text}` is not a duration (a number and `ms`, `s`, `m` or `h`, such as `10s`; at most 24h)"
        )
    };
    let unit_at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or_else(refused)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    let day = Duration::from_hours(24);
    let duration = number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= day);
    duration.ok_or_else(refused)
}

/// Reads annotation lines, `key=value` or `level:key=value`, and reports every line that is none.
///
/// docker/metadata-action prefixes its lines with their levels (`manifest:`, `index:`, `manifest,index:`). This program
/// writes only the index, so both words mean the index here, as in the actions that users migrate from. Annotations on
/// descriptors are not written, and are an error.
pub(super) fn annotations(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut annotations = BTreeMap::new();
    let mut problems = Vec::new();
    for line in list(text, Separator::LineOnly) {
        let Some((key, value)) = line.split_once('=') else {
            problems.push(format!(
                "`{line}` is not an annotation (`key=value` or `index:key=value`)"
            ));
            continue;
        };
        let key = match key.split_once(':') {
            Some((levels, key))
                if levels
                    .split(',')
                    .all(|level| level == "index" || level == "manifest") =>
            {
                key
            }
            Some((levels, _))
                if levels
                    .split(',')
                    .any(|level| level.ends_with("-descriptor")) =>
            {
                problems.push(format!(
                    "`{line}` is for a descriptor; only annotations of the index are written"
                ));
                continue;
            }
            _ => key,
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            problems.push(format!("`{line}` has no usable key before its `=`"));
        } else if let Some(earlier) = annotations
            .insert(key.to_owned(), value.to_owned())
            .filter(|earlier| earlier != value)
        {
            problems.push(format!(
                "`{key}` is given twice, as `{earlier}` and as `{value}`"
            ));
        }
    }
    if problems.is_empty() {
        Ok(annotations)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_drop_comments_and_empty_entries() {
        let text = "a, b\n# c, d\n\n  #e\n f ,,\n";
        assert_eq!(list(text, Separator::Comma), ["a", "b", "f"]);
        assert_eq!(list(text, Separator::LineOnly), ["a, b", "f ,,"]);
    }

    #[test]
    fn file_name_of_a_digest_may_name_its_algorithm() {
        let (short, long) = ("a".repeat(64), "b".repeat(128));
        for (name, wanted) in [
            (short.clone(), Some(format!("sha256:{short}"))),
            (format!("sha256:{short}"), Some(format!("sha256:{short}"))),
            (format!("sha256-{short}"), Some(format!("sha256:{short}"))),
            (format!("sha512-{long}"), Some(format!("sha512:{long}"))),
            (long.clone(), Some(format!("sha512:{long}"))),
            (format!("sha512-{short}"), None),
            (format!("sha256_{short}"), None),
            (format!("sha256:sha256:{short}"), None),
            (format!("{short}-"), None),
            ("sha256-".to_owned(), None),
        ] {
            let digest = digest_of_file(&name).map(|digest| digest.to_string());
            assert_eq!(digest, wanted, "{name}");
        }
    }

    #[test]
    fn booleans_are_those_of_the_toolkit() {
        assert_eq!(boolean("TRUE"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for text in ["yes", "1", "tRUE", " true", ""] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "25h",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn annotation_values_hold_anything() {
        let read =
            annotations("index:a=b=c, d e\nmanifest,index:org.x=\nmanifest:u=https://x.test/?a=1")
                .unwrap();
        assert_eq!(read.get("a").map(String::as_str), Some("b=c, d e"));
        assert_eq!(read.get("org.x").map(String::as_str), Some(""));
        assert_eq!(
            read.get("u").map(String::as_str),
            Some("https://x.test/?a=1")
        );
    }

    #[test]
    fn annotations_report_every_bad_line() {
        let problems = annotations("nothing\n=x\na=1\na=2\nindex-descriptor:b=c").unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
