//! AWS's Signature Version 4, limited to a POST to one of AWS's JSON services: headers, no query.
//!
//! Source: "Create a signed AWS API request" in the IAM User Guide; the tests are cases of AWS's published test suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::{Digest, Secret};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The keys that sign.
#[derive(Debug, Clone)]
pub(super) struct Keys<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a Secret,
    /// The session token of temporary keys.
    pub(super) session_token: Option<&'a Secret>,
}

/// The scope of a signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct SigningScope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// The request to sign.
#[derive(Debug, Clone)]
pub(super) struct UnsignedRequest<'a> {
    pub(super) method: &'a str,
    /// The host as in the `Host` header, with a port if it is not the default of the scheme.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// The headers, with names in lower case.
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
}

/// Returns the headers to add to the request, including those with secrets.
pub(super) fn signed_headers(
    keys: &Keys<'_>,
    scope: SigningScope<'_>,
    request: &UnsignedRequest<'_>,
    now: Timestamp,
) -> Vec<(&'static str, Secret)> {
    let time = now
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let date = time.split('T').next().unwrap_or_default();
    let mut headers: BTreeMap<&str, String> = request
        .headers
        .iter()
        .map(|(name, value)| (*name, without_runs_of_blanks(value)))
        .collect();
    headers.insert("host", request.host.to_owned());
    headers.insert("x-amz-date", time.clone());
    if let Some(token) = keys.session_token {
        headers.insert("x-amz-security-token", token.expose().to_owned());
    }
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
    for (name, value) in &headers {
        // Writing to a string cannot fail.
        let _ = writeln!(canonical, "{name}:{value}");
    }
    let _ = write!(canonical, "\n{names}\n{}", Digest::of(request.body).hex());
    let SigningScope { region, service } = scope;
    let range = format!("{date}/{region}/{service}/aws4_request");
    let digest = Digest::of(canonical.as_bytes());
    let text = format!("{ALGORITHM}\n{time}\n{range}\n{}", digest.hex());
    let first = format!("AWS4{}", keys.secret.expose());
    let steps = [date, region, service, "aws4_request"];
    let key = steps
        .iter()
        .fold(first.into_bytes(), |key, step| mac(&key, step));
    let signature = hex::encode(mac(&key, &text));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{range}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    let mut added = vec![
        ("x-amz-date", Secret::new(time)),
        ("authorization", Secret::new(authorization)),
    ];
    added.extend(
        keys.session_token
            .map(|token| ("x-amz-security-token", token.clone())),
    );
    added
}

/// Trims a value and collapses runs of blanks.
///
/// SPEC: "Remove leading and trailing spaces; convert sequential spaces to a single space."
fn without_runs_of_blanks(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2015-08-30T12:36:00Z";
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// Name, method, headers, body, signature.
    type Case<'a> = (
        &'a str,
        &'a str,
        &'a [(&'static str, &'a str)],
        &'a str,
        &'a str,
    );

    /// Returns the signed headers and the signature of a request in AWS's test suite (awslabs/aws-c-auth,
    /// `aws-signing-test-suite/v4`).
    fn signature(
        method: &str,
        headers: &[(&'static str, &str)],
        body: &str,
        token: Option<&Secret>,
    ) -> (String, String) {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let keys = Keys {
            id: "AKIDEXAMPLE",
            secret: &secret,
            session_token: token,
        };
        let scope = SigningScope {
            region: "us-east-1",
            service: "service",
        };
        let request = UnsignedRequest {
            method,
            host: "example.amazonaws.com",
            path: "/",
            headers,
            body: body.as_bytes(),
        };
        let result = signed_headers(&keys, scope, &request, NOW.parse().unwrap());
        let value = |name: &str| {
            let found = result.iter().find(|(own, _)| *own == name);
            found.map(|(_, text)| text.expose().to_owned())
        };
        assert_eq!(value("x-amz-date").as_deref(), Some("20150830T123600Z"));
        assert_eq!(
            value("x-amz-security-token").as_deref(),
            token.map(Secret::expose)
        );
        let authorization = value("authorization").unwrap();
        let rest = authorization
            .strip_prefix("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=")
            .unwrap();
        let (names, hex) = rest.split_once(", Signature=").unwrap();
        (names.to_owned(), hex.to_owned())
    }

    #[test]
    fn cases_of_the_published_suite_come_out_as_published() {
        let payload = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
        let form = |content_type: &'static str| {
            [
                ("content-type", content_type),
                ("content-length", "13"),
                ("x-amz-content-sha256", payload),
            ]
        };
        let plain = form("application/x-www-form-urlencoded");
        let charset = form("application/x-www-form-urlencoded; charset=utf-8");
        let cases: [Case<'_>; 6] = [
            (
                "get-vanilla",
                "GET",
                &[],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                "POST",
                &[],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-header-key-sort",
                "POST",
                &[("my-header1", "value1")],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "get-header-value-trim",
                "GET",
                &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                &plain,
                "Param1=value1",
                "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            ),
            (
                "post-x-www-form-urlencoded-parameters",
                "POST",
                &charset,
                "Param1=value1",
                "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
            ),
        ];
        for (name, method, headers, body, wanted) in cases {
            assert_eq!(signature(method, headers, body, None).1, wanted, "{name}");
        }
    }

    #[test]
    fn session_token_is_signed_along() {
        let token = Secret::new(TOKEN);
        assert_eq!(
            signature("POST", &[], "", Some(&token)),
            (
                "host;x-amz-date;x-amz-security-token".to_owned(),
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead".to_owned()
            ),
            "post-sts-header-before"
        );
    }
}
