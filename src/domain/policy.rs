//! Who must have signed: the words in which inputs ask and a verifier answers.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A compiled pattern may take this much memory; anything larger is an attack or a mistake.
const PATTERN_MAX_BYTES: usize = 1 << 20;

/// A wanted text: exactly this, or anything that a pattern matches as a whole.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Exactly this text.
    Exact(String),
    /// Anything that the pattern matches from its first to its last character.
    Pattern(Pattern),
}

/// A regular expression in RE2's syntax that must match a whole text, whether it says so or not.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

/// Why some text is not a pattern.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{text}` is not a regular expression: {reason}")]
pub struct PatternError {
    text: String,
    reason: String,
}

/// What the certificate must say of the GitHub workflow that signed; a claim that is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GithubClaims {
    /// `owner/name` of the source repository.
    pub repository: Option<String>,
    /// The git ref, `refs/heads/main`.
    pub reference: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// The workflow's name.
    pub name: Option<String>,
    /// The event, `push`.
    pub trigger: Option<String>,
}

/// All that is asked of a signature's certificate.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The subject alternative name.
    pub identity: Matcher,
    /// The OIDC issuer.
    pub issuer: Matcher,
    /// GitHub's extensions.
    pub github: GithubClaims,
}

impl Matcher {
    /// Whether `text` is what is wanted.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.regex.is_match(text),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refused = |error: &regex::Error| PatternError {
            text: text.chars().take(200).collect(),
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned(),
        };
        let build = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(PATTERN_MAX_BYTES)
                .build()
        };
        // SECURITY: alone first, so that a text such as `a)|(b` cannot climb out of the anchors.
        build(text).map_err(|error| refused(&error))?;
        let regex = build(&format!(r"\A(?:{text})\z")).map_err(|error| refused(&error))?;
        Ok(Self {
            source: text.to_owned(),
            regex,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(formatter, "`{text}`"),
            Self::Pattern(pattern) => write!(formatter, "the pattern `{pattern}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Matcher {
        Matcher::Pattern(text.parse().unwrap())
    }

    #[test]
    fn patterns_match_the_whole_text() {
        assert!(pattern("a|bc").matches("bc"));
        for text in ["abc", "xa", "ax", "a\n", "\na"] {
            assert!(!pattern("a|bc").matches(text), "{text:?}");
        }
        assert!(!pattern("(?m)^a$").matches("b\na"));
    }

    #[test]
    fn patterns_cannot_climb_out_of_their_anchors() {
        assert!("a)|(b".parse::<Pattern>().is_err());
        assert!(
            "(?x)a # comment".parse::<Pattern>().is_err()
                || !pattern("(?x)a # comment").matches("ab")
        );
        assert!("(a{1000}){1000}".parse::<Pattern>().is_err());
    }
}
