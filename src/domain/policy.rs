//! The policy for a signature: an identity, an issuer, and the required claims of the certificate about the workflow.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// The maximum length of a pattern.
const PATTERN_MAX_BYTES: usize = 4096;
/// The maximum size of a compiled pattern.
const PROGRAM_MAX_BYTES: usize = 1 << 20;
/// The maximum nesting of groups; each level takes stack while the pattern is compiled.
const NEST_MAX: u32 = 50;

/// The requirements that a signature must meet.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The certificate's subject.
    pub identity: Matcher,
    /// The issuer that authenticated the subject.
    pub issuer: Matcher,
    /// The claims about the workflow run that the certificate must contain; a claim that is not given may have any
    /// value.
    pub github: GithubClaims,
}

/// The claims of a certificate about the GitHub workflow run that it was issued to, or the required claims.
///
/// Fulcio writes these claims twice. The extensions 1.3.6.1.4.1.57264.1.2 to .6 are deprecated; cosign's
/// `--certificate-github-workflow-*` flags read them. The provider-neutral extensions are .12 to .14 and .20. The old
/// ones are used if present, as in cosign; otherwise the new ones are used. The name has no new extension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GithubClaims {
    /// `owner/name` of the repository.
    pub repository: Option<String>,
    /// The reference: `refs/heads/main`.
    pub reference: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// The workflow's name.
    pub name: Option<String>,
    /// The event: `push`.
    pub trigger: Option<String>,
}

/// A text, or a pattern that must match all of a text.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// One exact text.
    Exact(String),
    /// A pattern that must match from the first to the last byte.
    Pattern(Pattern),
}

/// A regular expression with RE2's syntax; made by [`Matcher::pattern`].
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    anchored: Regex,
}

/// The reason why a text is not a pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// The text is longer than any identity.
    #[error("a pattern has at most {PATTERN_MAX_BYTES} bytes")]
    TooLong,
    /// The text is not a regular expression, or its program would be too large.
    #[error("`{text}` is not a usable regular expression")]
    Invalid {
        /// The text.
        text: String,
        /// The cause.
        #[source]
        source: regex::Error,
    },
}

impl Policy {
    /// Returns the policy that the same workflow of the same repository meets at any ref or commit. An identity that
    /// names none stays unchanged.
    #[must_use]
    pub fn at_any_ref(&self) -> Self {
        let identity = self.workflow().and_then(|workflow| {
            let workflow = regex::escape(workflow);
            // The name of another workflow's file may contain an `@`, and begin with this one's.
            Matcher::pattern(&format!("{workflow}@(?:refs/.*|[^@]*)")).ok()
        });
        Self {
            identity: identity.unwrap_or_else(|| self.identity.clone()),
            issuer: self.issuer.clone(),
            github: GithubClaims {
                repository: self.github.repository.clone(),
                ..GithubClaims::default()
            },
        }
    }

    /// Returns the identity without its ref, if it is exact and is a workflow's: the URL of its file, then `@` and the
    /// ref, or the commit that a caller has pinned a reusable workflow to.
    #[must_use]
    pub fn workflow(&self) -> Option<&str> {
        let Matcher::Exact(text) = &self.identity else {
            return None;
        };
        let mut endings = [".yml", ".yaml"].iter();
        let (workflow, _) = text.split_once("@refs/").or_else(|| {
            text.rsplit_once('@')
                .filter(|(path, _)| endings.any(|ending| path.ends_with(ending)))
        })?;
        text.starts_with("https://").then_some(workflow)
    }
}

impl Matcher {
    /// Makes a pattern that is anchored at both ends, even if its text is not.
    pub fn pattern(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        // Without Unicode, as in RE2: `\d` and `\w` are ASCII, and identities are too.
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .unicode(false)
                .size_limit(PROGRAM_MAX_BYTES)
                .nest_limit(NEST_MAX)
                .build()
                .map_err(|source| PatternError::Invalid {
                    text: text.to_owned(),
                    source,
                })
        };
        // SECURITY: compile the text on its own first. `a)|(?:b` is not a pattern, but it would break out of the group
        // that anchors it.
        compile(text)?;
        Ok(Self::Pattern(Pattern {
            text: text.to_owned(),
            anchored: compile(&format!(r"\A(?:{text})\z"))?,
        }))
    }

    /// True if `text` equals the text or matches the pattern.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.anchored.is_match(text.as_bytes()),
        }
    }

    /// The text or the pattern as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Pattern(Pattern { text, .. }) => text,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(formatter, "`{text}`"),
            Self::Pattern(Pattern { text, .. }) => write!(formatter, "the pattern `{text}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_all_or_nothing() {
        let matches = |pattern: &str, text: &str| Matcher::pattern(pattern).unwrap().matches(text);
        assert!(matches("https://github.com/o/.*", "https://github.com/o/r"));
        assert!(matches(
            "^https://github.com/o/.*$",
            "https://github.com/o/r"
        ));
        assert!(matches("(?i)ABC", "abc"));
        for (pattern, text) in [
            ("github.com/o/", "https://github.com/o/r"),
            ("https://github.com/o", "https://github.com/other"),
            ("a|b", "ax"),
            ("a|b", "xb"),
            ("a", "a\n"),
            ("a.*", "a\nb"),
            ("(?m)^a$", "a\nb"),
            (r"\d", "\u{663}"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text:?}");
        }
    }

    #[test]
    fn workflow_at_any_ref_is_no_other_workflow() {
        let policy = |identity: &str| Policy {
            identity: Matcher::Exact(identity.to_owned()),
            issuer: Matcher::Exact("https://issuer.example".to_owned()),
            github: GithubClaims {
                repository: Some("o/r".to_owned()),
                reference: Some("refs/heads/main".to_owned()),
                ..GithubClaims::default()
            },
        };
        let workflow = "https://github.com/o/r/.github/workflows/w.yml";
        let any = policy(&format!("{workflow}@refs/heads/main")).at_any_ref();
        for (identity, counts) in [
            (format!("{workflow}@refs/tags/v1"), true),
            (format!("{workflow}@"), true),
            (
                "https://github.com/o/r/.github/workflows/wxyml@refs/tags/v1".to_owned(),
                false,
            ),
            (workflow.replace("w.yml", "other.yml@refs/tags/v1"), false),
            (
                "https://github.com/o/r/.github/workflows/w.yml".to_owned(),
                false,
            ),
        ] {
            assert_eq!(any.identity.matches(&identity), counts, "{identity}");
        }
        assert!(any.issuer.matches("https://issuer.example"));
        assert!(!any.issuer.matches("https://other.example"));
        assert_eq!(any.github.repository.as_deref(), Some("o/r"));
        assert_eq!(any.github.reference, None);
        // A commit, where a caller has pinned a reusable workflow to it.
        let pinned = policy(&format!("{workflow}@{}", "1".repeat(40))).at_any_ref();
        for (identity, counts) in [
            (format!("{workflow}@{}", "2".repeat(40)), true),
            (format!("{workflow}@refs/heads/a@b"), true),
            (format!("{workflow}@x.yml@refs/heads/main"), false),
            (format!("{workflow}@x.yml@{}", "2".repeat(40)), false),
            (workflow.replace("w.yml", "other.yml@2"), false),
        ] {
            assert_eq!(pinned.identity.matches(&identity), counts, "{identity}");
        }
        let person = policy("https://issuer.example/people/a@b.example").at_any_ref();
        assert!(
            !person
                .identity
                .matches("https://issuer.example/people/a@c.example")
        );
        let mail = policy("a@refs/b.example").at_any_ref();
        assert!(mail.identity.matches("a@refs/b.example"));
        assert!(!mail.identity.matches("a@refs/c.example"));
    }

    #[test]
    fn pattern_that_breaks_out_or_grows_is_refused() {
        for pattern in ["a)|(?:b", "(", "a{1000}{1000}{1000}", "(?x)a #"] {
            assert!(
                matches!(Matcher::pattern(pattern), Err(PatternError::Invalid { .. })),
                "{pattern}"
            );
        }
        assert!(matches!(
            Matcher::pattern(&"a".repeat(5000)),
            Err(PatternError::TooLong)
        ));
    }
}
