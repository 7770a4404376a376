//! The texts about a run's findings and actions: the step's outputs, the job's summary, the last lines of the log.
//!
//! Pure text. This room defines the public names, and must not depend on where the text goes.

mod cleanup;
mod destinations;
mod markdown;
mod outputs;
mod preflight;
mod summary;
mod trace;

use crate::domain::FullTag;
use crate::inputs::Command;
use crate::outcome::{DestinationOutcome, DestinationState, Outcome};

pub use outputs::{OUTPUTS, Output};
pub use summary::failure_block;
pub use trace::trace_text;

/// Advice after a run that did not finish.
pub(crate) const RUN_AGAIN: &str = "run it again; completed steps are skipped";

/// The data of a run's report.
#[derive(Debug)]
pub struct Report<'a> {
    /// The findings and actions of the run.
    pub outcome: &'a Outcome,
    /// The failure as text, if there was one.
    pub failure: Option<FailureText>,
    /// The operations that were retried.
    pub retries: &'a [RetryText],
    /// The command of the run.
    pub command: Command,
    /// The path of the record for the next step.
    pub record: &'a str,
}

/// A failure as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureText {
    /// The failure with its causes.
    pub text: String,
    /// The advice for it.
    pub hint: Option<String>,
}

/// A retried operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryText {
    /// The operation.
    pub what: String,
    /// The reason of the retry.
    pub why: String,
}

/// The result for the index and its tags, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResultWord {
    Created,
    Unchanged,
    Completed,
    Planned,
}

impl ResultWord {
    fn of(outcome: &Outcome) -> Self {
        let writes = outcome.tags.iter().filter(|tag| tag.step.writes()).count();
        let mut destinations = outcome.indexes().flat_map(|index| &index.destinations);
        let new_index =
            destinations.any(|destination| destination.state != DestinationState::WasThere);
        if outcome.planned {
            Self::Planned
        } else if writes == 0 && !(outcome.tags.is_empty() && new_index) {
            Self::Unchanged
        } else if writes == outcome.tags.len() {
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

/// The past tense of a successful command.
fn past(command: Command) -> &'static str {
    match command {
        Command::Seal => "sealed",
        Command::Create => "created",
        Command::Sign => "signed",
        Command::Verify => "verified",
        Command::Preflight => "checked",
        Command::Publish => "published",
        Command::Cleanup => "cleaned up",
    }
}

impl Report<'_> {
    /// The destinations of an index.
    fn destinations(&self) -> &[DestinationOutcome] {
        let index = self.outcome.index.as_ref();
        index.map_or(&[], |index| &index.destinations)
    }

    /// The shortest name of a tag: without repository if there is only one.
    fn tag_text(&self, tag: &FullTag) -> String {
        if self.destinations().len() > 1 {
            tag.to_string()
        } else {
            tag.tag.to_string()
        }
    }

    /// True if images were published without a verification of their signatures.
    fn is_unverified(&self) -> bool {
        let is_done = self.failure.is_none() && !self.outcome.planned;
        self.command == Command::Publish && is_done && !self.outcome.verified
    }

    /// Returns the last line of the log, after a success.
    #[must_use]
    pub fn closing_line(&self) -> String {
        let outcome = self.outcome;
        if let Some(preflight) = &outcome.preflight {
            return Self::preflight_line(preflight);
        }
        if let Some(cleanup) = &outcome.cleanup {
            return self.cleanup_line(cleanup);
        }
        let Some(subject) = self.main_subject() else {
            return format!("{} nothing", past(self.command));
        };
        let made = outcome.signed_anything();
        let result = match self.command {
            Command::Seal | Command::Create | Command::Publish => ResultWord::of(outcome).as_str(),
            Command::Sign if outcome.planned => "planned",
            Command::Sign if !outcome.unsigned.is_empty() => "NOT signed",
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
            Command::Seal if !outcome.signing || outcome.planned => "",
            Command::Seal if !outcome.unsigned.is_empty() => ", NOT signed",
            Command::Seal if made => ", signed",
            Command::Seal => ", was signed already",
        };
        let others = match self.destinations().len() {
            0 | 1 => String::new(),
            2 => " and in 1 other repository".to_owned(),
            count => format!(" and in {} other repositories", count - 1),
        };
        format!("{result}: `{subject}`{others}{signing}")
    }
}
