//! What is to be done with a tag after a run that failed: from what a vouched record says, what the inputs name, and what
//! the registry shows. Without such a record nothing is done, and the steps are for somebody who knows what the run did.

use std::fmt;

use super::tags::TagKind;
use crate::domain::{Digest, FullTag};
use crate::record::{Record, TagRecord, TagState, VouchedRecord};

/// What a registry shows of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// There is no such tag.
    Nothing,
    /// It holds this.
    Digest(Digest),
    /// The registry did not say, for this reason.
    Unknown(String),
}

/// What is done with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupStep {
    /// It holds what the run wrote, and is to go back to what it was.
    TakeBack(TakeBack),
    /// It is none of our business, or there is nothing left to do.
    Leave(LeaveReason),
    /// Nobody knows what it holds, for this reason; this is what would be done if it held what the run wrote.
    Unknown(TakeBack, String),
    /// Nothing vouches for what the run did, so that nothing is done.
    ByHand {
        /// What kind of tag it is.
        kind: TagKind,
        /// What it holds, where that is known.
        holds: Option<Digest>,
        /// Why nothing is done.
        why: String,
    },
}

/// A tag's way back.
///
/// SECURITY: [`decide_cleanup`] alone makes one, from a vouched record. Only what it says is deleted or put back:
///
/// ```compile_fail,E0451
/// use manifest_seal::domain::Digest;
/// use manifest_seal::plan::TakeBack;
///
/// let forged = TakeBack { wrote: Digest::of(b"theirs"), before: None, created: true };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeBack {
    wrote: Digest,
    before: Option<Digest>,
    created: bool,
}

impl TakeBack {
    /// What the run wrote.
    #[must_use]
    pub fn wrote(&self) -> &Digest {
        &self.wrote
    }

    /// What the tag held before; `None` when it did not exist, so that it is deleted.
    #[must_use]
    pub fn before(&self) -> Option<&Digest> {
        self.before.as_ref()
    }

    /// Whether the record says that the run created what it wrote there, which may then be deleted with its last tag.
    #[must_use]
    pub fn created(&self) -> bool {
        self.created
    }
}

/// Why a tag is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveReason {
    /// The record does not say that this run was to write it.
    Unrecorded,
    /// The run found it as it was to be.
    Kept,
    /// It does not exist, so that there is nothing to take back.
    Gone,
    /// It holds what it held before the run.
    Back,
    /// It holds this, which neither the run wrote nor it held before: somebody else moved it.
    Moved(Digest),
    /// The record cannot be what a run wrote down: what the tag is to go back to does not follow from it.
    Tangled,
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecorded => formatter.write_str("the record does not say that it was written"),
            Self::Kept => formatter.write_str("the run did not write it"),
            Self::Gone => formatter.write_str("it does not exist"),
            Self::Back => formatter.write_str("it holds what it held before"),
            Self::Moved(digest) => {
                write!(
                    formatter,
                    "somebody else moved it meanwhile: it holds `{digest}`"
                )
            }
            Self::Tangled => formatter.write_str("what the record says of it cannot be"),
        }
    }
}

/// Decides what is done with `tag`, which the inputs name, and as which kind.
#[must_use]
pub fn decide_cleanup(
    record: &VouchedRecord,
    tag: &FullTag,
    kind: TagKind,
    shown: &Shown,
) -> CleanupStep {
    let told: Vec<&TagRecord> = entries(record.record(), tag).collect();
    let written: Vec<&TagRecord> = told
        .iter()
        .copied()
        .filter(|entry| is_ours(entry))
        .collect();
    let Some(last) = written.last() else {
        let reason = if told.is_empty() {
            LeaveReason::Unrecorded
        } else {
            LeaveReason::Kept
        };
        return CleanupStep::Leave(reason);
    };
    let (wrote, unknown) = match shown {
        Shown::Nothing => return CleanupStep::Leave(LeaveReason::Gone),
        Shown::Digest(digest) => (digest, None),
        Shown::Unknown(why) => (&last.after, Some(why)),
    };
    if !written.iter().any(|entry| entry.after == *wrote) {
        let was_before = |entry: &&TagRecord| entry.before.as_ref() == Some(wrote);
        return CleanupStep::Leave(if written.iter().any(was_before) {
            LeaveReason::Back
        } else {
            LeaveReason::Moved(wrote.clone())
        });
    }
    let before = match (origin(&written, wrote), kind) {
        (Ok(before), TagKind::Moving) => before,
        (Ok(None), TagKind::Fixed) => None,
        // SECURITY: no run writes over a tag that never changes; who says so may want it to hold something else.
        (Ok(Some(_)), TagKind::Fixed) | (Err(Tangle), _) => {
            return CleanupStep::Leave(LeaveReason::Tangled);
        }
    };
    let back = TakeBack {
        created: was_created(record.record(), tag, wrote),
        wrote: wrote.clone(),
        before,
    };
    match unknown {
        None => CleanupStep::TakeBack(back),
        Some(why) => CleanupStep::Unknown(back, why.clone()),
    }
}

/// Decides what is done with a tag that the inputs name, where nothing vouches for what a run did: nothing. `why` says so.
#[must_use]
pub fn leave_to_hand(kind: TagKind, shown: Shown, why: &str) -> CleanupStep {
    let (holds, why) = match shown {
        Shown::Nothing => return CleanupStep::Leave(LeaveReason::Gone),
        Shown::Digest(digest) => (Some(digest), why.to_owned()),
        Shown::Unknown(fault) => (None, fault),
    };
    CleanupStep::ByHand { kind, holds, why }
}

/// Every tag that the record says was written, and that is not in `named`.
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

/// What the record says of a tag, run by run.
fn entries<'a>(record: &'a Record, tag: &'a FullTag) -> impl Iterator<Item = &'a TagRecord> {
    let repository = tag.repository.to_string();
    let images = record.images.iter();
    let images = images.filter(move |image| image.image == repository);
    let tags = images.flat_map(|image| &image.tags);
    tags.filter(|entry| entry.tag == tag.tag.as_str())
}

/// Whether the record says that a run created `digest` in the repository of `tag`.
fn was_created(record: &Record, tag: &FullTag, digest: &Digest) -> bool {
    let repository = tag.repository.to_string();
    let mut images = record.images.iter();
    images.any(|image| image.created && image.image == repository && image.digest == *digest)
}

/// Whether a run wrote the tag, or may have: of one that was only to be written, the registry alone knows.
fn is_ours(entry: &TagRecord) -> bool {
    entry.state != TagState::Kept
}

/// A record that goes in circles, or in two ways.
struct Tangle;

/// What the tag held before the first of the runs that led to `wrote`. It is never something that one of these runs wrote,
/// so that to go back twice is to go once.
fn origin(written: &[&TagRecord], wrote: &Digest) -> Result<Option<Digest>, Tangle> {
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
