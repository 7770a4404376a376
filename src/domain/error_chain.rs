//! The text of an error with its causes.

use std::error::Error;
use std::fmt::Write as _;

/// The longest text of one cause. Parsers quote input from outside, at any length.
const CAUSE_MAX_LETTERS: usize = 500;

/// Joins an error and its causes with `: `. A cause that repeats the end of the text is left out.
#[must_use]
pub fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let mut level = error.to_string();
        if let Some((end, _)) = level.char_indices().nth(CAUSE_MAX_LETTERS) {
            level.truncate(end);
            level.push('…');
        }
        if !text.ends_with(&level) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {level}");
        }
        cause = error.source();
    }
    text
}
