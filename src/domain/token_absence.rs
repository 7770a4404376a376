//! Why a job has no OIDC token.

/// Why a job has no OIDC token: who started it decides that, or nobody asked for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub enum TokenAbsence {
    /// It runs for a pull request from a fork.
    #[error("a pull request from a fork{} gets none", name_text(.0.as_deref()))]
    Fork(
        /// Which; nothing where it was deleted meanwhile.
        Option<String>,
    ),
    /// Dependabot started it.
    #[error("a run that Dependabot started gets none")]
    Dependabot,
    /// The workflow does not ask for one, or this is not GitHub.
    #[default]
    #[error("the job has not asked for one")]
    NotAsked,
}

impl TokenAbsence {
    /// Whether the workflow cannot help it.
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
