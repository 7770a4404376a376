//! An error response: its status, the registry's codes and its message, safe to print.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::error_detail::detail_text;
use super::ghcr_retry_after::ghcr_retry_after;
use crate::http::{Response, retry_after};

const CODES_MAX: usize = 8;
const CODE_MAX_LETTERS: usize = 64;
const MESSAGE_MAX_LETTERS: usize = 300;
const DETAIL_MAX_LETTERS: usize = 200;

/// An error response of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The error codes in the body, as in the distribution specification; empty if there are none.
    pub codes: Vec<String>,
    /// The messages in the body, on one line and shortened.
    pub message: String,
    /// The reasons in the errors' details, on one line and shortened. No decision depends on them.
    pub detail: String,
    /// The wait that the server requests.
    pub retry_after: Option<Duration>,
}

impl ErrorResponse {
    /// Reads an error response that has just arrived.
    pub(super) fn of(response: &Response) -> Self {
        let Response {
            url: _,
            status,
            headers,
            body,
        } = response;
        Self::read(status.as_u16(), headers, body, SystemTime::now())
    }

    /// Reads an error response. A date in `Retry-After` is compared with `now`.
    pub(super) fn read(status: u16, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let (codes, message, detail) = serde_json::from_slice(body).map_or_else(
            |_| (Vec::new(), plain_text(headers, body), String::new()),
            |document: Value| {
                let message = message(&document);
                let detail = detail_text(errors(&document), &message);
                (codes(&document), message, detail)
            },
        );
        let retry_after = retry_after(headers, now).or_else(|| ghcr_retry_after(&message));
        Self {
            status,
            codes,
            message: printable(&message, MESSAGE_MAX_LETTERS),
            detail: printable(&detail, DETAIL_MAX_LETTERS),
            retry_after,
        }
    }

    /// True if one of the codes is `code`.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }

    /// True if there is no code and no text.
    #[must_use]
    pub fn has_no_reason(&self) -> bool {
        self.codes.is_empty() && self.message.is_empty() && self.detail.is_empty()
    }

    /// True if the server throttles requests. GHCR also does this with a 403.
    #[must_use]
    pub fn is_throttling(&self) -> bool {
        self.status == 429
            || [
                "TOOMANYREQUESTS",
                "ThrottlingException",
                "TooManyRequestsException",
            ]
            .iter()
            .any(|code| self.has_code(code))
            || (self.status == 403 && self.message.contains("secondary rate limit"))
    }

    /// True if the server is down or overloaded, rather than denying the request.
    #[must_use]
    pub(super) fn is_outage(&self) -> bool {
        matches!(self.status, 408 | 500..=599) || self.is_throttling()
    }

    /// True if a later retry may help.
    #[must_use]
    pub(super) fn is_transient(&self) -> bool {
        // The list of go-containerregistry, which has received all of these.
        let is_fault = matches!(self.status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522);
        // The upload session is lost, as behind a load balancer. The next attempt opens a new one.
        let is_lost_upload =
            self.has_code("BLOB_UPLOAD_UNKNOWN") || self.has_code("BLOB_UPLOAD_INVALID");
        is_fault || is_lost_upload || self.is_throttling()
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.status)?;
        let reason = reqwest::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason());
        if let Some(reason) = reason {
            write!(formatter, " {reason}")?;
        }
        let codes = self.codes.join(", ");
        let texts = [codes.as_str(), &self.message, &self.detail];
        let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            Ok(())
        } else {
            write!(formatter, " ({})", texts.join(": "))
        }
    }
}

fn codes(document: &Value) -> Vec<String> {
    // AWS's JSON services: `com.amazonaws.…#AccessDeniedException`, or the last part alone.
    let aws = document
        .get("__type")
        .and_then(Value::as_str)
        .and_then(|code| code.rsplit('#').next());
    errors(document)
        .filter_map(|error| error.get("code")?.as_str())
        .chain(aws)
        .filter(|code| !code.is_empty())
        .map(|code| printable(code, CODE_MAX_LETTERS))
        .take(CODES_MAX)
        .collect()
}

/// Returns the messages of the specification's error format. Other servers use `error_description` (OAuth 2), `details`
/// and `detail` (Docker Hub), or AWS's `message` in either case.
fn message(document: &Value) -> String {
    let messages = errors(document)
        .filter_map(|error| error.get("message")?.as_str())
        .filter(|message| !message.is_empty());
    let mut listed: Vec<&str> = Vec::new();
    // One error a missing blob has the same message each time.
    for message in messages.take(CODES_MAX) {
        if !listed.contains(&message) {
            listed.push(message);
        }
    }
    if !listed.is_empty() {
        return listed.join("; ");
    }
    [
        "error_description",
        "message",
        "Message",
        "details",
        "detail",
        "error",
    ]
    .iter()
    .find_map(|name| document.get(name)?.as_str())
    .unwrap_or_default()
    .to_owned()
}

fn errors(document: &Value) -> impl Iterator<Item = &Value> {
    document
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Returns a body that is not JSON if it is plain text, but not if it is a web page.
fn plain_text(headers: &HeaderMap, body: &[u8]) -> String {
    let is_plain = headers
        .get(reqwest::header::CONTENT_TYPE)
        .is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    match std::str::from_utf8(body) {
        Ok(text) if is_plain && !text.trim_start().starts_with('<') => text.to_owned(),
        _ => String::new(),
    }
}

/// Replaces control characters by blanks, and runs of blanks by one.
///
/// SECURITY: a server's text is printed to a terminal and to a log that executes commands.
pub(super) fn printable(text: &str, max_letters: usize) -> String {
    let is_blank = |letter: char| letter.is_whitespace() || letter.is_control();
    let words = text.split(is_blank).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut letters = line.chars();
    let mut kept: String = letters.by_ref().take(max_letters).collect();
    if letters.next().is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn read(status: u16, body: &str) -> ErrorResponse {
        ErrorResponse::read(
            status,
            &HeaderMap::new(),
            body.as_bytes(),
            SystemTime::now(),
        )
    }

    #[test]
    fn codes_and_messages_are_told_on_one_line() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\n::error::way\u001b[31m"},{"code":"UNAUTHORIZED"}]}"#;
        assert_eq!(
            read(403, body).to_string(),
            "403 Forbidden (DENIED, UNAUTHORIZED: no ::error::way [31m)"
        );
    }

    #[test]
    fn bodies_of_other_shapes_say_what_they_can() {
        for (body, wanted) in [
            ("", "401 Unauthorized"),
            ("<html>Log in</html>", "401 Unauthorized"),
            (
                "404 page not found\n",
                "401 Unauthorized (404 page not found)",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "401 Unauthorized (incorrect username or password)",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"too old"}"#,
                "401 Unauthorized (too old)",
            ),
            (r#"{"errors":"no list"}"#, "401 Unauthorized"),
            ("[]", "401 Unauthorized"),
        ] {
            assert_eq!(read(401, body).to_string(), wanted);
        }
    }

    #[test]
    fn detail_is_shown_after_code_and_message() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (detail, wanted) in [
            (r#""no subject\n::error::x""#, "m: no subject ::error::x"),
            (r#"{"message":"too big"}"#, "m: too big"),
            (r#"{"description":"no layer"}"#, "m: no layer"),
            (
                r#"{"Reason":"bad media type","Digest":1}"#,
                "m: bad media type",
            ),
            (
                &format!(r#"{{"digest":"{digest}"}}"#),
                &format!("m: {digest}"),
            ),
            (&format!(r#""{digest}""#), &format!("m: {digest}")),
            (
                r#"[{"message":"one"},"two",{"message":"one"},3]"#,
                "m: one, two",
            ),
            (
                r#"[{"Type":"repository","Name":"o/app","Action":"pull"}]"#,
                "m",
            ),
            (r#"{"message":{"message":"deep"}}"#, "m"),
            (r#""m""#, "m"),
            ("null", "m"),
        ] {
            let body = format!(r#"{{"errors":[{{"code":"C","message":"m","detail":{detail}}}]}}"#);
            assert_eq!(
                read(400, &body).to_string(),
                format!("400 Bad Request (C: {wanted})")
            );
        }
        let body = r#"{"errors":[{"code":"C","detail":"only this"}]}"#;
        assert_eq!(
            read(400, body).to_string(),
            "400 Bad Request (C: only this)"
        );
    }

    #[test]
    fn details_of_several_errors_with_one_message_are_all_shown() {
        let body = r#"{"errors":[{"code":"C","message":"m","detail":"one"},{"code":"D","message":"m","detail":"two"}]}"#;
        let text = read(404, body).to_string();
        assert_eq!(text, "404 Not Found (C, D: m: one, two)");
    }

    #[test]
    fn endless_detail_is_cut() {
        let long = "x".repeat(5000);
        let body = format!(r#"{{"errors":[{{"code":"C","detail":"{long}"}}]}}"#);
        let detail = read(400, &body).detail;
        assert_eq!(detail.chars().count(), DETAIL_MAX_LETTERS + 1);
    }

    #[test]
    fn endless_message_is_cut() {
        let long = "x".repeat(5000);
        assert_eq!(
            read(400, &long).message.chars().count(),
            MESSAGE_MAX_LETTERS + 1
        );
    }

    #[test]
    fn ghcr_throttles_in_its_own_words() {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 10.305464ms, allowed: 2000/minute"}]}"#;
        let refusal = read(429, body);
        assert!(refusal.is_throttling());
        assert_eq!(refusal.retry_after, Some(Duration::from_nanos(10_305_464)));
        let secondary = read(403, "You have exceeded a secondary rate limit");
        assert!(secondary.is_throttling() && secondary.is_transient());
        assert!(!read(403, "no").is_transient());
    }
}
