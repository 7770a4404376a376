//! Text from others, with every character escaped that is invisible or changes the direction of the text around it.
//!
//! A registry's message, an annotation or an identity may contain such characters to look like another text.
//! `v1\u{202e}0.1v` looks like `v1v1.0`. See Unicode Technical Report 36, and CVE-2021-42574.

use std::fmt::Write as _;

/// Escapes invisible characters as `\u{202e}`: control characters, those that change the direction of the text, and
/// those without a width. Tabs and line ends stay.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// True for the category Cf and other characters with neither width nor ink (Unicode 16:
/// `Default_Ignorable_Code_Point`). True also for the two separators that end a line for some readers only.
fn is_hidden(letter: char) -> bool {
    if letter.is_control() {
        return !matches!(letter, '\t' | '\n');
    }
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelled_out_and_all_others_stay() {
        assert_eq!(visible("v1\u{202e}0.1v"), r"v1\u{202e}0.1v");
        assert_eq!(
            visible("a\u{200b}b\u{2066}c\u{feff}"),
            r"a\u{200b}b\u{2066}c\u{feff}"
        );
        assert_eq!(visible("\u{1b}[31m\r\u{85}"), r"\u{1b}[31m\r\u{85}");
        for text in ["a\tb\nc", "größe, 日本語, עברית, 🐳", "…"] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn nothing_that_turns_text_about_or_has_no_width_is_left() {
        let bidi = ['\u{61c}', '\u{200e}', '\u{200f}']
            .into_iter()
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}');
        let no_width = [
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{180e}',
            '\u{e0041}',
        ];
        for letter in bidi.chain(no_width) {
            assert!(
                visible(&letter.to_string()).is_ascii(),
                "{:x}",
                u32::from(letter)
            );
        }
    }
}
