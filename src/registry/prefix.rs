//! The first bytes of a blob, which need not be in memory.

use crate::domain::{Algorithm, Digest, Digester};

/// The first bytes of a blob: their number and their digest.
#[derive(Debug, Clone)]
pub(super) struct Prefix {
    pub(super) length: u64,
    digester: Digester,
}

impl Prefix {
    /// Returns the prefix without bytes.
    pub(super) fn empty(algorithm: Algorithm) -> Self {
        Self {
            length: 0,
            digester: Digester::of(algorithm),
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.digester.add(bytes);
    }

    pub(super) fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }
}
