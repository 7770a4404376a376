//! Digests of content in the two algorithms that the image specification registers.

use sha2::{Digest as _, Sha256, Sha512};

/// The hex digits of a digest in its referrers tag. SPEC: longer ones are truncated.
const REFERRERS_TAG_HEX: usize = 64;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The canonical one.
    Sha256,
    /// The longer one.
    Sha512,
}

impl Algorithm {
    /// Returns the algorithm of this name: `sha256`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Returns the algorithm of a digest; `None` if the text is not a digest.
    pub(crate) fn of(digest: &str) -> Option<Self> {
        let (name, hex) = digest.split_once(':')?;
        let algorithm = Self::named(name)?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == algorithm.hex_length() && hex.bytes().all(is_hex)).then_some(algorithm)
    }

    /// Computes the digest of content, as text: `sha512:` and hex.
    pub(crate) fn digest(self, bytes: &[u8]) -> String {
        match self {
            Self::Sha256 => format!("sha256:{}", hex::encode(Sha256::digest(bytes))),
            Self::Sha512 => format!("sha512:{}", hex::encode(Sha512::digest(bytes))),
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// True if it is the name of an algorithm, a colon, and as many lower-case hex digits as the algorithm has.
pub(crate) fn is_digest(text: &str) -> bool {
    Algorithm::of(text).is_some()
}

/// True if `digest` is the digest of `bytes`, in its own algorithm.
pub(crate) fn is_digest_of(digest: &str, bytes: &[u8]) -> bool {
    Algorithm::of(digest).is_some_and(|algorithm| algorithm.digest(bytes) == digest)
}

/// Returns the referrers tag of a digest.
pub(crate) fn referrers_tag(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap_or((digest, ""));
    format!(
        "{algorithm}-{}",
        hex.get(..REFERRERS_TAG_HEX).unwrap_or(hex)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_has_the_length_of_its_algorithm() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = algorithm.digest(b"hello");
            assert_eq!(Algorithm::of(&digest), Some(algorithm));
            assert!(is_digest_of(&digest, b"hello"));
            assert!(!is_digest_of(&digest, b"hallo"));
            assert!(!is_digest(&digest[..digest.len() - 1]));
            assert!(!is_digest(&digest.to_uppercase()));
        }
        let long = Algorithm::Sha512.digest(b"hello");
        assert!(!is_digest(&long.replace("sha512", "sha256")));
        assert!(!is_digest(&long.replace("sha512", "sha384")));
    }

    #[test]
    fn referrers_tag_of_a_long_digest_is_truncated() {
        let digest = format!("sha512:{}", "a".repeat(128));
        assert_eq!(referrers_tag(&digest), format!("sha512-{}", "a".repeat(64)));
        let digest = format!("sha256:{}", "b".repeat(64));
        assert_eq!(referrers_tag(&digest), digest.replace(':', "-"));
    }
}
