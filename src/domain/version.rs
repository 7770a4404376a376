//! Versions, as far as it takes to tell the newer of two: Semantic Versioning 2.0.0, items 2, 9, 10 and 11.
//!
//! Own, since it is two screens; a leading `v` is let pass, as tags have it.

use std::cmp::Ordering;
use std::str::FromStr;

/// A semantic version. Build metadata is read and counts for nothing, as item 10 has it.
#[derive(Debug, Clone)]
pub struct Version {
    core: [u64; 3],
    pre_release: Vec<Identifier>,
}

/// Some text that is no semantic version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no semantic version")]
pub struct VersionError;

/// A part of a pre-release. SPEC: numeric ones are lower than others; numbers compare as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (rest, build) = text
            .split_once('+')
            .map_or((text, None), |(rest, build)| (rest, Some(build)));
        let is_build = |build: &str| build.split('.').all(is_identifier);
        if !build.is_none_or(is_build) {
            return Err(VersionError);
        }
        let (core, pre_release) = rest
            .split_once('-')
            .map_or((rest, None), |(core, pre_release)| {
                (core, Some(pre_release))
            });
        let core: Option<Vec<u64>> = core.split('.').map(number).collect();
        let core = core.and_then(|core| <[u64; 3]>::try_from(core).ok());
        let pre_release = pre_release.into_iter().flat_map(|text| text.split('.'));
        let pre_release: Option<Vec<Identifier>> = pre_release.map(identifier).collect();
        match (core, pre_release) {
            (Some(core), Some(pre_release)) => Ok(Self { core, pre_release }),
            _ => Err(VersionError),
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let is_release = |version: &Self| version.pre_release.is_empty();
        self.core
            .cmp(&other.core)
            // SPEC: a pre-release comes before its release.
            .then(is_release(self).cmp(&is_release(other)))
            // SPEC: of two that are the same so far, the one with more parts is the higher.
            .then_with(|| self.pre_release.cmp(&other.pre_release))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// SPEC: digits, without leading zeros.
fn number(text: &str) -> Option<u64> {
    let is_plain = text == "0" || !text.starts_with('0');
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain && is_digits {
        text.parse().ok()
    } else {
        None
    }
}

fn identifier(text: &str) -> Option<Identifier> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).map(Identifier::Number);
    }
    is_identifier(text).then(|| Identifier::Text(text.to_owned()))
}

fn is_identifier(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn order_is_the_one_of_the_specification() {
        // Item 11's own example, and what surrounds it.
        let ascending = [
            "0.9.10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("v1.2.3+build.5"), version("1.2.3"));
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2.3-ä",
            "latest",
            "main",
            "vv1.2.3",
            " 1.2.3",
            "99999999999999999999.0.0",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_compare_as_numbers(one in any::<[u64; 3]>(), other in any::<[u64; 3]>()) {
            let text = |[major, minor, patch]: [u64; 3]| format!("{major}.{minor}.{patch}");
            prop_assert_eq!(version(&text(one)).cmp(&version(&text(other))), one.cmp(&other));
        }

        #[test]
        fn a_pre_release_is_older_than_its_release(core in any::<[u16; 3]>(), pre in "[a-z][a-z0-9-]{0,5}(\\.[1-9][0-9]{0,3}){0,2}") {
            let [major, minor, patch] = core;
            let release = format!("{major}.{minor}.{patch}");
            let before = format!("{release}-{pre}");
            prop_assert!(version(&before) < version(&release));
        }

        #[test]
        fn garbage_does_no_harm(text in "[0-9a-z.+v-]{0,30}") {
            let _ = text.parse::<Version>();
        }
    }
}
