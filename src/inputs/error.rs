//! The problems of the inputs.

/// One problem of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input `{input}`: {}", with_short_quotes(.problem))]
pub struct InputError {
    /// The input's name, as in action.yml.
    pub input: &'static str,
    /// The problem, and the expected form.
    pub problem: String,
}

/// The most characters of a quoted text that are printed.
const QUOTE_MAX_CHARS: usize = 200;

/// Returns the text with each long quotation cut. Somebody may give a whole document where a path is expected.
fn with_short_quotes(text: &str) -> String {
    let cut = |(number, part): (usize, &str)| {
        let is_quote = number % 2 == 1;
        match part.char_indices().nth(QUOTE_MAX_CHARS) {
            Some((end, _)) if is_quote => format!("{}…", &part[..end]),
            Some(_) | None => part.to_owned(),
        }
    };
    let parts: Vec<String> = text.split('`').enumerate().map(cut).collect();
    parts.join("`")
}

/// All problems of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InputErrors(pub Vec<InputError>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_quotations_are_cut() {
        let problem = format!("could not read `{}`: no such file", "x".repeat(5000));
        let error = InputError {
            input: "trusted-root",
            problem,
        };
        let wanted = format!(
            "input `trusted-root`: could not read `{}…`: no such file",
            "x".repeat(QUOTE_MAX_CHARS)
        );
        assert_eq!(error.to_string(), wanted);
    }
}
