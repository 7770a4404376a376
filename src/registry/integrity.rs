//! Checks content against its digest and size, and against the digest that a registry states.

use super::error::ContentError;
use super::error_response::printable;
use crate::domain::{Algorithm, Descriptor, Digest, Reference};
use crate::http::Response;

const DIGEST_HEADER: &str = "docker-content-digest";

/// Checks the digest of content, computed with the algorithm of the wanted one.
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

/// Checks `bytes` against `Docker-Content-Digest`, which not every registry sends. `computed` is their digest of the
/// expected algorithm. A digest of the other one is checked too. An invalid one counts as a mismatch, as does one that
/// cannot be checked: it does not confirm the bytes.
pub(super) fn check_stated(
    bytes: &[u8],
    computed: &Digest,
    response: &Response,
) -> Result<(), ContentError> {
    match response.header(DIGEST_HEADER) {
        Some(stated) if *stated == computed.to_string() => Ok(()),
        Some(stated) => match stated.parse::<Digest>() {
            Ok(other) if other.matches(bytes) => Ok(()),
            Ok(other) => Err(mismatch(other.algorithm().digest(bytes), stated)),
            Err(_) => Err(mismatch(computed.clone(), stated)),
        },
        None => Ok(()),
    }
}

/// Compares a digest with `Docker-Content-Digest`, like [`check_stated`], for content that was sent on and is not in
/// memory. A digest of the other algorithm contradicts nothing.
///
/// SPEC: distribution states the SHA-256 of a blob that was pushed under its SHA-512.
pub(super) fn check_stated_digest(
    computed: &Digest,
    response: &Response,
) -> Result<(), ContentError> {
    match response.header(DIGEST_HEADER) {
        Some(stated) if *stated != computed.to_string() => match stated.parse::<Digest>() {
            Ok(other) if other.algorithm() != computed.algorithm() => Ok(()),
            Ok(_) | Err(_) => Err(mismatch(computed.clone(), stated)),
        },
        Some(_) | None => Ok(()),
    }
}

/// Returns the algorithm of the digest of content that was requested by `reference`. The content of a tag has its SHA-256
/// digest, whatever the registry states: anyone with push access can bind a tag to a SHA-512 digest of the same bytes.
pub(super) fn algorithm_of(reference: &Reference) -> Algorithm {
    match reference {
        Reference::Digest(digest) => digest.algorithm(),
        Reference::Tag(_) => Algorithm::Sha256,
    }
}

fn mismatch(computed: Digest, stated: &str) -> ContentError {
    ContentError::Digest {
        computed,
        claimed: printable(stated, 200),
        claimant: "the registry's `Docker-Content-Digest`",
    }
}

pub(super) fn stated_digest(response: &Response) -> Option<Digest> {
    response.header(DIGEST_HEADER)?.parse().ok()
}
