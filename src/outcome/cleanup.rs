//! The result of a cleanup for each tag, updated while it happens, and its messages.

use crate::domain::{Digest, Events, FullTag};
use crate::plan::{CleanupStep, LeaveReason, Rollback, TagKind};

/// The content and the result of every tag that the inputs name.
#[derive(Debug, Default)]
pub struct CleanupOutcome {
    /// Every tag, in the order of the inputs, moving ones last.
    pub tags: Vec<CleanupTag>,
    /// The reason why nothing is reverted, and advice, if nothing vouches for the run's changes.
    pub unvouched: Option<String>,
}

/// A tag, its planned step, and the result.
#[derive(Debug, Clone)]
pub struct CleanupTag {
    /// The tag.
    pub tag: FullTag,
    /// The planned step.
    pub step: CleanupStep,
    /// The manual steps that delete the tag at its registry.
    pub deletion: String,
    /// The result.
    pub end: CleanupEnd,
}

/// The result of a cleanup for one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupEnd {
    /// Nothing had to be done.
    Left,
    /// The result is not known yet.
    Open,
    /// The registry shows the tag as it was before.
    Done,
    /// The tag was not reverted: its last known content is what the run wrote.
    Remains {
        /// The reason.
        why: String,
        /// The manual steps.
        steps: String,
    },
}

impl CleanupOutcome {
    /// Reports that every tag is left for manual cleanup, why, and what to do.
    pub(crate) fn leave_all(&mut self, events: &Events, why: &str, advice: &str) {
        self.tags.iter().for_each(|tag| tag.report(events));
        let why = format!("{why}. {advice}");
        events.warn(format!("no tag is deleted or moved: {why}"));
        self.unvouched = Some(why);
    }

    /// Notes and reports the result of a tag.
    pub(crate) fn note(&mut self, events: &Events, ended: &CleanupTag) {
        ended.report(events);
        for known in self.tags.iter_mut().filter(|known| known.tag == ended.tag) {
            *known = ended.clone();
        }
    }
}

impl CleanupTag {
    pub(crate) fn new(tag: &FullTag, step: CleanupStep, deletion: String) -> Self {
        let blank = Self {
            tag: tag.clone(),
            step,
            deletion,
            end: CleanupEnd::Left,
        };
        match &blank.step {
            CleanupStep::Rollback(_) => blank.with(CleanupEnd::Open),
            CleanupStep::Leave(_) => blank,
            CleanupStep::Unknown(_, why) | CleanupStep::Manual { why, .. } => {
                blank.remaining(why, blank.manual_steps())
            }
        }
    }

    pub(crate) fn with(&self, end: CleanupEnd) -> Self {
        Self {
            end,
            ..self.clone()
        }
    }

    pub(crate) fn left(&self, reason: LeaveReason) -> Self {
        Self {
            step: CleanupStep::Leave(reason),
            ..self.with(CleanupEnd::Left)
        }
    }

    pub(crate) fn remaining(&self, why: &str, steps: String) -> Self {
        self.with(CleanupEnd::Remains {
            why: why.to_owned(),
            steps,
        })
    }

    /// Returns the step that reverts the tag, if one is known.
    #[must_use]
    pub fn rollback(&self) -> Option<&Rollback> {
        match &self.step {
            CleanupStep::Rollback(rollback) | CleanupStep::Unknown(rollback, _) => Some(rollback),
            CleanupStep::Leave(_) | CleanupStep::Manual { .. } => None,
        }
    }

    /// Returns the last known content of the tag.
    #[must_use]
    pub fn current(&self) -> Option<&Digest> {
        match &self.step {
            CleanupStep::Manual { current, .. } => current.as_ref(),
            CleanupStep::Rollback(_) | CleanupStep::Leave(_) | CleanupStep::Unknown(..) => {
                self.rollback().map(Rollback::wrote)
            }
        }
    }

    /// Returns the manual steps.
    #[must_use]
    pub fn manual_steps(&self) -> String {
        let delete = || self.deletion.clone();
        let point = |to: &str| {
            // SECURITY: between single quotes for a shell; names and digests cannot contain one.
            let (repository, tag) = (&self.tag.repository, &self.tag.tag);
            format!("`crane tag '{repository}@{to}' '{tag}'`")
        };
        let steps = |rollback: &Rollback| {
            rollback
                .before()
                .map_or_else(delete, |before| point(&before.to_string()))
        };
        match &self.step {
            CleanupStep::Rollback(rollback) => steps(rollback),
            CleanupStep::Unknown(rollback, _) => if_unchanged(rollback, &steps(rollback)),
            CleanupStep::Manual {
                kind: TagKind::Fixed,
                ..
            } => format!("if the run created it: {}", delete()),
            // SECURITY: no digest here: a forged record could name one, and the command would move the tag there.
            CleanupStep::Manual {
                kind: TagKind::Moving,
                ..
            } => format!(
                "if the run moved it: {} with its earlier digest, which the log and the summary of that run name; if the run created it: {}",
                point("sha256:…"),
                delete()
            ),
            CleanupStep::Leave(_) => delete(),
        }
    }

    /// Returns the manual steps for a tag whose step was planned and not begun: the tag was not read.
    #[must_use]
    pub fn manual_steps_unread(&self) -> String {
        match &self.step {
            CleanupStep::Rollback(rollback) => if_unchanged(rollback, &self.manual_steps()),
            CleanupStep::Unknown(..) | CleanupStep::Manual { .. } | CleanupStep::Leave(_) => {
                self.manual_steps()
            }
        }
    }

    pub(crate) fn manual_steps_without_earlier(&self, before: &Digest) -> String {
        let delete = &self.deletion;
        format!(
            "push `{before}` again and then {}; or delete the tag: {delete}",
            self.manual_steps()
        )
    }

    pub(crate) fn report(&self, events: &Events) {
        let tag = &self.tag;
        let rollback = self.rollback();
        let before = rollback.and_then(Rollback::before);
        match (&self.end, &self.step, before) {
            (CleanupEnd::Remains { steps, .. }, CleanupStep::Manual { current, why, .. }, _) => {
                let current = current.as_ref().map_or_else(
                    || format!("its content is unknown: {why}"),
                    |digest| format!("it points to `{digest}`"),
                );
                events.info(format!(
                    "tag `{tag}`: left unchanged: {current}. Manual steps: {steps}"
                ));
            }
            (CleanupEnd::Remains { why, steps }, ..) => {
                let wrote = rollback.map_or(String::new(), |rollback| {
                    format!(" (`{}`)", rollback.wrote())
                });
                events.warn(format!(
                    "the tag `{tag}`{wrote} could not be reverted: {why}. Manual steps: {steps}"
                ));
            }
            (CleanupEnd::Left, CleanupStep::Leave(reason), _) => match reason {
                LeaveReason::Moved(_) | LeaveReason::Inconsistent => {
                    events.warn(format!("tag `{tag}`: left unchanged: {reason}"));
                }
                LeaveReason::Unrecorded
                | LeaveReason::Kept
                | LeaveReason::Gone
                | LeaveReason::AlreadyRestored => {
                    events.info(format!("tag `{tag}`: left unchanged: {reason}"));
                }
            },
            (CleanupEnd::Open, _, Some(before)) => {
                events.info(format!("tag `{tag}`: to be restored to `{before}`"));
            }
            (CleanupEnd::Open, _, None) => events.info(format!("tag `{tag}`: to be deleted")),
            (CleanupEnd::Done, _, None) => events.info(format!("tag `{tag}` is deleted")),
            // Already reported when it was written.
            (CleanupEnd::Done, _, Some(_)) | (CleanupEnd::Left, ..) => (),
        }
    }
}

/// Returns the manual steps for a tag whose content is unknown.
fn if_unchanged(rollback: &Rollback, steps: &str) -> String {
    format!("if it points to `{}`: {steps}", rollback.wrote())
}
