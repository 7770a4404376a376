//! GitHub's workflow commands and their escaping.
//!
//! The runner scans every line of both streams for commands, so text from outside never starts a line unescaped.
//! Source: actions/toolkit, `packages/core/src/command.ts`; actions/runner, `OutputManager`.

use crate::domain::visible;

/// Escapes the message of a command.
pub(super) fn message(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Escapes a property of a command, such as a title.
pub(super) fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// Makes a text safe to print on lines of its own. Invisible characters are spelled out.
///
/// The runner reads a line as a command if it begins with `::` or contains the older `##[`. Such a line is quoted or broken.
pub(super) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            safe.push('\n');
        }
        if line
            .trim_start_matches(|letter: char| letter.is_whitespace() || letter.is_control())
            .starts_with("::")
        {
            safe.push_str("> ");
        }
        safe.push_str(&visible(line));
    }
    safe.replace("##[", "## [")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_their_line() {
        assert_eq!(message("50% of\r\na"), "50%25 of%0D%0Aa");
        assert_eq!(property("a: b, c"), "a%3A b%2C c");
    }

    #[test]
    fn text_from_outside_is_never_a_command() {
        let attempts = [
            "::set-output name=a::b",
            "x\n \u{a0}::add-mask::y",
            "##[error]z",
            "a\r::stop-commands::b",
            "\u{0}::error::x",
            ":::error::",
        ];
        for text in attempts {
            let safe = plain(text);
            let command = safe
                .lines()
                .any(|line| line.trim_start().starts_with("::") || line.contains("##["));
            assert!(!command && !safe.contains('\r'), "{safe:?}");
        }
        assert_eq!(plain("by \u{202e}us"), r"by \u{202e}us");
        assert_eq!(
            plain("could not reach [::1]:5000"),
            "could not reach [::1]:5000"
        );
    }
}
