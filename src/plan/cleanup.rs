//! The step for a tag after a failed run. It follows from a vouched record, the inputs, and the tag's content in the
//! registry. Without such a record nothing is done, and the steps are for someone who knows the actions of the run.

use std::fmt;

use super::tag_kind::TagKind;
use crate::domain::{Digest, FullTag};
use crate::record::{Record, TagRecord, VouchedRecord};

/// The content of a tag in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDigest {
    /// The tag does not exist.
    Absent,
    /// The tag contains this.
    Present(Digest),
    /// The registry did not report the content, for this reason.
    Unknown(String),
}

/// The step for a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupStep {
    /// The tag contains what the run wrote, and is restored to its state before the run.
    Rollback(Rollback),
    /// The content of the tag is not the run's, or nothing remains to be done.
    Leave(LeaveReason),
    /// The content is unknown, for this reason. The rollback would be done if the tag contained what the run wrote.
    Unknown(Rollback, String),
    /// Nothing vouches for a record of the run, so nothing is done.
    Manual {
        /// The kind of the tag.
        kind: TagKind,
        /// Its content, if that is known.
        current: Option<Digest>,
        /// The reason why nothing is done.
        why: String,
    },
}

/// The rollback of a tag.
///
/// SECURITY: [`decide_cleanup`] alone makes one, from a vouched record. Only what the record lists is deleted or
/// restored:
///
/// ```compile_fail,E0451
/// use manifest_seal::domain::Digest;
/// use manifest_seal::plan::Rollback;
///
/// let forged = Rollback { wrote: Digest::of(b"theirs"), before: None, created: true };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    wrote: Digest,
    before: Option<Digest>,
    created: bool,
}

impl Rollback {
    /// The digest that the run wrote.
    #[must_use]
    pub fn wrote(&self) -> &Digest {
        &self.wrote
    }

    /// The digest under the tag before the run; `None` if the tag did not exist, so it is deleted.
    #[must_use]
    pub fn before(&self) -> Option<&Digest> {
        self.before.as_ref()
    }

    /// True if the record says that the run created the manifest under the tag. It may then be deleted with its last
    /// tag.
    #[must_use]
    pub fn created(&self) -> bool {
        self.created
    }
}

/// The reason why a tag is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveReason {
    /// The record does not say that the run was to write the tag.
    Unrecorded,
    /// The run found the wanted content under the tag.
    Kept,
    /// The tag does not exist, so there is nothing to roll back.
    Gone,
    /// The tag contains what it contained before the run.
    AlreadyRestored,
    /// The tag contains this, which is neither what the run wrote nor its earlier content: somebody else moved it.
    Moved(Digest),
    /// The record is inconsistent: it does not determine the content to restore.
    Inconsistent,
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecorded => formatter.write_str("the record does not say that it was written"),
            Self::Kept => formatter.write_str("the run did not write it"),
            Self::Gone => formatter.write_str("it does not exist"),
            Self::AlreadyRestored => {
                formatter.write_str("it already points to its earlier content")
            }
            Self::Moved(digest) => {
                write!(formatter, "somebody else moved it: it points to `{digest}`")
            }
            Self::Inconsistent => formatter.write_str("the record contradicts itself about it"),
        }
    }
}

/// Decides the step for `tag` before it is read: the rollback of what the run wrote, or no step for a tag that no run wrote.
/// `None` if the record alone does not decide it: the runs wrote different content, or the record is inconsistent.
#[must_use]
pub fn plan_cleanup(record: &VouchedRecord, tag: &FullTag, kind: TagKind) -> Option<CleanupStep> {
    let mut written = entries(record.record(), tag).filter(|entry| is_ours(entry));
    let Some(first) = written.next() else {
        return Some(decide_cleanup(record, tag, kind, &TagDigest::Absent));
    };
    if written.any(|entry| entry.after != first.after) {
        return None;
    }
    let current = TagDigest::Present(first.after.clone());
    let step = decide_cleanup(record, tag, kind, &current);
    matches!(step, CleanupStep::Rollback(_)).then_some(step)
}

/// Decides the step for `tag`, which the inputs name with this kind and which was read.
#[must_use]
pub fn decide_cleanup(
    record: &VouchedRecord,
    tag: &FullTag,
    kind: TagKind,
    current: &TagDigest,
) -> CleanupStep {
    let recorded: Vec<&TagRecord> = entries(record.record(), tag).collect();
    let written: Vec<&TagRecord> = recorded
        .iter()
        .copied()
        .filter(|entry| is_ours(entry))
        .collect();
    let Some(last) = written.last() else {
        let reason = if recorded.is_empty() {
            LeaveReason::Unrecorded
        } else {
            LeaveReason::Kept
        };
        return CleanupStep::Leave(reason);
    };
    let (wrote, unknown) = match current {
        TagDigest::Absent => return CleanupStep::Leave(LeaveReason::Gone),
        TagDigest::Present(digest) => (digest, None),
        TagDigest::Unknown(why) => (&last.after, Some(why)),
    };
    if !written.iter().any(|entry| entry.after == *wrote) {
        let was_before = |entry: &&TagRecord| entry.before.as_ref() == Some(wrote);
        return CleanupStep::Leave(if written.iter().any(was_before) {
            LeaveReason::AlreadyRestored
        } else {
            LeaveReason::Moved(wrote.clone())
        });
    }
    let before = match (digest_before(&written, wrote), kind) {
        (Ok(before), TagKind::Moving) => before,
        (Ok(None), TagKind::Fixed) => None,
        // SECURITY: no run overwrites a fixed tag. The author of such a record may want the tag to have other content.
        (Ok(Some(_)), TagKind::Fixed) | (Err(Tangle), _) => {
            return CleanupStep::Leave(LeaveReason::Inconsistent);
        }
    };
    let rollback = Rollback {
        created: was_created(record.record(), tag, wrote),
        wrote: wrote.clone(),
        before,
    };
    match unknown {
        None => CleanupStep::Rollback(rollback),
        Some(why) => CleanupStep::Unknown(rollback, why.clone()),
    }
}

/// Decides the step for a tag that the inputs name if nothing vouches for the actions of a run. Nothing is done, and
/// `why` is the reason.
#[must_use]
pub fn leave_for_user(kind: TagKind, current: TagDigest, why: &str) -> CleanupStep {
    let (current, why) = match current {
        TagDigest::Absent => return CleanupStep::Leave(LeaveReason::Gone),
        TagDigest::Present(digest) => (Some(digest), why.to_owned()),
        TagDigest::Unknown(why) => (None, why),
    };
    CleanupStep::Manual { kind, current, why }
}

/// Lists every tag that the record reports as written and that is not in `named`.
#[must_use]
pub fn unnamed_tags(record: &VouchedRecord, named: &[&FullTag]) -> Vec<String> {
    let mut unnamed = Vec::new();
    for image in &record.record().images {
        for entry in image.tags.iter().filter(|entry| is_ours(entry)) {
            let name = format!("{}:{}", image.image, entry.tag);
            if !named.iter().any(|tag| tag.to_string() == name) && !unnamed.contains(&name) {
                unnamed.push(name);
            }
        }
    }
    unnamed
}

/// Returns the record's entries for a tag, in the order of the runs.
fn entries<'a>(record: &'a Record, tag: &'a FullTag) -> impl Iterator<Item = &'a TagRecord> {
    let repository = tag.repository.to_string();
    let images = record.images.iter();
    let images = images.filter(move |image| image.image == repository);
    let tags = images.flat_map(|image| &image.tags);
    tags.filter(|entry| entry.tag == tag.tag.as_str())
}

/// True if the record says that a run created `digest` in the repository of `tag`.
fn was_created(record: &Record, tag: &FullTag, digest: &Digest) -> bool {
    let repository = tag.repository.to_string();
    let mut images = record.images.iter();
    images.any(|image| image.created && image.image == repository && image.digest == *digest)
}

/// True if a run wrote the tag, or may have written it.
fn is_ours(entry: &TagRecord) -> bool {
    entry.state.may_be_written()
}

/// A record whose entries form a circle, or contradict each other.
struct Tangle;

/// Returns the digest under the tag before the first of the runs that resulted in `wrote`. It is never something that
/// one of these runs wrote, so a second rollback changes nothing.
fn digest_before(written: &[&TagRecord], wrote: &Digest) -> Result<Option<Digest>, Tangle> {
    let mut at = wrote;
    for _ in 0..=written.len() {
        let mut ways = written.iter().filter(|entry| entry.after == *at);
        let Some(way) = ways.next() else {
            return Ok(Some(at.clone()));
        };
        if ways.any(|other| other.before != way.before) {
            return Err(Tangle);
        }
        match &way.before {
            None => return Ok(None),
            Some(before) => at = before,
        }
    }
    Err(Tangle)
}
