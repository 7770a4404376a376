//! The reasons why a job has no OIDC token.

/// The reason why a job has no OIDC token: the trigger of the run excludes one, or the job requests none.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub enum TokenAbsence {
    /// The run is for a pull request from a fork.
    #[error("a pull request from a fork{} gets no token", name_text(.0.as_deref()))]
    Fork(
        /// The fork; `None` if it was deleted meanwhile.
        Option<String>,
    ),
    /// Dependabot started the run.
    #[error("a run started by Dependabot gets no token")]
    Dependabot,
    /// The workflow does not request a token, or this is not GitHub.
    #[default]
    #[error("the job does not request one")]
    NotAsked,
}

impl TokenAbsence {
    /// True if the workflow cannot change it.
    #[must_use]
    pub fn is_excused(&self) -> bool {
        match self {
            Self::Fork(_) | Self::Dependabot => true,
            Self::NotAsked => false,
        }
    }
}

fn name_text(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!(" (`{name}`)"))
}
