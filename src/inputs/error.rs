//! The problems of the inputs.

/// One problem of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input `{input}`: {problem}")]
pub struct InputError {
    /// The input's name, as in action.yml.
    pub input: &'static str,
    /// The problem, and the expected form.
    pub problem: String,
}

/// All problems of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InputErrors(pub Vec<InputError>);
