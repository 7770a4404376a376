//! Pushes of a manifest by digest with tags in the query: `PUT /manifests/<digest>?tag=1.2&tag=1`.

use super::routes::{Refusal, refuse};
use crate::server::{Call, Reply};

/// The most tags that are named in one line of `OCI-Tag`.
const TAGS_IN_ONE_LINE: usize = 2;

/// The registry's support for the query parameter `tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagParameter {
    /// The parameter is ignored, and the answer has no `OCI-Tag`: registries before the specification of 2026.
    Ignored,
    /// All tags are written and named in `OCI-Tag`. Three or more are named in two header lines.
    Honoured,
    /// All tags are written, and none is named.
    Silent,
    /// All tags are named, and none is written.
    Boastful,
    /// The first tag is written and named, the others are ignored.
    First,
    /// More than one tag is refused: 414.
    TooLong,
    /// Any tag is refused: 400 `UNSUPPORTED`.
    Refused,
}

/// The effect of the parameters of one push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryTags<'a> {
    /// The tags to write.
    pub(crate) written: Vec<&'a str>,
    /// The tags to name in the answer.
    named: Vec<&'a str>,
}

impl TagParameter {
    /// Decides on the tags in the query of a push by digest.
    pub(crate) fn decide(self, call: &Call) -> Result<QueryTags<'_>, Refusal> {
        let tags = call.query.iter().filter(|(name, _)| name == "tag");
        let tags: Vec<&str> = tags.map(|(_, tag)| tag.as_str()).collect();
        let effect = |written: &[_], named: &[_]| QueryTags {
            written: written.to_vec(),
            named: named.to_vec(),
        };
        Ok(match self {
            Self::Ignored => QueryTags::default(),
            Self::TooLong if tags.len() > 1 => {
                return refuse(414, "UNSUPPORTED", "request URI too long");
            }
            Self::Refused if !tags.is_empty() => {
                return refuse(400, "UNSUPPORTED", "the parameter `tag` is unsupported");
            }
            Self::Honoured | Self::TooLong | Self::Refused => effect(&tags, &tags),
            Self::Silent => effect(&tags, &[]),
            Self::Boastful => effect(&[], &tags),
            Self::First => {
                let first = &tags[..tags.len().min(1)];
                effect(first, first)
            }
        })
    }
}

impl QueryTags<'_> {
    /// Adds the `OCI-Tag` headers to the answer of the push.
    pub(crate) fn name_in(&self, reply: Reply) -> Reply {
        // SPEC: the example of the specification has the last tag in a line of its own.
        let (line, last) = match self.named.split_last() {
            Some((last, others)) if others.len() >= TAGS_IN_ONE_LINE => (others, Some(last)),
            _ => (&self.named[..], None),
        };
        let lines = [line.join(", ")].into_iter();
        lines
            .chain(last.map(|last| (*last).to_owned()))
            .filter(|line| !line.is_empty())
            .fold(reply, |reply, line| reply.header_line("oci-tag", line))
    }
}
