//! Conditions on writes of tags (RFC 9110, section 13): `If-Match` with the tag's `ETag`, and `If-None-Match: *` for a tag
//! that does not exist.
//!
//! SPEC: a client may use conditional requests for referrers tags. A registry does not announce that it honours them, and
//! an `ETag` proves nothing: distribution 3.1 and Gitea 1.26 send one and ignore conditions. Only a refused write under a
//! condition that cannot hold proves it. Until then, a write carries its condition and is treated as unconditional.

use std::collections::BTreeMap;

use reqwest::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::error_response::ErrorResponse;
use crate::domain::{Digest, Reference, Repository};
use crate::http::Response;

/// The longest `ETag` that is kept.
const ETAG_MAX_BYTES: usize = 256;

/// The condition of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The tag still has the content with this `ETag`.
    Unchanged(HeaderValue),
    /// The tag does not exist.
    Absent,
}

/// The two headers for conditions. A registry may honour one and ignore the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConditionKind {
    /// `If-Match`.
    Match,
    /// `If-None-Match`.
    NoneMatch,
}

/// The knowledge about one kind of condition at a host. The default is no knowledge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Support {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A write under a condition that could not hold was sent to find out.
    Tried,
    /// The host refuses a write whose condition does not hold.
    Honoured,
    /// The host ignores the condition, or refuses a write whose condition holds.
    Useless,
}

/// The knowledge about conditions at one host.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    sends_etags: bool,
    support: BTreeMap<ConditionKind, Support>,
    /// The last `ETag` of each tag, and the digest of the content that it stands for.
    etags: BTreeMap<(Repository, Reference), (Digest, HeaderValue)>,
}

impl Condition {
    pub(super) fn kind(&self) -> ConditionKind {
        match self {
            Self::Unchanged(_) => ConditionKind::Match,
            Self::Absent => ConditionKind::NoneMatch,
        }
    }

    /// Returns a condition of the same kind that does not hold for a tag that exists.
    pub(super) fn unmet(kind: ConditionKind) -> Self {
        match kind {
            ConditionKind::Match => {
                Self::Unchanged(HeaderValue::from_static("\"no content has this\""))
            }
            ConditionKind::NoneMatch => Self::Absent,
        }
    }

    pub(super) fn header(&self) -> (HeaderName, HeaderValue) {
        match self {
            Self::Unchanged(etag) => (IF_MATCH, etag.clone()),
            Self::Absent => (IF_NONE_MATCH, HeaderValue::from_static("*")),
        }
    }
}

impl Conditions {
    /// Keeps the `ETag` in the response to a read of a tag, if it has a strong one.
    pub(super) fn observe(
        &mut self,
        repository: &Repository,
        reference: &Reference,
        digest: &Digest,
        response: &Response,
    ) {
        let Some(etag) = strong_etag(response) else {
            return;
        };
        self.sends_etags = true;
        let tag = (repository.clone(), reference.clone());
        let last = self.etags.insert(tag, (digest.clone(), etag.clone()));
        // An `ETag` that stays when the content changes guards nothing.
        if last.is_some_and(|(known, last)| last == etag && known != *digest) {
            self.set_support(ConditionKind::Match, Support::Useless);
        }
    }

    /// Returns the condition for a write of a tag that has the content `held`. `None` if the host sends no `ETag`, or is
    /// known to ignore the condition.
    pub(super) fn for_write(
        &self,
        repository: &Repository,
        reference: &Reference,
        held: Option<&Digest>,
    ) -> Option<Condition> {
        let condition = match held {
            Some(held) => {
                let (digest, etag) = self.etags.get(&(repository.clone(), reference.clone()))?;
                (digest == held).then(|| Condition::Unchanged(etag.clone()))?
            }
            None if self.sends_etags => Condition::Absent,
            None => return None,
        };
        (self.support(condition.kind()) != Support::Useless).then_some(condition)
    }

    pub(super) fn support(&self, kind: ConditionKind) -> Support {
        self.support.get(&kind).copied().unwrap_or_default()
    }

    pub(super) fn set_support(&mut self, kind: ConditionKind, support: Support) {
        self.support.insert(kind, support);
    }
}

/// Returns the strong `ETag` of a response. A weak one (`W/"…"`) cannot be used with `If-Match`.
fn strong_etag(response: &Response) -> Option<HeaderValue> {
    let etag = response.headers.get(ETAG)?;
    let bytes = etag.as_bytes();
    let is_strong = bytes.len() > 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"");
    (is_strong && bytes.len() <= ETAG_MAX_BYTES).then(|| etag.clone())
}

/// True if the response refuses a write because its condition does not hold. Some registries answer 400 instead of 412.
pub(super) fn is_unmet(response: &Response) -> bool {
    match response.status.as_u16() {
        412 => true,
        400 => {
            let refusal = ErrorResponse::of(response);
            let message = refusal.message.to_ascii_lowercase();
            let names_it = [
                "if-match",
                "if-none-match",
                "precondition",
                "condition failed",
            ];
            refusal.has_code("MANIFEST_INVALID")
                && names_it.iter().any(|text| message.contains(text))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn response(status: u16, etag: Option<&str>, body: &str) -> Response {
        let etag = etag.map(|etag| (ETAG, etag.parse().unwrap()));
        Response {
            url: "https://r.example/v2/o/r/manifests/v1".parse().unwrap(),
            status: status.try_into().unwrap(),
            headers: HeaderMap::from_iter(etag),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn only_a_strong_etag_of_the_same_content_is_a_condition() {
        let repository: Repository = "r.example/o/r".parse().unwrap();
        let tag = |name: &str| Reference::Tag(name.parse().unwrap());
        let (held, other) = (Digest::of(b"held"), Digest::of(b"other"));
        for (etag, wanted) in [
            (Some("\"a\""), true),
            (Some("W/\"a\""), false),
            (Some("a"), false),
            (Some("\"\""), false),
            (Some(&*format!("\"{}\"", "a".repeat(300))), false),
            (None, false),
        ] {
            let mut conditions = Conditions::default();
            assert_eq!(conditions.for_write(&repository, &tag("v1"), None), None);
            conditions.observe(&repository, &tag("v1"), &held, &response(200, etag, ""));
            let unchanged = conditions.for_write(&repository, &tag("v1"), Some(&held));
            assert_eq!(unchanged.is_some(), wanted, "{etag:?}");
            // The host sends ETags, so a tag that is absent has a condition, too.
            let absent = conditions.for_write(&repository, &tag("v2"), None);
            assert_eq!(absent.is_some(), wanted, "{etag:?}");
            assert_eq!(
                conditions.for_write(&repository, &tag("v1"), Some(&other)),
                None
            );
            assert_eq!(
                conditions.for_write(&repository, &tag("v2"), Some(&held)),
                None
            );
        }
    }

    #[test]
    fn useless_kind_is_not_sent_again_and_the_other_is() {
        let repository: Repository = "r.example/o/r".parse().unwrap();
        let tag = Reference::Tag("v1".parse().unwrap());
        let held = Digest::of(b"held");
        let mut conditions = Conditions::default();
        conditions.observe(&repository, &tag, &held, &response(200, Some("\"a\""), ""));
        conditions.set_support(ConditionKind::NoneMatch, Support::Useless);
        assert_eq!(conditions.for_write(&repository, &tag, None), None);
        assert!(
            conditions
                .for_write(&repository, &tag, Some(&held))
                .is_some()
        );
    }

    #[test]
    fn unmet_condition_is_412_or_a_400_that_names_it() {
        let error = |code: &str, message: &str| {
            format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#)
        };
        for (status, body, wanted) in [
            (412, String::new(), true),
            (
                400,
                error("MANIFEST_INVALID", "If-Match condition failed"),
                true,
            ),
            (400, error("MANIFEST_INVALID", "no config"), false),
            (
                400,
                error("TAG_INVALID", "If-Match condition failed"),
                false,
            ),
            (400, String::new(), false),
            (409, String::new(), false),
        ] {
            assert_eq!(
                is_unmet(&response(status, None, &body)),
                wanted,
                "{status} {body}"
            );
        }
    }
}
