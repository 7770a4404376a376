//! Names of images: registry host, repository, tag, and the references that combine them.
//!
//! Grammar: OCI distribution specification, "Pulling manifests"; short names as Docker reads them.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// A registry's host with its port, as users write it: `ghcr.io`, `127.0.0.1:5000`, `docker.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

/// A repository of a registry: `ghcr.io/octo-org/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: Host,
    path: String,
}

/// A tag: letters, digits, `_`, `.`, `-`; at most 128; neither `.` nor `-` first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// The name of a manifest within a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A tag, which can move.
    Tag(Tag),
    /// A digest, which cannot move.
    Digest(Digest),
}

/// The number of hex digits of a digest in its referrers tag.
const REFERRERS_TAG_HEX_LENGTH: usize = 64;

/// A repository with an optional tag or digest: `ghcr.io/o/r`, `ghcr.io/o/r:v1`, `ghcr.io/o/r@sha256:…`. If both a tag
/// and a digest are given, the digest is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// The repository.
    pub repository: Repository,
    /// The tag or the digest, if one is given.
    pub reference: Option<Reference>,
}

/// The error for a text that names no image or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is not a tag.
    #[error(
        "`{0}` is not a tag (letters, digits, `_`, `.`, `-`; at most 128; not `.` or `-` first)"
    )]
    Tag(String),
    /// The text is not a repository.
    #[error(
        "`{0}` is not a repository (`registry/name`, in lower case, such as `ghcr.io/octo-org/app`)"
    )]
    Repository(String),
    /// The text is a repository except for its capital letters.
    #[error("`{text}` is not a repository: its name must be in lower case, `{lower}`")]
    UpperCase {
        /// The text.
        text: String,
        /// The repository in lower case.
        lower: String,
    },
    /// The text after `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] super::DigestError),
    /// No text follows the `@`.
    #[error("`{0}` has no digest after its `@`")]
    NoDigest(String),
}

impl Host {
    /// True if this is Docker Hub, which has several names.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == "docker.io"
    }

    /// The host that serves the registry protocol. For Docker Hub it differs from the host in references.
    #[must_use]
    pub fn api(&self) -> &str {
        if self.is_docker_hub() {
            "registry-1.docker.io"
        } else {
            &self.0
        }
    }

    /// True if it is this machine: `localhost` and its subdomains, 127.0.0.0/8, `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        super::is_loopback(self.name())
    }

    /// The text as users write it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn name(&self) -> &str {
        let port = self
            .0
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        port.map_or(self.0.as_str(), |(name, _)| name)
    }
}

impl Repository {
    /// The registry.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The name within the registry: `octo-org/app`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reference to `digest` in this repository.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> ImageReference {
        ImageReference {
            repository: self.clone(),
            reference: Some(Reference::Digest(digest.clone())),
        }
    }

    /// The reference to `tag` in this repository.
    #[must_use]
    pub fn tagged(&self, tag: &Tag) -> ImageReference {
        ImageReference {
            repository: self.clone(),
            reference: Some(Reference::Tag(tag.clone())),
        }
    }
}

/// A tag in which cosign, up to version 2, stores what belongs to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestTag<'a> {
    /// The digest.
    pub subject: &'a Digest,
    /// The kind of the content: `sig`, `att` or `sbom`.
    pub suffix: &'static str,
    /// The tag.
    pub tag: Tag,
}

impl fmt::Display for DigestTag<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.tag, formatter)
    }
}

impl Digest {
    /// The referrers tag of this digest: a registry without the referrers API lists its referrers there. Two digests of
    /// SHA-512 may have the same one.
    ///
    /// Source: OCI distribution specification, "Referrers Tag Schema".
    #[must_use]
    pub fn referrers_tag(&self) -> Tag {
        let hex = self.hex();
        let start = hex.get(..REFERRERS_TAG_HEX_LENGTH).unwrap_or(hex);
        Tag::known(format!("{}-{start}", self.algorithm()))
    }

    /// The digest tag under which cosign, up to version 2, stores the signatures of this digest, if there can be one.
    #[must_use]
    pub fn legacy_tag(&self) -> Option<DigestTag<'_>> {
        self.digest_tag("sig")
    }

    /// The digest tag under which cosign, up to version 2, stores what belongs to this digest: `sig`, `att` or `sbom`.
    ///
    /// cosign does not shorten the digest (`pkg/oci/remote/remote.go`, `normalize`). With one of SHA-512 its name for
    /// the tag exceeds the length of a tag, so no registry can store it: `None`.
    #[must_use]
    pub fn digest_tag(&self, suffix: &'static str) -> Option<DigestTag<'_>> {
        let hex = self.sha256_hex()?;
        Some(DigestTag {
            subject: self,
            suffix,
            tag: Tag::known(format!("{}-{hex}.{suffix}", self.algorithm())),
        })
    }
}

impl Tag {
    /// Makes a tag from a text that is valid by construction, such as the referrers tag of a digest.
    fn known(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refused = || ReferenceError::Repository(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let host = match lower.as_str() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        let bracketed = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let name_holds = bracketed.map_or_else(
            || {
                name.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|byte| {
                            byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
                        })
                })
            },
            |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        let port_holds = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
        if name_holds && port_holds {
            Ok(Self(host.to_owned()))
        } else {
            Err(refused())
        }
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refused = || not_a_repository(text);
        let (first, rest) = text.split_once('/').ok_or_else(refused)?;
        // Docker's rule: the first part is a host if it looks like one, else the image is on Docker Hub.
        let looks_like_host = first.contains(['.', ':']) || first == "localhost";
        let (host, path) = if looks_like_host {
            (first, rest)
        } else {
            ("docker.io", text)
        };
        let host: Host = host.parse().map_err(|_| refused())?;
        let path = if host.is_docker_hub() && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if path.len() <= 255 && path.split('/').all(is_path_part) {
            Ok(Self { host, path })
        } else {
            Err(refused())
        }
    }
}

/// Returns the error for a text that is not a repository, with the name in lower case if that is one.
fn not_a_repository(text: &str) -> ReferenceError {
    let lower = text.to_ascii_lowercase();
    if lower != text && lower.parse::<Repository>().is_ok() {
        return ReferenceError::UpperCase {
            text: text.to_owned(),
            lower,
        };
    }
    ReferenceError::Repository(text.chars().take(300).collect())
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let holds = (1..=128).contains(&text.len())
            && text.bytes().all(word)
            && !text.starts_with(['.', '-']);
        if holds {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::Tag(text.chars().take(200).collect()))
        }
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (named, digest) = match text.split_once('@') {
            Some((_, "")) => {
                return Err(ReferenceError::NoDigest(text.chars().take(300).collect()));
            }
            Some((named, digest)) => (named, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (repository, tag) = match named.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => {
                (repository, Some(tag.parse::<Tag>()?))
            }
            _ => (named, None),
        };
        let reference = digest.map(Reference::Digest).or(tag.map(Reference::Tag));
        Ok(Self {
            repository: repository.parse()?,
            reference,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.path)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => fmt::Display::fmt(tag, formatter),
            Self::Digest(digest) => fmt::Display::fmt(digest, formatter),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            None => fmt::Display::fmt(&self.repository, formatter),
            Some(Reference::Tag(tag)) => write!(formatter, "{}:{tag}", self.repository),
            Some(Reference::Digest(digest)) => write!(formatter, "{}@{digest}", self.repository),
        }
    }
}

/// Matches `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the specification's grammar of one part of a name.
fn is_path_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(alphanumeric)
        && part.bytes().next_back().is_some_and(alphanumeric);
    let separators =
        part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    ends && separators
        .into_iter()
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_docker_reads_them() {
        let cases = [
            ("ubuntu:24.04", None),
            (
                "library/ubuntu:24.04",
                Some("docker.io/library/ubuntu:24.04"),
            ),
            ("docker.io/ubuntu", Some("docker.io/library/ubuntu")),
            ("index.docker.io/o/r:v1", Some("docker.io/o/r:v1")),
            ("localhost:5000/r:v1", Some("localhost:5000/r:v1")),
            ("[::1]:5000/r", Some("[::1]:5000/r")),
            ("ghcr.io/o/r__x/a-b.c:v1", Some("ghcr.io/o/r__x/a-b.c:v1")),
            ("GHCR.io/o/r", Some("ghcr.io/o/r")),
            ("ghcr.io/O/r", None),
            ("ghcr.io/o/../r", None),
            ("ghcr.io/o/r___x", None),
            ("ghcr.io/o/r:", None),
            ("ghcr.io:99999/o/r", None),
            ("ghcr.io/o/r@sha256:00", None),
            ("user@ghcr.io/o/r", None),
        ];
        for (text, wanted) in cases {
            let read = text
                .parse::<ImageReference>()
                .ok()
                .map(|image| image.to_string());
            assert_eq!(read.as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn digest_counts_where_both_are_given() {
        let digest = Digest::of(b"");
        let read: ImageReference = format!("ghcr.io/o/r:v1@{digest}").parse().unwrap();
        assert_eq!(read.reference, Some(Reference::Digest(digest)));
    }

    #[test]
    fn loopback_is_told_from_names_that_look_alike() {
        for (text, loopback) in [
            ("localhost:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("a.localhost", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(
                text.parse::<Host>().unwrap().is_loopback(),
                loopback,
                "{text}"
            );
        }
    }
}
