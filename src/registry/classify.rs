//! Classifies responses as present, absent or unknown. This is the whole table for reads. The table of all requests,
//! including writes and other services, is tested in `tests/audit/table.rs`.
//!
//! | request | response | means | reason |
//! |---|---|---|---|
//! | manifest, blob | 404, all codes are in `ABSENT_CODES` | absent | codes of the specification, of Quay and of Harbor |
//! | | 404, `UNKNOWN` "not found" | absent | Harbor 2.10 |
//! | | 404, no readable code, `Docker-Distribution-API-Version` | absent | sent by a registry, not by a proxy before it |
//! | | 404, message about `Accept` | unknown | GHCR and distribution answer so if a manifest exists but is not accepted |
//! | | any other 404 | unknown | a wrong host answers 404 to everything |
//! | | any other status but 200 | unknown | 401 and 403 hide existing content |
//! | manifest after a redirect to another host | 200 with another content type | unknown | a login page |
//! | HEAD by digest, manifest or blob | 404 | absent | no body to check, and the digest came from a registry's tag |
//! | HEAD by digest, manifest, after a redirect to another host | 404 | repeat as GET | any host answers 404 |
//! | HEAD of a blob | any other but 200 | repeat as GET | no body with a reason; a storage may refuse HEAD |
//! | HEAD by tag | 404 | repeat as GET | no body to check |
//! | blob after a redirect | anything but 200 | unknown | the registry has the blob; its storage fails |
//! | referrers, first page | 200 with the type of an index | the list | |
//! | | 200 with another type | no such API | login pages, and servers that answer 200 to everything |
//! | | 3xx to another host | no such API | GHCR (303), Artifact Registry (login page); not followed |
//! | | 404, all codes are in `ABSENT_CODES`, and 400 | no subject | the repository is new; Quay before it has the subject |
//! | | any other 404 | no such API | old registries have no such path, or send plain text |
//! | | 405, 406 | no such API | Artifactory before 7.90 |
//! | | any other | unknown | 401, 403, 429, 5xx: the list may exist |
//! | referrers, later pages | anything but the list | unknown | an incomplete list is not a list |

use super::error_response::ErrorResponse;
use crate::domain::MediaType;
use crate::http::Response;

/// The codes of a 404 for absent content. They are the specification's for manifests, blobs and repositories, Harbor's
/// (`NOT_FOUND`), and Quay's for a tag that existed once (`TAG_EXPIRED`).
const ABSENT_CODES: [&str; 5] = [
    "MANIFEST_UNKNOWN",
    "BLOB_UNKNOWN",
    "NAME_UNKNOWN",
    "NOT_FOUND",
    "TAG_EXPIRED",
];

/// The meaning of a response to a GET for a manifest or a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Present,
    Absent,
    Unknown,
}

/// The meaning of a response to a GET for referrers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Listed,
    NoApi,
    NoSubject,
    Unknown,
}

/// Reads the response to a GET for a manifest or a blob.
pub(super) fn presence(response: &Response) -> Presence {
    match response.status.as_u16() {
        200 => Presence::Present,
        404 if says_absent(response) => Presence::Absent,
        _ => Presence::Unknown,
    }
}

/// Reads the response to a GET for the first page of referrers.
pub(super) fn listing(response: &Response) -> Listing {
    let is_index = || {
        let content_type = response.header("content-type").unwrap_or_default();
        MediaType::from(content_type) == MediaType::OciIndex
    };
    match response.status.as_u16() {
        200 if is_index() => Listing::Listed,
        400 => Listing::NoSubject,
        404 if names_absent(&ErrorResponse::of(response)) => Listing::NoSubject,
        200 | 300..=399 | 404..=406 => Listing::NoApi,
        _ => Listing::Unknown,
    }
}

fn says_absent(response: &Response) -> bool {
    let is_distribution = || response.header("docker-distribution-api-version").is_some();
    match ErrorResponse::of(response) {
        refusal if refusal.codes.is_empty() => is_distribution() && !is_about_accept(&refusal),
        refusal => names_absent(&refusal),
    }
}

/// Reports whether an error names the absence by its codes.
fn names_absent(refusal: &ErrorResponse) -> bool {
    let message = refusal.message.to_ascii_lowercase();
    let is_harbor = |code: &str| code == "UNKNOWN" && message.contains("not found");
    let mut codes = refusal.codes.iter();
    !refusal.codes.is_empty()
        && !is_about_accept(refusal)
        && codes.all(|code| ABSENT_CODES.contains(&code.as_str()) || is_harbor(code))
}

fn is_about_accept(refusal: &ErrorResponse) -> bool {
    let message = refusal.message.to_ascii_lowercase();
    message.contains("accept header")
}
