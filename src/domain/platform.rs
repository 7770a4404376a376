//! The platforms that images run on, and the order in which an index lists them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// The maximum length of the name of a system, an architecture or a version.
const WORD_MAX_BYTES: usize = 64;
const FEATURES_MAX: usize = 16;
const PROBLEMS_MAX: usize = 5;

/// The platform that an image runs on, as it was spelled. Two platforms are equal if their normalised fields are equal: tools
/// spell one platform in several ways.
///
/// `arm64` without a variant is spelled `arm64/v8` from the start.
/// Source: OCI image specification, `image-index.md`, "platform"; `Normalize` of containerd/platforms (1.0).
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[error(
    "`{text}` is not a platform (`os/architecture`, `os/architecture/variant`; the system may be `windows(10.0.17763.6893)`)"
)]
pub struct PlatformError {
    text: String,
}

/// The error for an image that an index lists under another platform than its config states. A runtime that trusts one of
/// them refuses the image, or runs it on the wrong machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an index lists `{image}` for `{listed}`, and its config states `{stated}`")]
pub struct ContradictedPlatform {
    /// The image.
    pub image: Digest,
    /// The platform under which the index lists it.
    pub listed: Platform,
    /// The platform that its config states.
    pub stated: Platform,
}

/// The fields of a platform that are compared.
type Normalised<'a> = (
    String,
    String,
    Option<String>,
    &'a Option<String>,
    &'a [String],
);

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

    /// Returns its fields as they are spelled, in the order in which an index sorts its images.
    pub(crate) fn spelling(&self) -> impl Ord {
        let Self {
            os,
            architecture,
            variant,
            os_version,
            os_features,
        } = self;
        (os, architecture, variant, os_version, os_features)
    }

    /// Reports whether `self`, which a user gave, is a name of `platform`. Without a version or features of the system, it is
    /// a name of all of them.
    #[must_use]
    pub fn is_name_of(&self, platform: &Self) -> bool {
        let (own, other) = (self.normalised(), platform.normalised());
        (own.0, own.1, own.2) == (other.0, other.1, other.2)
            && (self.os_version.is_none() || self.os_version == platform.os_version)
            && (self.os_features.is_empty() || self.os_features == platform.os_features)
    }

    /// Returns `self`, the platform that an image config states, with what only `listed`, the platform under which an index
    /// lists the image, states. `None` if the two contradict each other.
    #[must_use]
    pub fn completed_by(&self, listed: &Self) -> Option<Self> {
        let (own, other) = (self.normalised(), listed.normalised());
        let variant = if own.2 == other.2 || listed.is_variant_free() {
            self.variant.clone()
        } else if self.is_variant_free() {
            other.2
        } else {
            return None;
        };
        let os_version = match (&self.os_version, &listed.os_version) {
            (Some(own), Some(other)) if own != other => return None,
            (own, other) => own.as_ref().or(other.as_ref()),
        };
        let os_features = match (&self.os_features, &listed.os_features) {
            (own, other) if own.is_empty() => other,
            (own, other) if other.is_empty() || own == other => own,
            _ => return None,
        };
        ((own.0, own.1) == (other.0, other.1)).then(|| Self {
            variant,
            os_version: os_version.cloned(),
            os_features: os_features.clone(),
            ..self.clone()
        })
    }

    /// True if it states no variant, or the one that `arm64` gets if none is stated. The names `armel` and `armhf` state one.
    fn is_variant_free(&self) -> bool {
        let default = Self::new(&self.os, &self.architecture, None);
        let architecture = self.architecture.to_ascii_lowercase();
        self.variant == default.variant && !["armel", "armhf"].contains(&architecture.as_str())
    }

    /// Returns the fields as containerd normalises them.
    fn normalised(&self) -> Normalised<'_> {
        let lower = |text: &String| text.to_ascii_lowercase();
        let os = match lower(&self.os).as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = (lower(&self.architecture), self.variant.as_ref().map(lower));
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("i386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", Some("v8")),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (architecture, variant) => (architecture, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        (
            os,
            architecture,
            variant,
            &self.os_version,
            &self.os_features,
        )
    }

    /// True if it names a platform that an image can run on, in words that can be compared and printed. Words consist
    /// of letters, digits, `.`, `_` and `-`, and their length and number are limited. `unknown/unknown` is not usable:
    /// builders write it for content that is not an image.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.problems().is_empty()
    }

    /// Returns the reasons why it is not [usable](Self::is_usable).
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        if self.is_unknown() {
            return vec!["its `os` and `architecture` are `unknown`".to_owned()];
        }
        let words = [
            ("os", Some(&self.os)),
            ("architecture", Some(&self.architecture)),
            ("variant", self.variant.as_ref()),
            ("os.version", self.os_version.as_ref()),
        ];
        let features = self.os_features.iter();
        let features = features.map(|feature| ("os.features", Some(feature)));
        let problems = words
            .into_iter()
            .chain(features)
            .filter_map(|(name, word)| {
                let problem = word_problem(word?)?;
                Some(format!("its `{name}` {problem}"))
            });
        // One feature at fault says as much as many.
        let mut problems: Vec<String> = problems.take(PROBLEMS_MAX).collect();
        if self.os_features.len() > FEATURES_MAX {
            problems.push(format!("it has more than {FEATURES_MAX} `os.features`"));
        }
        problems.dedup();
        problems
    }

    /// True if it is `unknown/unknown`, which builders write for content that is not an image, such as an attestation.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl PartialEq for Platform {
    fn eq(&self, other: &Self) -> bool {
        self.normalised() == other.normalised()
    }
}

impl Eq for Platform {}

impl PartialOrd for Platform {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Platform {
    fn cmp(&self, other: &Self) -> Ordering {
        self.normalised().cmp(&other.normalised())
    }
}

impl Hash for Platform {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.normalised().hash(hasher);
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

    /// Reads what `docker build --platform` reads, apart from names that depend on the machine, such as `linux` alone.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refused = || PlatformError {
            text: text.to_owned(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (system, architecture, variant) = match parts.as_slice() {
            [system, architecture] => (*system, *architecture, None),
            [system, architecture, variant] => (*system, *architecture, Some(*variant)),
            _ => return Err(refused()),
        };
        // `windows(10.0.17763.6893+win32k)`
        let (os, options) = match system.split_once('(') {
            Some((os, options)) => (os, Some(options.strip_suffix(')').ok_or_else(refused)?)),
            None => (system, None),
        };
        let mut options = options.into_iter().flat_map(|options| options.split('+'));
        let os_version = options.next().filter(|version| !version.is_empty());
        let mut os_features: Vec<String> = options.map(str::to_owned).collect();
        os_features.sort();
        os_features.dedup();
        let words = [os, architecture].into_iter();
        let mut words = words.chain(variant).chain(os_version);
        let are_features = os_features.iter().all(|feature| is_word(feature));
        if !words.all(is_word) || !are_features {
            return Err(refused());
        }
        Ok(Self {
            os_version: os_version.map(str::to_owned),
            os_features,
            ..Self::new(os, architecture, variant)
        })
    }
}

/// Returns the reason why a text is not a word that can be compared and printed.
fn word_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > WORD_MAX_BYTES {
        Some("is too long")
    } else if is_word(text) {
        None
    } else {
        Some("has characters other than letters, digits, `.`, `_` and `-`")
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
            "windows(10.0.17763/amd64",
            "windows()x/amd64",
            "windows(10.0 )/amd64",
            "windows(10.0+)/amd64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }

    /// Every line has the spellings of one platform, and the one that containerd makes of them first.
    const SPELLINGS: [&[&str]; 12] = [
        &[
            "linux/amd64",
            "linux/amd64/v1",
            "linux/x86_64",
            "linux/x86-64",
            "Linux/AMD64",
            "linux/x86_64/v1",
            "LINUX/X86_64/V1",
        ],
        &["linux/amd64/v2", "linux/x86_64/v2", "linux/AMD64/V2"],
        &[
            "linux/arm64/v8",
            "linux/arm64",
            "linux/aarch64",
            "linux/arm64/8",
            "Linux/Aarch64/V8",
            "linux/aarch64/8",
        ],
        &["linux/arm64/v9", "linux/aarch64/v9"],
        &[
            "linux/arm/v7",
            "linux/arm",
            "linux/armhf",
            "linux/arm/7",
            "linux/ARM/V7",
            "linux/armhf/v6",
        ],
        &[
            "linux/arm/v6",
            "linux/armel",
            "linux/arm/6",
            "linux/armel/v7",
        ],
        &["linux/arm/v5", "linux/arm/5"],
        &["linux/arm/v8", "linux/arm/8"],
        &["linux/386", "linux/i386", "linux/i386/x"],
        &[
            "darwin/arm64",
            "macos/arm64",
            "macOS/aarch64",
            "darwin/arm64/v8",
        ],
        &[
            "windows(10.0.17763.6893)/amd64",
            "Windows(10.0.17763.6893)/x86_64",
        ],
        &[
            "windows(10.0.17763+a+win32k)/amd64",
            "windows(10.0.17763+win32k+a+a)/amd64/v1",
        ],
    ];

    #[test]
    fn spellings_of_one_platform_are_equal_and_no_others() {
        let parse = |text: &&str| text.parse::<Platform>().unwrap();
        let hash = |platform: &Platform| {
            let mut hasher = std::hash::DefaultHasher::new();
            platform.hash(&mut hasher);
            hasher.finish()
        };
        for (number, line) in SPELLINGS.iter().enumerate() {
            let first = parse(&line[0]);
            for spelled in line.iter().map(parse) {
                assert_eq!(first, spelled, "{first} {spelled}");
                assert_eq!(first.cmp(&spelled), Ordering::Equal);
                assert_eq!(hash(&first), hash(&spelled));
                assert!(first.is_name_of(&spelled) && spelled.is_name_of(&first));
            }
            for other in SPELLINGS
                .iter()
                .skip(number + 1)
                .flat_map(|line| line.iter())
            {
                assert_ne!(first, parse(other), "{first} {other}");
            }
        }
    }

    #[test]
    fn name_without_a_version_is_a_name_of_all_of_them() {
        let [any, one, other]: [Platform; 3] = [
            "windows/amd64",
            "windows(10.0.17763.6893)/amd64",
            "windows(10.0.20348)/amd64",
        ]
        .map(|text| text.parse().unwrap());
        assert!(any.is_name_of(&one) && any.is_name_of(&other));
        assert!(one.is_name_of(&one) && !one.is_name_of(&other) && !one.is_name_of(&any));
    }

    #[test]
    fn problem_names_the_field() {
        for (json, wanted) in [
            (
                r#"{"architecture":"","os":"linux"}"#,
                "its `architecture` is empty",
            ),
            (r#"{"architecture":"amd64","os":""}"#, "its `os` is empty"),
            (
                r#"{"architecture":"","os":""}"#,
                "its `os` is empty, its `architecture` is empty",
            ),
            (
                r#"{"architecture":"arm64","os":"darwin","os.version":"macOS 14"}"#,
                "its `os.version` has characters other than letters, digits, `.`, `_` and `-`",
            ),
            (
                r#"{"architecture":"unknown","os":"unknown"}"#,
                "its `os` and `architecture` are `unknown`",
            ),
            (
                r#"{"architecture":"a","os":"b","os.features":["=","<"]}"#,
                "its `os.features` has characters other than letters, digits, `.`, `_` and `-`",
            ),
            (r#"{"architecture":"amd64","os":"linux","variant":""}"#, ""),
        ] {
            let platform: Platform = serde_json::from_str(json).unwrap();
            assert_eq!(platform.problems().join(", "), wanted, "{json}");
            assert_eq!(platform.is_usable(), wanted.is_empty(), "{json}");
        }
        let long = Platform::new("linux", &"a".repeat(65), None);
        assert_eq!(long.problems(), ["its `architecture` is too long"]);
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
