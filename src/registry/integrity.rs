//! Checks content against its digest and size.

use super::error::RegistryErrorKind;
use crate::domain::{Descriptor, Digest};

pub(super) fn check_digest(computed: Digest, wanted: &Digest) -> Result<(), RegistryErrorKind> {
    if computed == *wanted {
        Ok(())
    } else {
        Err(RegistryErrorKind::Digest {
            computed,
            claimed: wanted.to_string(),
            claimant: "what was asked for",
        })
    }
}

pub(super) fn check_size(arrived: u64, blob: &Descriptor) -> Result<(), RegistryErrorKind> {
    if arrived == blob.size {
        Ok(())
    } else {
        Err(RegistryErrorKind::Size {
            arrived,
            claimed: blob.size,
        })
    }
}
