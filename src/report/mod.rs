//! Words, from what a run found and did: the step's outputs, the job's summary, the last lines of the log.
//!
//! Pure text. This room knows how things are called in public and refuses to know where the text goes.

mod cleanup;
mod markdown;
mod outputs;
mod places;
mod preflight;
mod summary;
mod trace;

use crate::apply::{PlaceReceipt, PlaceState, Receipt};
use crate::domain::FullTag;
use crate::inputs::Command;

pub use outputs::{OUTPUTS, Output};
pub use summary::failure_block;
pub use trace::trace_text;

/// All that is told of a run.
#[derive(Debug)]
pub struct Report<'a> {
    /// What the run found and did.
    pub receipt: &'a Receipt,
    /// What went wrong, in words, where something did.
    pub failure: Option<FailureText>,
    /// What was tried again.
    pub retries: &'a [RetryText],
    /// What it was asked to do.
    pub command: Command,
    /// The record, as the next step can use it.
    pub record: &'a str,
}

/// A failure in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureText {
    /// What went wrong, with its causes.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Something that was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryText {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What became of the index and its tags, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResultWord {
    Created,
    Unchanged,
    Completed,
    Planned,
}

impl ResultWord {
    fn of(receipt: &Receipt) -> Self {
        let writes = receipt.tags.iter().filter(|tag| tag.step.writes()).count();
        let mut places = receipt.indexes().flat_map(|index| &index.places);
        let new_index = places.any(|place| place.state != PlaceState::WasThere);
        if receipt.planned {
            Self::Planned
        } else if writes == 0 && !(receipt.tags.is_empty() && new_index) {
            Self::Unchanged
        } else if writes == receipt.tags.len() {
            Self::Created
        } else {
            Self::Completed
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Unchanged => "unchanged",
            Self::Completed => "completed",
            Self::Planned => "planned",
        }
    }
}

/// What a command did when all went well, in one word.
fn past(command: Command) -> &'static str {
    match command {
        Command::Seal => "sealed",
        Command::Create => "created",
        Command::Sign => "signed",
        Command::Verify => "verified",
        Command::Preflight => "looked",
        Command::Publish => "published",
        Command::Cleanup => "cleaned up",
    }
}

impl Report<'_> {
    /// The repositories that an index goes to.
    fn places(&self) -> &[PlaceReceipt] {
        let index = self.receipt.index.as_ref();
        index.map_or(&[], |index| &index.places)
    }

    /// A tag as briefly as it can be named: bare where there is one repository.
    fn tag_text(&self, tag: &FullTag) -> String {
        if self.places().len() > 1 {
            tag.to_string()
        } else {
            tag.tag.to_string()
        }
    }

    /// Whether images were published of which nobody was asked who has signed them.
    fn is_unverified(&self) -> bool {
        let is_done = self.failure.is_none() && !self.receipt.planned;
        self.command == Command::Publish && is_done && !self.receipt.verified
    }

    /// The last line of the log, when all went well.
    #[must_use]
    pub fn closing_line(&self) -> String {
        let receipt = self.receipt;
        if let Some(preflight) = &receipt.preflight {
            return Self::preflight_line(preflight);
        }
        if let Some(cleanup) = &receipt.cleanup {
            return self.cleanup_line(cleanup);
        }
        let Some(subject) = self.main_subject() else {
            return format!("{} nothing", past(self.command));
        };
        let made = receipt.signed_anything();
        let result = match self.command {
            Command::Seal | Command::Create | Command::Publish => ResultWord::of(receipt).as_str(),
            Command::Sign if receipt.planned => "planned",
            Command::Sign if !receipt.unsigned.is_empty() => "NOT signed",
            Command::Sign if !made => "was signed already",
            Command::Sign | Command::Verify | Command::Preflight | Command::Cleanup => {
                past(self.command)
            }
        };
        let signing = match self.command {
            Command::Publish if self.is_unverified() => ", nothing was verified",
            Command::Create
            | Command::Sign
            | Command::Verify
            | Command::Preflight
            | Command::Publish
            | Command::Cleanup => "",
            Command::Seal if !receipt.signing || receipt.planned => "",
            Command::Seal if !receipt.unsigned.is_empty() => ", NOT signed",
            Command::Seal if made => ", signed",
            Command::Seal => ", was signed already",
        };
        let others = match self.places().len() {
            0 | 1 => String::new(),
            2 => " and in 1 other repository".to_owned(),
            count => format!(" and in {} other repositories", count - 1),
        };
        format!("{result}: `{subject}`{others}{signing}")
    }
}
