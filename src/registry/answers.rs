//! Which answers mean "not there", and which mean that we do not know. This is the whole table; that of all requests, those
//! that write and those to other services too, is played in `tests/audit/table.rs`.
//!
//! | asked | answer | means | since |
//! |---|---|---|---|
//! | manifest, blob | 404, all codes are of `ABSENT_CODES` | absent | the specification's codes, and those of Quay and Harbor for the same |
//! | | 404, `UNKNOWN` "not found" | absent | Harbor 2.10 |
//! | | 404, no readable code, `Docker-Distribution-API-Version` | absent | the header says that a registry speaks, not a proxy or web server in front of it |
//! | | 404, message about `Accept` | unknown | GHCR and distribution answer so for what is there but not accepted |
//! | | any other 404 | unknown | a wrong host answers 404 to everything |
//! | | any other status but 200 | unknown | 401 and 403 hide what is there; 3xx leads to login pages |
//! | HEAD by digest, manifest or blob | 404 | absent | it has no body to look at, and the tag that led to the digest came from a registry |
//! | HEAD of a blob | any other but 200 | asked again by GET | no body to say why; the storage that a redirect leads to may take no HEAD |
//! | HEAD by tag | 404 | asked again by GET | no body to look at |
//! | blob after a redirect | anything but 200 | unknown | the registry has the blob; its storage is in trouble |
//! | referrers, first page | 200 with the type of an index | the list | |
//! | | 200 with another type | no such API | login pages, and servers that answer 200 to everything |
//! | | 3xx | no such API | GHCR (303), Artifact Registry (login page); not followed |
//! | | 404, whatever it says | no such API | old registries have no such path, or write plain text |
//! | | 400, 405, 406 | no such API | Quay before it knows the subject; Artifactory before 7.90 |
//! | | any other | unknown | 401, 403, 429, 5xx: the list may be there |
//! | referrers, later pages | anything but the list | unknown | a list that breaks off is no list |

use super::wire::Answer;
use crate::domain::MediaType;

/// The codes of a 404 that say "not there": the specification's for manifests, blobs and repositories; Harbor's
/// (`NOT_FOUND`); Quay's for a tag that was there once (`TAG_EXPIRED`).
const ABSENT_CODES: [&str; 5] = [
    "MANIFEST_UNKNOWN",
    "BLOB_UNKNOWN",
    "NAME_UNKNOWN",
    "NOT_FOUND",
    "TAG_EXPIRED",
];

/// What an answer to a question for a manifest or a blob means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Present,
    Absent,
    Unknown,
}

/// What an answer to a question for referrers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Listed,
    NoApi,
    Unknown,
}

/// Reads the answer to a GET for a manifest or a blob.
pub(super) fn presence(answer: &Answer) -> Presence {
    match answer.status.as_u16() {
        200 => Presence::Present,
        404 if says_absent(answer) => Presence::Absent,
        _ => Presence::Unknown,
    }
}

/// Reads the answer to a GET for the first page of referrers.
pub(super) fn listing(answer: &Answer) -> Listing {
    let is_index = || {
        let content_type = answer.header("content-type").unwrap_or_default();
        MediaType::from(content_type) == MediaType::OciIndex
    };
    match answer.status.as_u16() {
        200 if is_index() => Listing::Listed,
        200 | 300..=399 | 400 | 404 | 405 | 406 => Listing::NoApi,
        _ => Listing::Unknown,
    }
}

fn says_absent(answer: &Answer) -> bool {
    let refusal = answer.refusal();
    let message = refusal.message.to_ascii_lowercase();
    if message.contains("accept header") {
        return false;
    }
    if refusal.codes.is_empty() {
        return answer.header("docker-distribution-api-version").is_some();
    }
    let is_harbor = |code: &str| code == "UNKNOWN" && message.contains("not found");
    refusal
        .codes
        .iter()
        .all(|code| ABSENT_CODES.contains(&code.as_str()) || is_harbor(code))
}
