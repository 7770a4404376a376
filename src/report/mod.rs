//! Words, from what a run found and did: the step's outputs, the job's summary, the last lines of the log.
//!
//! Pure text. This room knows how things are called in public and refuses to know where the text goes.

mod markdown;
mod outputs;
mod summary;
mod trace;

use crate::apply::{Outcome, Receipt};

pub use outputs::{OUTPUTS, Output};
pub use summary::failure_block;
pub use trace::trace_text;

/// All that is told of a run.
#[derive(Debug)]
pub struct Report<'a> {
    /// What the run found and did.
    pub outcome: &'a Outcome,
    /// What went wrong, in words, where something did.
    pub failure: Option<FailureText>,
    /// What was tried again.
    pub retries: &'a [RetryText],
    /// What was to be done.
    pub command: CommandKind,
    /// The record, as the next step can use it.
    pub record: &'a str,
}

/// What kind of run it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// `seal`.
    Seal,
    /// `create`.
    Create,
    /// `sign`.
    Sign,
    /// `verify`.
    Verify,
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
        let new_index = receipt.index.as_ref().is_some_and(|index| !index.was_there);
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

impl CommandKind {
    fn past(self) -> &'static str {
        match self {
            Self::Seal => "sealed",
            Self::Create => "created",
            Self::Sign => "signed",
            Self::Verify => "verified",
        }
    }

    /// The command's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Create => "create",
            Self::Sign => "sign",
            Self::Verify => "verify",
        }
    }
}

impl Report<'_> {
    /// The last line of the log, when all went well.
    #[must_use]
    pub fn closing_line(&self) -> String {
        let receipt = &self.outcome.receipt;
        let Some(subject) = self.main_subject() else {
            return format!("{} nothing", self.command.past());
        };
        let made = receipt.signatures.iter().any(|signature| signature.made);
        let result = match self.command {
            CommandKind::Seal | CommandKind::Create => ResultWord::of(receipt).as_str(),
            CommandKind::Sign if receipt.planned => "planned",
            CommandKind::Sign if !receipt.unsigned.is_empty() => "NOT signed",
            CommandKind::Sign if !made => "was signed already",
            CommandKind::Sign | CommandKind::Verify => self.command.past(),
        };
        let signing = match self.command {
            CommandKind::Create | CommandKind::Sign | CommandKind::Verify => "",
            CommandKind::Seal if !receipt.signing || receipt.planned => "",
            CommandKind::Seal if !receipt.unsigned.is_empty() => ", NOT signed",
            CommandKind::Seal if made => ", signed",
            CommandKind::Seal => ", was signed already",
        };
        format!(
            "{result}: `{}@{}`{signing}",
            subject.repository, subject.digest
        )
    }
}
