//! Successful responses to every request except the one under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::{MANIFEST, index_reply};
use super::asks::{BLOB, LARGE};
use crate::domain::Digest;
use crate::http::tests::server::{Reply, Seen};

/// Returns the response to a GET or HEAD for the index, with its digest.
pub(super) fn stated() -> Reply {
    index_reply().header("docker-content-digest", Digest::of(MANIFEST).to_string())
}

pub(super) fn versions() -> String {
    let version = json!([{"id": 1, "name": Digest::of(MANIFEST).to_string(), "metadata": {"container": {"tags": ["v1"]}}}]);
    version.to_string()
}

pub(super) fn aws_login() -> String {
    json!({"authorizationData": [{"authorizationToken": STANDARD.encode("AWS:password")}]})
        .to_string()
}

/// Returns AWS's description of the index, which has another tag.
pub(super) fn described_image() -> String {
    let digest = Digest::of(MANIFEST).to_string();
    json!({"imageDetails": [{"imageDigest": digest, "imageTags": ["v1", "theirs"]}]}).to_string()
}

pub(super) fn target_of_aws(seen: &Seen) -> &str {
    seen.header("x-amz-target").unwrap_or_default()
}

/// Returns a successful response to every request that is not under test.
pub(super) fn well(seen: &Seen) -> Reply {
    let target = seen.target.as_str();
    let wants_token = [
        "guarded.test",
        "posted.test",
        "harbor.test",
        "amazonaws.com",
    ];
    let is_guarded = wants_token
        .iter()
        .any(|host| seen.host() == *host || seen.host().ends_with(host));
    if target.contains("/token") {
        return Reply::new(200).body(r#"{"token":"t","access_token":"t"}"#);
    }
    if is_guarded && seen.header("authorization").is_none() {
        let host = seen.host();
        let service = if host == "harbor.test" {
            "harbor-registry"
        } else {
            "s"
        };
        let bearer = format!(r#"Bearer realm="http://{host}/token",service="{service}""#);
        let basic = "Basic realm=\"aws\"".to_owned();
        let challenge = if host.ends_with("amazonaws.com") {
            basic
        } else {
            bearer
        };
        return Reply::new(401).header("www-authenticate", challenge);
    }
    match (seen.method.as_str(), target) {
        (_, target) if target.contains("/o/denied/") => {
            Reply::new(403).body(r#"{"errors":[{"code":"DENIED"}]}"#)
        }
        (_, target)
            if target.contains("api.github.com/users/o/packages") && seen.method == "GET" =>
        {
            Reply::new(200).body(versions())
        }
        (_, target) if target.contains("api.github.com") && seen.method == "GET" => {
            Reply::new(200).body(r#"{"type":"User"}"#)
        }
        ("GET" | "HEAD", target) if target.contains("/o/redirected/blobs/") => {
            Reply::new(307).header("location", "http://storage.test/blob")
        }
        ("GET" | "HEAD", target) if target.contains("/blobs/") => {
            let is_large = target.ends_with(Digest::of(LARGE).hex());
            Reply::new(200).body(if is_large { LARGE } else { BLOB })
        }
        ("POST", target) if target.contains("/o/refuses/") => {
            Reply::new(202).header("location", "/refused/1")
        }
        ("PUT", target) if target.contains("/refused/") => Reply::new(400),
        ("GET" | "HEAD", target) if target.contains("/o/moved/") => {
            Reply::new(307).header("location", "//storage.test/manifest")
        }
        ("PUT", target) if target.contains("/o/moved/") => {
            Reply::new(307).header("location", "/place/1")
        }
        ("GET" | "HEAD", target) if target.contains("/o/etag/") => {
            stated().header("etag", r#""e""#)
        }
        ("POST", target) if target.contains("/blobs/uploads/") => {
            Reply::new(202).header("location", "/upload/1")
        }
        ("PUT", _) => Reply::new(201),
        ("GET", target) if target.contains("/referrers/") => {
            index_reply().header("link", r#"<?page=2>; rel="next""#)
        }
        ("GET", target) if target.contains("/tags/list") && seen.host() == "crowded.test" => {
            let tags: Vec<String> = (1..100).map(|number| format!("v{number}")).collect();
            Reply::new(200).body(json!({ "tags": tags }).to_string())
        }
        ("GET", target) if target.contains("/tags/list") => {
            Reply::new(200).body(r#"{"tags":["v1","theirs"]}"#)
        }
        ("GET" | "HEAD", target) if target.contains("/manifests/theirs") => {
            index_reply().body(r#"{"manifests":[]}"#)
        }
        // The existing content differs from the content to write.
        ("GET" | "HEAD", target) if target.contains("registry.test") => {
            index_reply().body(r#"{"manifests":[]}"#)
        }
        ("GET" | "HEAD", _) => index_reply(),
        ("DELETE", target)
            if target.contains("/manifests/v1")
                && ["other.test", "crowded.test"].contains(&seen.host()) =>
        {
            Reply::new(405)
        }
        ("DELETE", _) => Reply::new(204),
        ("POST", _) if target_of_aws(seen).ends_with("GetAuthorizationToken") => {
            Reply::new(200).body(aws_login())
        }
        ("POST", _) if target_of_aws(seen).ends_with("DescribeImages") => {
            Reply::new(200).body(described_image())
        }
        ("POST", _) => Reply::new(200).body(r#"{"failures":[]}"#),
        _ => Reply::new(500),
    }
}
