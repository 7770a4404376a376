//! Checks content against its digest and size, and against the digest that a registry states.

use super::error::ContentError;
use super::error_response::printable;
use crate::domain::{Descriptor, Digest};
use crate::http::Response;

const DIGEST_HEADER: &str = "docker-content-digest";

pub(super) fn check_digest(computed: Digest, wanted: &Digest) -> Result<(), ContentError> {
    if computed == *wanted {
        Ok(())
    } else {
        Err(ContentError::Digest {
            computed,
            claimed: wanted.to_string(),
            claimant: "the requested digest",
        })
    }
}

pub(super) fn check_size(arrived: u64, blob: &Descriptor) -> Result<(), ContentError> {
    if arrived == blob.size {
        Ok(())
    } else {
        Err(ContentError::Size {
            arrived,
            claimed: blob.size,
        })
    }
}

/// Compares a digest with `Docker-Content-Digest`, which not every registry sends. A digest of another algorithm, or an
/// invalid one, counts as a mismatch: it does not confirm the computed digest.
pub(super) fn check_stated(computed: &Digest, response: &Response) -> Result<(), ContentError> {
    match response.header(DIGEST_HEADER) {
        Some(stated) if *stated != computed.to_string() => Err(ContentError::Digest {
            computed: computed.clone(),
            claimed: printable(stated, 200),
            claimant: "the registry's `Docker-Content-Digest`",
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn stated_digest(response: &Response) -> Option<Digest> {
    response.header(DIGEST_HEADER)?.parse().ok()
}
