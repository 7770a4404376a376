//! What becomes of each tag that a cleanup looks at, kept up to date while it happens, and how it is said.

use super::Context;
use crate::domain::{Digest, FullTag};
use crate::plan::{CleanupStep, LeaveReason, TakeBack};
use crate::registry::steps_by_hand;

/// What was found of every tag that the inputs name, and what became of it.
#[derive(Debug, Default)]
pub struct CleanupReceipt {
    /// Every tag, in the order of the inputs, moving ones last; none where there is no record.
    pub tags: Vec<CleanupTag>,
}

/// A tag, what was to be done with it, and what became of that.
#[derive(Debug, Clone)]
pub struct CleanupTag {
    /// The tag.
    pub tag: FullTag,
    /// What was to be done.
    pub step: CleanupStep,
    /// What became of it.
    pub end: CleanupEnd,
}

/// What became of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupEnd {
    /// Nothing was to be done.
    Left,
    /// It is not known yet what becomes of it.
    Open,
    /// The registry shows that it is as it was.
    Done,
    /// It still holds what the run wrote, as far as is known.
    Remains {
        /// Why.
        why: String,
        /// What to do by hand.
        steps: String,
    },
}

impl CleanupReceipt {
    /// Notes what became of a tag, and says it.
    pub(super) fn note(&mut self, context: &Context, ended: &CleanupTag) {
        ended.say(context);
        for known in self.tags.iter_mut().filter(|known| known.tag == ended.tag) {
            *known = ended.clone();
        }
    }
}

impl CleanupTag {
    pub(super) fn new(tag: &FullTag, step: CleanupStep) -> Self {
        let blank = Self {
            tag: tag.clone(),
            step,
            end: CleanupEnd::Left,
        };
        match &blank.step {
            CleanupStep::TakeBack(_) => blank.with(CleanupEnd::Open),
            CleanupStep::Leave(_) => blank,
            CleanupStep::Unknown(_, why) => blank.remaining(why, blank.by_hand()),
        }
    }

    pub(super) fn with(&self, end: CleanupEnd) -> Self {
        Self {
            end,
            ..self.clone()
        }
    }

    pub(super) fn left(&self, reason: LeaveReason) -> Self {
        Self {
            step: CleanupStep::Leave(reason),
            ..self.with(CleanupEnd::Left)
        }
    }

    pub(super) fn remaining(&self, why: &str, steps: String) -> Self {
        self.with(CleanupEnd::Remains {
            why: why.to_owned(),
            steps,
        })
    }

    /// Its way back, where it has one that is known.
    #[must_use]
    pub fn way_back(&self) -> Option<&TakeBack> {
        match &self.step {
            CleanupStep::TakeBack(back) | CleanupStep::Unknown(back, _) => Some(back),
            CleanupStep::Leave(_) => None,
        }
    }

    /// What to do by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        let back = self.way_back();
        let before = back.and_then(|back| back.before.as_ref());
        let steps = before.map_or_else(
            || steps_by_hand(&self.tag),
            |before| {
                // SECURITY: between single quotes for a shell; the grammar of names and digests has none.
                let (image, tag) = (self.tag.repository.at(before), &self.tag.tag);
                format!("`crane tag '{image}' '{tag}'`")
            },
        );
        match (&self.step, back) {
            (CleanupStep::Unknown(..), Some(back)) => {
                format!("if it holds `{}`: {steps}", back.wrote)
            }
            _ => steps,
        }
    }

    pub(super) fn by_hand_without_earlier(&self, before: &Digest) -> String {
        let delete = steps_by_hand(&self.tag);
        format!(
            "push `{before}` again and then {}; or delete the tag: {delete}",
            self.by_hand()
        )
    }

    pub(super) fn say(&self, context: &Context) {
        let (tag, events) = (&self.tag, &context.events);
        let back = self.way_back();
        let before = back.and_then(|back| back.before.as_ref());
        match (&self.end, &self.step, before) {
            (CleanupEnd::Remains { why, steps }, ..) => {
                let wrote = back.map_or(String::new(), |back| format!(" (`{}`)", back.wrote));
                events.warn(format!(
                    "the tag `{tag}`{wrote} could not be taken back: {why}. By hand: {steps}"
                ));
            }
            (CleanupEnd::Left, CleanupStep::Leave(reason), _) => match reason {
                LeaveReason::Moved(_) | LeaveReason::Tangled => {
                    events.warn(format!("tag `{tag}`: left alone: {reason}"));
                }
                LeaveReason::Unrecorded
                | LeaveReason::Kept
                | LeaveReason::Gone
                | LeaveReason::Back => events.note(format!("tag `{tag}`: left alone: {reason}")),
            },
            (CleanupEnd::Open, _, Some(before)) => {
                events.note(format!("tag `{tag}`: to go back to `{before}`"));
            }
            (CleanupEnd::Open, _, None) => events.note(format!("tag `{tag}`: to be deleted")),
            (CleanupEnd::Done, _, None) => events.note(format!("tag `{tag}` is deleted")),
            // Said when it was written.
            (CleanupEnd::Done, _, Some(_)) | (CleanupEnd::Left, ..) => (),
        }
    }
}
