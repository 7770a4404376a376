//! The table: the possible responses to each request, and their meaning. Everything else is unknown.

use super::super::index_reply;
use super::Means::{Absent, Done, OtherWay, Unknown};
use super::Says::{Denied, NotThere, Right, Unsupported};
use super::asks::{Ask, BLOB, LARGE};
use super::row::{NO_BLOB, NO_NAME, Row, USUAL, deleted, is, stored, token};
use super::well::{aws_login, described_image, stated, target_of_aws, versions};
use crate::http::tests::server::Reply;

pub(super) const ROWS: &[Row] = &[
    Row {
        request: "GET manifest",
        ask: Ask::Manifest("registry.test"),
        is_it: |seen| is(seen, "GET", "/manifests/"),
        right: index_reply,
        means: |status, says| match (status, says) {
            (200, Right) => Done,
            (404, NotThere) => Absent,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "HEAD manifest by tag, and GET where that leaves it open",
        ask: Ask::DigestOfTag,
        is_it: |seen| seen.target.contains("/manifests/"),
        right: stated,
        means: |status, says| match (status, says) {
            (200, Right) => Done,
            (404, NotThere) => Absent,
            _ => Unknown,
        },
        has_body: false,
        ..USUAL
    },
    Row {
        request: "HEAD manifest by digest, and GET where that leaves it open",
        ask: Ask::DigestOfDigest("registry.test"),
        is_it: |seen| seen.target.contains("/manifests/"),
        right: stated,
        means: |status, says| match (status, says) {
            (200, Right) => Done,
            (404, _) => Absent,
            _ => Unknown,
        },
        has_body: false,
        ..USUAL
    },
    Row {
        request: "PUT manifest by digest",
        ask: Ask::PutManifest {
            host: "registry.test",
            by_tag: false,
        },
        is_it: |seen| is(seen, "PUT", "/manifests/"),
        right: stated,
        means: |status, _| stored(status),
        ..USUAL
    },
    Row {
        request: "PUT manifest by tag that holds other content",
        ask: Ask::PutManifest {
            host: "registry.test",
            by_tag: true,
        },
        is_it: |seen| is(seen, "PUT", "/manifests/"),
        right: stated,
        means: |status, _| stored(status),
        ..USUAL
    },
    Row {
        request: "GET manifest after a redirect to another host",
        ask: Ask::Manifest("other.test/o/moved"),
        is_it: |seen| seen.target.contains("storage.test/manifest"),
        right: index_reply,
        means: token,
        ..USUAL
    },
    Row {
        request: "HEAD manifest by digest after a redirect to another host, and GET where that leaves it open",
        ask: Ask::DigestOfDigest("other.test/o/moved"),
        is_it: |seen| seen.target.contains("storage.test/manifest"),
        right: stated,
        means: token,
        has_body: false,
        ..USUAL
    },
    Row {
        request: "PUT manifest after a redirect within the host",
        ask: Ask::PutManifest {
            host: "other.test/o/moved",
            by_tag: false,
        },
        is_it: |seen| is(seen, "PUT", "/place/1"),
        right: stated,
        means: |status, _| stored(status),
        ..USUAL
    },
    Row {
        request: "PUT manifest with several tags",
        ask: Ask::PutTags,
        is_it: |seen| is(seen, "PUT", "?tag=v1&tag=v2"),
        right: || stated().header("oci-tag", "v1").header("oci-tag", " v0,v2"),
        means: |status, says| match (status, says) {
            (200..=299, Right) => Done,
            _ => OtherWay,
        },
        fails_mean: OtherWay,
        ..USUAL
    },
    Row {
        request: "PUT tag under a condition",
        ask: Ask::ReplaceTag,
        is_it: |seen| is(seen, "PUT", "/o/etag/") && seen.header("if-match").is_some(),
        right: || Reply::new(201),
        // A registry that refuses a condition that holds is written to without one.
        means: |status, _| match status {
            412 => Done,
            _ => stored(status),
        },
        ..USUAL
    },
    Row {
        request: "PUT tag under a condition that cannot hold",
        ask: Ask::ProbeConditions,
        is_it: |seen| is(seen, "PUT", "/o/etag/") && seen.header("if-none-match").is_some(),
        right: || Reply::new(201),
        // A registry that refuses it honours conditions, and the write under the right one follows.
        means: |status, _| match status {
            412 => Done,
            _ => stored(status),
        },
        ..USUAL
    },
    Row {
        request: "list of all tags",
        ask: Ask::AllTags,
        is_it: |seen| seen.target.contains("/tags/list"),
        right: || Reply::new(200).body(r#"{"name":"o/r","tags":["v1"]}"#),
        not_there: NO_NAME,
        means: token,
        ..USUAL
    },
    Row {
        request: "list of tags of a repository that denies its manifests",
        ask: Ask::MayBeNew,
        is_it: |seen| seen.target.contains("/tags/list"),
        right: || Reply::new(200).body(r#"{"name":"o/r","tags":["v1"]}"#),
        not_there: NO_NAME,
        means: |status, says| match (status, says) {
            (401 | 403, _) | (404, NotThere) => Absent,
            _ => Unknown,
        },
        never_done: true,
        ..USUAL
    },
    Row {
        request: "HEAD blob, and GET where that leaves it open",
        ask: Ask::HasBlob,
        is_it: |seen| seen.target.contains("/blobs/"),
        right: || Reply::new(200).body("blob"),
        not_there: NO_BLOB,
        means: |status, _| match status {
            200 => Done,
            404 => Absent,
            _ => Unknown,
        },
        has_body: false,
        ..USUAL
    },
    Row {
        request: "GET blob",
        ask: Ask::Blob("r"),
        is_it: |seen| is(seen, "GET", "/blobs/"),
        right: || Reply::new(200).body("blob"),
        not_there: NO_BLOB,
        means: |status, says| match (status, says) {
            (200, Right) => Done,
            (404, NotThere) => Absent,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "GET blob at the storage that a redirect leads to",
        ask: Ask::Blob("redirected"),
        is_it: |seen| seen.target.contains("storage.test"),
        right: || Reply::new(200).body("blob"),
        not_there: NO_BLOB,
        means: token,
        ..USUAL
    },
    Row {
        request: "POST upload with the blob",
        ask: Ask::PutBlob(BLOB),
        is_it: |seen| is(seen, "POST", "/blobs/uploads/?digest="),
        means: |status, _| match status {
            // If the registry refuses, a plain POST follows, which succeeds.
            201 | 400 | 404 | 405 | 411 | 413 | 415 | 416 | 501 => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "POST upload",
        ask: Ask::PutBlob(LARGE),
        is_it: |seen| is(seen, "POST", "/blobs/uploads/"),
        right: || Reply::new(202).header("location", "/upload/1"),
        means: |status, says| match (status, says) {
            (202, Right) => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "PUT upload",
        ask: Ask::PutBlob(LARGE),
        is_it: |seen| is(seen, "PUT", "/upload/"),
        means: |status, _| match status {
            200 | 201 | 204 => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "PUT upload of a large blob as it comes in",
        ask: Ask::Stream,
        is_it: |seen| is(seen, "PUT", "/upload/"),
        means: |status, _| match status {
            200 | 201 | 204 => Done,
            _ => Unknown,
        },
        is_timed: false,
        ..USUAL
    },
    Row {
        request: "GET blob that is carried over",
        ask: Ask::Copy("other.test"),
        is_it: |seen| seen.target.contains("other.test") && seen.target.contains("/blobs/"),
        right: || Reply::new(200).body("blob"),
        not_there: NO_BLOB,
        means: token,
        ..USUAL
    },
    Row {
        request: "POST upload that mounts",
        ask: Ask::Copy("registry.test"),
        is_it: |seen| is(seen, "POST", "mount="),
        right: || Reply::new(202).header("location", "/upload/1"),
        not_there: NO_BLOB,
        means: |status, says| match (status, says) {
            (201, _) => Done,
            (202, Right) => OtherWay,
            (202 | 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522, _) => Unknown,
            // The blob is streamed instead.
            _ => OtherWay,
        },
        ..USUAL
    },
    Row {
        request: "DELETE upload that failed",
        ask: Ask::UploadThatFails,
        is_it: |seen| is(seen, "DELETE", "/refused/"),
        not_there: NO_BLOB,
        never_done: true,
        ..USUAL
    },
    Row {
        request: "GET referrers, first page",
        ask: Ask::Referrers,
        is_it: |seen| seen.target.contains("/referrers/"),
        right: index_reply,
        means: |status, says| match (status, says) {
            (200, Right) => Done,
            (200 | 300..=399 | 400 | 404 | 405 | 406, _) => OtherWay,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "GET referrers, later page",
        ask: Ask::Referrers,
        is_it: |seen| seen.target.contains("/referrers/") && seen.target.contains("page=2"),
        right: index_reply,
        means: token,
        ..USUAL
    },
    Row {
        request: "GET token",
        ask: Ask::Manifest("guarded.test"),
        is_it: |seen| is(seen, "GET", "/token"),
        right: || Reply::new(200).body(r#"{"token":"t"}"#),
        means: token,
        ..USUAL
    },
    Row {
        request: "POST token",
        ask: Ask::Manifest("posted.test"),
        is_it: |seen| is(seen, "POST", "/token"),
        right: || Reply::new(200).body(r#"{"access_token":"t"}"#),
        means: token,
        ..USUAL
    },
    Row {
        request: "login from ECR",
        ask: Ask::Manifest("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        is_it: |seen| target_of_aws(seen).ends_with("GetAuthorizationToken"),
        right: || Reply::new(200).body(aws_login()),
        means: token,
        ..USUAL
    },
    Row {
        request: "HEAD tag before its deletion, and GET where that leaves it open",
        ask: Ask::Delete("plain.test"),
        is_it: |seen| seen.target.contains("/manifests/v1") && seen.method != "DELETE",
        right: stated,
        means: token,
        has_body: false,
        ..USUAL
    },
    Row {
        request: "DELETE manifest by tag",
        ask: Ask::Delete("plain.test"),
        is_it: |seen| is(seen, "DELETE", "/manifests/v1"),
        means: |status, says| match (status, says) {
            // If the registry refuses, the deletion by digest follows, which succeeds.
            (200 | 202 | 204 | 405 | 501, _) | (404, NotThere) | (400 | 404, Unsupported) => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "DELETE manifest by digest",
        ask: Ask::Delete("other.test"),
        is_it: |seen| is(seen, "DELETE", "/manifests/sha256:"),
        means: |status, says| match (status, says) {
            (200 | 202 | 204, _) | (404, NotThere) => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "list of tags before a deletion by digest",
        ask: Ask::Delete("other.test"),
        is_it: |seen| seen.target.contains("/tags/list"),
        right: || Reply::new(200).body(r#"{"tags":["v1"]}"#),
        not_there: NO_NAME,
        means: token,
        ..USUAL
    },
    Row {
        request: "HEAD other tag before a deletion by digest, and GET",
        ask: Ask::Delete("other.test"),
        is_it: |seen| seen.target.contains("/manifests/theirs"),
        right: || {
            Reply::new(200)
                .header("content-type", "application/vnd.oci.image.index.v1+json")
                .body("{\"manifests\":[]}")
        },
        means: |status, says| match (status, says) {
            (200, Right) | (404, NotThere) => Done,
            _ => Unknown,
        },
        has_body: false,
        ..USUAL
    },
    Row {
        request: "DELETE placeholder, before a tag points to it and afterwards",
        ask: Ask::Delete("crowded.test"),
        is_it: |seen| is(seen, "DELETE", "/manifests/sha256:"),
        means: |status, _| {
            // The registry must have deleted what it has just stored.
            if matches!(status, 200 | 202 | 204) {
                Done
            } else {
                Unknown
            }
        },
        ..USUAL
    },
    Row {
        request: "PUT placeholder by digest",
        ask: Ask::Delete("crowded.test"),
        is_it: |seen| is(seen, "PUT", "/manifests/sha256:"),
        means: |status, _| stored(status),
        ..USUAL
    },
    Row {
        request: "PUT placeholder by tag",
        ask: Ask::Delete("crowded.test"),
        is_it: |seen| is(seen, "PUT", "/manifests/v1"),
        means: |status, _| stored(status),
        ..USUAL
    },
    Row {
        request: "Docker Hub: POST login",
        ask: Ask::Delete("docker.io"),
        is_it: |seen| seen.target.contains("hub.docker.com/v2/auth/token"),
        right: || Reply::new(200).body(r#"{"access_token":"t"}"#),
        means: token,
        ..USUAL
    },
    Row {
        request: "Docker Hub: DELETE tag",
        ask: Ask::Delete("docker.io"),
        is_it: |seen| is(seen, "DELETE", "hub.docker.com"),
        means: |status, _| deleted(status),
        ..USUAL
    },
    Row {
        request: "GHCR: GET owner",
        ask: Ask::Delete("ghcr.io"),
        is_it: |seen| {
            seen.target.contains("api.github.com/users/o") && !seen.target.contains("packages")
        },
        right: || Reply::new(200).body(r#"{"type":"User"}"#),
        means: token,
        ..USUAL
    },
    Row {
        request: "GHCR: GET versions",
        ask: Ask::Delete("ghcr.io"),
        is_it: |seen| is(seen, "GET", "/versions?"),
        right: || Reply::new(200).body(versions()),
        means: token,
        ..USUAL
    },
    Row {
        request: "GHCR: DELETE version",
        ask: Ask::Delete("ghcr.io"),
        is_it: |seen| is(seen, "DELETE", "/versions/1"),
        means: |status, _| {
            if matches!(status, 204 | 404) {
                Done
            } else {
                Unknown
            }
        },
        ..USUAL
    },
    Row {
        request: "ECR: BatchDeleteImage",
        ask: Ask::Delete("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        is_it: |seen| target_of_aws(seen).ends_with("BatchDeleteImage"),
        right: || Reply::new(200).body(r#"{"imageIds":[],"failures":[]}"#),
        // A later read decides whether the tag is gone. A body that is not JSON is not a response of AWS.
        means: |status, says| match (status, says) {
            (200, Right | NotThere | Denied | Unsupported) => Done,
            _ => Unknown,
        },
        ..USUAL
    },
    Row {
        request: "ECR: DescribeImages, before a tag of an image that must stay is deleted",
        ask: Ask::DeleteTagAlone("123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
        is_it: |seen| target_of_aws(seen).ends_with("DescribeImages"),
        right: || Reply::new(200).body(described_image()),
        means: token,
        ..USUAL
    },
    Row {
        request: "ACR: DELETE tag",
        ask: Ask::Delete("octo.azurecr.io"),
        is_it: |seen| is(seen, "DELETE", "/acr/v1/"),
        means: |status, _| deleted(status),
        ..USUAL
    },
    Row {
        request: "Harbor: DELETE tag",
        ask: Ask::Delete("harbor.test"),
        is_it: |seen| is(seen, "DELETE", "/api/v2.0/"),
        means: |status, _| deleted(status),
        ..USUAL
    },
    Row {
        request: "Quay: GET what cosign stored, before its tag goes along",
        ask: Ask::Delete("quay.io"),
        is_it: |seen| is(seen, "GET", ".sig"),
        right: index_reply,
        means: |status, says| match (status, says) {
            (200, Right) | (404, NotThere) => Done,
            _ => Unknown,
        },
        ..USUAL
    },
];
