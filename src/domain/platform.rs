//! The platforms that images run on, and the order in which an index lists them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The maximum length of the name of a system, an architecture or a version.
const WORD_MAX_BYTES: usize = 64;
const FEATURES_MAX: usize = 16;

/// The platform that an image runs on. Two platforms are equal if all five fields are equal.
///
/// The variant is normalised when it is parsed: `arm64` without a variant is `arm64/v8`, the only one that exists.
/// Source: OCI image specification, `image-index.md`, "platform"; containerd's normalisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Spelling", into = "Spelling")]
pub struct Platform {
    /// `linux`, `windows`; `unknown` for an attestation.
    pub os: String,
    /// `amd64`, `arm64`; `unknown` for an attestation.
    pub architecture: String,
    /// `v7`, `v8`.
    pub variant: Option<String>,
    /// The build of Windows that an image requires.
    pub os_version: Option<String>,
    /// `win32k`; sorted, without duplicates.
    pub os_features: Vec<String>,
}

/// The error for a text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform (`os/architecture`, `os/architecture/variant`)")]
pub struct PlatformError {
    text: String,
}

/// A platform as descriptors and image configs spell it.
#[derive(Clone, Serialize, Deserialize)]
struct Spelling {
    architecture: String,
    os: String,
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    os_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl Platform {
    /// Makes a platform from an operating system, an architecture and an optional variant.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|text| !text.is_empty());
        let variant = if architecture == "arm64" {
            variant.or(Some("v8"))
        } else {
            variant
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
            os_features: Vec::new(),
        }
    }

    /// True if it names a platform that an image can run on, in words that can be compared and printed. Words consist
    /// of letters, digits, `.`, `_` and `-`, and their length and number are limited. `unknown/unknown` is not usable:
    /// builders write it for content that is not an image.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let words = [&self.os, &self.architecture].into_iter();
        let words = words.chain(&self.variant).chain(&self.os_version);
        let is_usable = |word: &String| word.len() <= WORD_MAX_BYTES && is_word(word);
        words.chain(&self.os_features).all(is_usable)
            && self.os_features.len() <= FEATURES_MAX
            && !self.is_unknown()
    }

    /// True if it is `unknown/unknown`, which builders write for content that is not an image, such as an attestation.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl From<Spelling> for Platform {
    fn from(spelling: Spelling) -> Self {
        let mut platform = Self::new(
            &spelling.os,
            &spelling.architecture,
            spelling.variant.as_deref(),
        );
        platform.os_version = spelling.os_version.filter(|text| !text.is_empty());
        platform.os_features = spelling.os_features.unwrap_or_default();
        platform.os_features.sort();
        platform.os_features.dedup();
        platform
    }
}

impl From<Platform> for Spelling {
    fn from(platform: Platform) -> Self {
        Self {
            architecture: platform.architecture,
            os: platform.os,
            os_version: platform.os_version,
            os_features: Some(platform.os_features).filter(|features| !features.is_empty()),
            variant: platform.variant,
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| is_word(part);
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(word) => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(word) => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(PlatformError {
                text: text.to_owned(),
            }),
        }
    }
}

fn is_word(text: &str) -> bool {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.bytes().all(in_word)
}

impl fmt::Display for Platform {
    /// Writes `linux/arm64/v8`; the version and the features of Windows follow in brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(formatter, "/{variant}")?;
        }
        let extras: Vec<&str> = self
            .os_version
            .iter()
            .chain(&self.os_features)
            .map(String::as_str)
            .collect();
        if !extras.is_empty() {
            write!(formatter, " ({})", extras.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm64_is_arm64_v8() {
        let spelled: Platform =
            serde_json::from_str(r#"{"architecture":"arm64","os":"linux"}"#).unwrap();
        assert_eq!(spelled, "linux/arm64/v8".parse().unwrap());
        assert_eq!(spelled, "linux/arm64".parse().unwrap());
        assert_ne!(spelled, "linux/arm/v8".parse().unwrap());
    }

    #[test]
    fn platform_refuses_other_shapes() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/v7/x",
            "linux/am d64",
            "linux/amd64\n",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn platform_shows_the_windows_build() {
        let json = r#"{"architecture":"amd64","os":"windows","os.version":"10.0.20348.1","os.features":["win32k"]}"#;
        let platform: Platform = serde_json::from_str(json).unwrap();
        assert!(platform.is_usable());
        assert_eq!(platform.to_string(), "windows/amd64 (10.0.20348.1, win32k)");
        assert_eq!(serde_json::to_string(&platform).unwrap(), json);
    }
}
