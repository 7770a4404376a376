//! The workflow run that a record belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest full name of a repository on GitHub. A record may contain a longer text.
const REPOSITORY_MAX_LETTERS: usize = 140;

/// A run of a workflow. It is only compared and vouches for nothing: the writer of a record can name any run in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRun {
    /// Its id, equal for all attempts.
    pub id: u64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The repository of its workflow, `owner/name`.
    pub repository: String,
}

impl WorkflowRun {
    /// True if `other` is the same run, in any attempt.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.id, &self.repository) == (other.id, &other.repository)
    }
}

impl fmt::Display for WorkflowRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = self.repository.chars().take(REPOSITORY_MAX_LETTERS);
        let repository: String = repository.collect();
        let (id, attempt) = (self.id, self.attempt);
        write!(formatter, "run {id}, attempt {attempt}, of `{repository}`")
    }
}
