//! Decides which digests can have signatures.

use super::SignatureError;
use crate::domain::{Algorithm, Digest};

/// Checks that a signature of this digest would have a verifier. cosign 3.1 and 2.6 refuse a reference with a SHA-512
/// digest, before they read anything.
pub(crate) fn check_signable(digest: &Digest) -> Result<(), SignatureError> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(()),
        Algorithm::Sha512 => Err(SignatureError::UnsupportedDigest(digest.clone())),
    }
}
