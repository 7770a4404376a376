//! Content digests: parsed once, computed from bytes, compared as values.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// The length of an MD5 in hex.
const ENCODED_MIN_LENGTH: usize = 32;

/// The hash function of a digest. Both are registered, and registries need to support no other.
///
/// Source: OCI image specification, `descriptor.md`, "Registered Algorithms".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: that of every digest of content that this program makes.
    Sha256,
    /// SHA-512: read, verified and copied.
    Sha512,
}

/// The digest of some content, always written as the algorithm, `:` and lower-case hex digits.
///
/// Source: OCI image specification, `descriptor.md`, "Digests".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// A digest in progress, for content that arrives in pieces.
#[derive(Debug, Clone)]
pub struct Digester(Hasher);

#[derive(Debug, Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// The error for a text that is not a digest that this program supports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The text is not a digest.
    #[error("`{0}` is not a digest (`sha256:` and 64 lower-case hex digits, or `sha512:` and 128)")]
    Malformed(String),
    /// The text is a digest of another algorithm.
    #[error(
        "`{text}` is a digest of the algorithm `{algorithm}`; only `sha256` and `sha512` are supported"
    )]
    Algorithm {
        /// The digest.
        text: String,
        /// Its algorithm.
        algorithm: String,
    },
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut digester = Digester::of(self);
        digester.add(bytes);
        digester.finish()
    }

    /// The name in digests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The number of hex digits.
    #[must_use]
    pub fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl Digest {
    /// Computes the SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// Reads hex digits without their algorithm, which their number determines. `None` for any other text.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let is_of = |algorithm: &Algorithm| algorithm.hex_length() == hex.len();
        let algorithm = Algorithm::ALL.into_iter().find(is_of)?;
        is_lower_hex(hex).then(|| Self {
            algorithm,
            hex: hex.into(),
        })
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The hex digits of a SHA-256 digest, which signatures are made for; `None` for any other.
    #[must_use]
    pub fn sha256_hex(&self) -> Option<&str> {
        (self.algorithm == Algorithm::Sha256).then_some(&*self.hex)
    }

    /// True if this is the digest of `bytes`, by its own algorithm.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.algorithm.digest(bytes) == *self
    }
}

impl Digester {
    /// Starts a digest of no bytes.
    #[must_use]
    pub fn of(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        })
    }

    /// Adds the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all pieces so far.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            Hasher::Sha256(hasher) => (Algorithm::Sha256, hex::encode(hasher.finalize())),
            Hasher::Sha512(hasher) => (Algorithm::Sha512, hex::encode(hasher.finalize())),
        };
        Digest {
            algorithm,
            hex: hex.into(),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let shown = || text.chars().take(200).collect();
        let malformed = || DigestError::Malformed(shown());
        let (name, hex) = text.split_once(':').ok_or_else(malformed)?;
        let known = Algorithm::ALL.into_iter().find(|one| one.name() == name);
        match known {
            Some(algorithm) if hex.len() == algorithm.hex_length() && is_lower_hex(hex) => {
                Ok(Self {
                    algorithm,
                    hex: hex.into(),
                })
            }
            None if is_algorithm(name) && is_encoded(hex) => Err(DigestError::Algorithm {
                text: shown(),
                algorithm: name.chars().take(50).collect(),
            }),
            Some(_) | None => Err(malformed()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm, self.hex)
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

fn is_lower_hex(text: &str) -> bool {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.bytes().all(lower_hex)
}

/// True for every name that the specification permits: components of letters and digits, joined by separators.
fn is_algorithm(name: &str) -> bool {
    name.split(['+', '.', '_', '-']).all(|component| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !component.is_empty() && component.bytes().all(allowed)
    })
}

/// True for every encoded part that the specification permits, if it is no shorter than that of any real algorithm:
/// `app:v1` is no digest.
fn is_encoded(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte);
    text.len() >= ENCODED_MIN_LENGTH && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Algorithm::Sha512.digest(b"").to_string(), EMPTY_512);
    }

    #[test]
    fn digest_refuses_other_shapes() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "",
            hex,
            "sha256:",
            "sha512:",
            ":00",
            "sha-256 :00",
            "md5:",
            "app:v1",
            "ghcr.io/o/r:v1",
            &format!("sha512:{hex}"),
            &format!("sha256:{hex}{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &EMPTY_512.replace("cf83", "CF83"),
            &format!("sha256:{hex}0"),
            &format!("{EMPTY_512}0"),
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(matches!(error, DigestError::Malformed(_)), "{text}");
        }
        assert_eq!(Digest::from_hex(&hex.to_uppercase()), None);
        assert_eq!(Digest::from_hex(&hex[1..]), None);
    }

    #[test]
    fn digest_of_another_algorithm_is_refused_by_its_name() {
        for (text, algorithm) in [
            ("md5:d41d8cd98f00b204e9800998ecf8427e", "md5"),
            (
                "sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
                "sha384",
            ),
            (
                "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
                "multihash+base58",
            ),
            (
                "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
                "blake3",
            ),
        ] {
            let wanted = format!(
                "`{text}` is a digest of the algorithm `{algorithm}`; only `sha256` and `sha512` are supported"
            );
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), wanted);
        }
    }

    fn algorithms() -> impl Strategy<Value = Algorithm> {
        proptest::sample::select(Algorithm::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn digest_is_read_as_it_was_written(algorithm in algorithms(), bytes: Vec<u8>) {
            let digest = algorithm.digest(&bytes);
            let text = digest.to_string();
            prop_assert_eq!(text.parse::<Digest>().unwrap(), digest.clone());
            prop_assert_eq!(text.split_once(':'), Some((algorithm.name(), digest.hex())));
            prop_assert_eq!(digest.hex().len(), algorithm.hex_length());
            prop_assert_eq!(Digest::from_hex(digest.hex()), Some(digest));
        }

        #[test]
        fn digest_matches_its_content_alone(algorithm in algorithms(), bytes: Vec<u8>, other: Vec<u8>) {
            prop_assert!(algorithm.digest(&bytes).matches(&bytes));
            prop_assert_eq!(algorithm.digest(&bytes).matches(&other), bytes == other);
        }

        #[test]
        fn digest_of_pieces_is_that_of_the_whole(algorithm in algorithms(), pieces: Vec<Vec<u8>>) {
            let mut digester = Digester::of(algorithm);
            for piece in &pieces {
                digester.add(piece);
            }
            prop_assert_eq!(digester.finish(), algorithm.digest(&pieces.concat()));
        }

        #[test]
        fn digests_are_ordered_like_their_texts(
            (one, other) in (algorithms(), algorithms()), first: Vec<u8>, second: Vec<u8>
        ) {
            let (one, other) = (one.digest(&first), other.digest(&second));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn tags_of_a_digest_are_tags_and_follow_the_specification(algorithm in algorithms(), bytes: Vec<u8>) {
            let digest = algorithm.digest(&bytes);
            let tag = digest.referrers_tag();
            prop_assert_eq!(tag.to_string(), format!("{algorithm}-{}", &digest.hex()[..64]));
            prop_assert!(tag.to_string().parse::<crate::domain::Tag>().is_ok());
            let legacy = digest.legacy_tag().map(|tag| tag.to_string());
            let wanted = format!("{algorithm}-{}.sig", digest.hex());
            // cosign writes the whole digest, and a registry accepts no longer tag than this.
            let is_tag = wanted.parse::<crate::domain::Tag>().is_ok();
            prop_assert_eq!(legacy, is_tag.then_some(wanted));
        }
    }
}
