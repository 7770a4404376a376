//! Content digests: parsed once, computed from bytes, compared as values.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The SHA-256 digest of some content, always written `sha256:` and 64 lower-case hex digits.
///
/// Source: OCI image specification, `descriptor.md`, "Digests". Other registered algorithms are refused: no registry
/// that this program talks to stores anything under them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    hex: String,
}

/// A digest in progress, for content that arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct Digester(Sha256);

/// The error for a text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest (`sha256:` and 64 lower-case hex digits)")]
pub struct DigestError {
    text: String,
}

impl Digest {
    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_raw(&Sha256::digest(bytes))
    }

    /// The 64 hex digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    fn from_raw(raw: &[u8]) -> Self {
        Self {
            hex: hex::encode(raw),
        }
    }
}

impl Digester {
    /// Adds the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces so far.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::from_raw(&self.0.finalize())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let refused = || DigestError {
            text: text.chars().take(200).collect(),
        };
        let hex = text.strip_prefix("sha256:").ok_or_else(refused)?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() == 64 && hex.bytes().all(lower_hex) {
            Ok(Self {
                hex: hex.to_owned(),
            })
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(
            empty.parse::<Digest>().unwrap().referrers_tag().to_string(),
            empty.replace(':', "-")
        );
        assert_eq!(
            Digest::of(b"").legacy_tag().to_string(),
            format!("{}.sig", empty.replace(':', "-"))
        );
    }

    #[test]
    fn digest_of_pieces_is_that_of_the_whole() {
        let mut digester = Digester::default();
        digester.add(b"bl");
        digester.add(b"");
        digester.add(b"ob");
        assert_eq!(digester.finish(), Digest::of(b"blob"));
        assert_eq!(Digester::default().finish(), Digest::of(b""));
    }

    #[test]
    fn digest_refuses_other_shapes() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "",
            hex,
            "sha256:",
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
