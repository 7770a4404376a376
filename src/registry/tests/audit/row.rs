//! The description of one request, and meanings that several requests share.

use super::Means::{self, Done, Unknown};
use super::Says::{self, Right};
use super::asks::Ask;
use crate::http::tests::server::{Reply, Seen};

/// A request, the operation that sends it, and the meaning of its responses.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) request: &'static str,
    pub(super) ask: Ask,
    pub(super) is_it: fn(&Seen) -> bool,
    /// The expected response, except for the status.
    pub(super) right: fn() -> Reply,
    pub(super) not_there: &'static str,
    pub(super) means: fn(u16, Says) -> Means,
    /// The meaning of a response that breaks off or never comes.
    pub(super) fails_mean: Means,
    pub(super) has_body: bool,
    pub(super) is_timed: bool,
    pub(super) never_done: bool,
}

pub(super) const NO_MANIFEST: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#;
pub(super) const NO_BLOB: &str = r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#;
pub(super) const NO_NAME: &str = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;

pub(super) const USUAL: Row = Row {
    request: "",
    ask: Ask::DigestOfTag,
    is_it: |_| false,
    right: || Reply::new(200),
    not_there: NO_MANIFEST,
    means: |_, _| Unknown,
    fails_mean: Unknown,
    has_body: true,
    is_timed: true,
    never_done: false,
};

pub(super) fn is(seen: &Seen, method: &str, part: &str) -> bool {
    seen.method == method && seen.target.contains(part)
}

/// Reads the status of a write: it alone decides.
pub(super) fn stored(status: u16) -> Means {
    if matches!(status, 200..=202) {
        Done
    } else {
        Unknown
    }
}

pub(super) fn token(status: u16, says: Says) -> Means {
    if (status, says) == (200, Right) {
        Done
    } else {
        Unknown
    }
}

/// Reads the status of a deletion by a registry's own API. A later read of the registry must confirm it.
pub(super) fn deleted(status: u16) -> Means {
    if matches!(status, 200 | 202 | 204 | 404) {
        Done
    } else {
        Unknown
    }
}
