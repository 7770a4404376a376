//! The workflow run that a record is of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A repository's full name is no longer on GitHub; what a record says instead may be.
const REPOSITORY_MAX_LETTERS: usize = 140;

/// A run of a workflow. It is compared, and vouches for nothing: whoever writes a record can name any run in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRun {
    /// Its id, which all its attempts share.
    pub id: u64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The repository whose workflow it is, `owner/name`.
    pub repository: String,
}

impl WorkflowRun {
    /// Whether `other` is the same run, in whichever attempt.
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
