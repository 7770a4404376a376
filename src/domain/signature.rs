//! The two formats in which a registry stores a signature of an image.

use std::fmt;

/// The format of a signature in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureFormat {
    /// A Sigstore bundle, in a manifest that refers to the image; cosign 3 writes it.
    Bundle,
    /// A layer of the manifest under the tag `sha256-….sig`; cosign wrote it up to version 2.
    Legacy,
}

impl SignatureFormat {
    /// The word for it in inputs, outputs and the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Legacy => "legacy",
        }
    }
}

impl fmt::Display for SignatureFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
