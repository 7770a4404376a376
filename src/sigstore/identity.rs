//! Derives the certificate's subject from a token of GitHub, as Fulcio derives it.
//!
//! Fulcio's rule (`config/identity/config.yaml`) is `{{ .url }}/{{ .job_workflow_ref }}`; `url` is `https://github.com`
//! unless the token claims it. The public-good instance applies it to `https://token.actions.githubusercontent.com` and
//! enterprises' issuers below it. Go's `net/url` then escapes what a URL may not contain, as in a branch `größe`.

use std::fmt::Write as _;

/// Fulcio's default for `url`.
const GITHUB: &str = "https://github.com";

/// The subject for a token with these claims. `None` if it is not a URL: Fulcio issues no certificate for it either.
pub(super) fn github_subject(url: Option<&str>, job_workflow_ref: &str) -> Option<String> {
    let server = url.unwrap_or(GITHUB);
    let (path, fragment) = match job_workflow_ref.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment)),
        None => (job_workflow_ref, None),
    };
    let mut subject = format!("{server}/{}", IdentityPart::Path.written(path)?);
    // `net/url` drops an empty fragment.
    if let Some(fragment) = fragment.filter(|text| !text.is_empty()) {
        let _ = write!(subject, "#{}", IdentityPart::Fragment.written(fragment)?);
    }
    Some(subject)
}

/// The two parts of a URL that a reference can extend into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdentityPart {
    Path,
    Fragment,
}

impl IdentityPart {
    /// Rewrites `text` as `url.Parse` followed by `String` does. The text stays unchanged if all of it is allowed
    /// there; else it is unescaped and escaped anew.
    fn written(self, text: &str) -> Option<String> {
        let plain = unescape(text.as_bytes())?;
        if text.bytes().all(|byte| self.allows_as_written(byte)) {
            return Some(text.to_owned());
        }
        let mut written = String::with_capacity(text.len());
        for byte in plain {
            if self.leaves(byte) {
                written.push(char::from(byte));
            } else {
                let _ = write!(written, "%{byte:02X}");
            }
        }
        Some(written)
    }

    /// Implements Go's `validEncoded`: sub-delimiters and brackets may stay if they were written unescaped.
    fn allows_as_written(self, byte: u8) -> bool {
        matches!(byte, b'!' | b'\'' | b'(' | b')' | b'*' | b'[' | b']' | b'%') || self.leaves(byte)
    }

    /// Implements Go's `shouldEscape`, negated.
    fn leaves(self, byte: u8) -> bool {
        let everywhere = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || matches!(
                byte,
                b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'
            );
        everywhere || (self == Self::Fragment && matches!(byte, b'?' | b'!' | b'(' | b')' | b'*'))
    }
}

/// Decodes percent signs; `None` if one is not followed by two hex digits.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let [high, low, after @ ..] = after else {
                return None;
            };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            plain.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The right-hand sides were printed by Go's `net/url`.
    #[test]
    fn subject_is_what_go_makes_of_the_reference() {
        let file = "o/r/.github/workflows/w.yml";
        for (reference, written) in [
            ("refs/heads/main", "refs/heads/main"),
            ("refs/heads/a#1", "refs/heads/a#1"),
            ("refs/heads/a#", "refs/heads/a"),
            ("refs/heads/a(1)", "refs/heads/a(1)"),
            ("refs/heads/größe", "refs/heads/gr%C3%B6%C3%9Fe"),
            ("refs/heads/größe(1)", "refs/heads/gr%C3%B6%C3%9Fe%281%29"),
            ("refs/heads/a%20b", "refs/heads/a%20b"),
            ("refs/heads/a{b}", "refs/heads/a%7Bb%7D"),
            ("refs/heads/a#ö(1)", "refs/heads/a#%C3%B6(1)"),
            ("refs/heads/a!'*[x]", "refs/heads/a!'*[x]"),
            (
                "refs/heads/ü!'*[x]%41",
                "refs/heads/%C3%BC%21%27%2A%5Bx%5DA",
            ),
        ] {
            let subject = github_subject(None, &format!("{file}@{reference}"));
            assert_eq!(
                subject.unwrap(),
                format!("https://github.com/{file}@{written}")
            );
        }
        assert_eq!(github_subject(None, "o/r/w.yml@refs/heads/100%"), None);
    }

    #[test]
    fn a_url_claim_names_the_server() {
        let subject = github_subject(Some("https://git.example"), "o/r/w.yml@refs/heads/main");
        assert_eq!(
            subject.unwrap(),
            "https://git.example/o/r/w.yml@refs/heads/main"
        );
    }
}
