//! Markdown with cells and spans that outside text cannot break out of.

use crate::domain;

/// Returns a text as inline code, shown unchanged. In a table a `|` would end the cell, so it is escaped.
pub(super) fn code(text: &str) -> String {
    let text = visible(text);
    // SPEC: GitHub Flavored Markdown 6.3: a span ends at a run of backticks as long as the one that began it.
    let longest = text
        .split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{}{pad}{fence}", text.replace('|', "\\|"))
}

/// Escapes a text of ours that may quote others. Its own backticks stay code; all other Markdown and HTML is shown literally.
pub(super) fn prose(text: &str) -> String {
    let mut shown = String::new();
    for (number, part) in visible(text).split('`').enumerate() {
        if number % 2 == 1 {
            shown.push_str(&code(part));
            continue;
        }
        for (at, letter) in part.char_indices() {
            match letter {
                '&' => shown.push_str("&amp;"),
                '<' => shown.push_str("&lt;"),
                '>' => shown.push_str("&gt;"),
                '\\' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '@' => {
                    shown.push('\\');
                    shown.push(letter);
                }
                ':' | '.' if begins_link(&part[..at], &part[at..]) => {
                    shown.push('\\');
                    shown.push(letter);
                }
                _ => shown.push(letter),
            }
        }
    }
    shown
}

/// True if `before` and `from` together begin an address, which GitHub would turn into a link.
///
/// SPEC: GitHub Flavored Markdown 6.9: `www.` and a scheme with `://` begin one; an `@` within does, too.
fn begins_link(before: &str, from: &str) -> bool {
    from.starts_with("://") || (from.starts_with('.') && before.to_lowercase().ends_with("www"))
}

/// Returns a fenced block that nothing in `text` can end.
pub(super) fn block(language: &str, text: &str) -> String {
    let longest = text
        .split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let lines: Vec<String> = text.lines().map(visible).collect();
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

/// Returns a table. The cells are already Markdown.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = format!("|{}\n", " --- |".repeat(head.len()));
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}{rows}", line(&head))
}

/// Returns one line in which every character is visible.
fn visible(text: &str) -> String {
    domain::visible(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_shows_anything_and_ends_nothing() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("a\n| b"), "`a \\| b`");
        assert_eq!(code("a\u{202e}b"), "`a\\u{202e}b`");
    }

    #[test]
    fn prose_keeps_its_code_and_nothing_else() {
        assert_eq!(
            prose("`a|b` <img src=x> [x](y) @all"),
            "`a\\|b` &lt;img src=x&gt; \\[x\\](y) \\@all"
        );
        assert_eq!(
            prose("at https://evil.example, WWW.evil.example or `https://ours`: see v1.2"),
            "at https\\://evil.example, WWW\\.evil.example or `https://ours`: see v1.2"
        );
        assert_eq!(prose("an odd ` backtick <b>"), "an odd ` backtick <b>`");
        assert_eq!(prose("a\u{200b}b"), "a\\\\u{200b}b");
    }

    #[test]
    fn blocks_cannot_be_ended_from_inside() {
        assert_eq!(
            block("text", "a\n```\n<b>"),
            "````text\na\n```\n<b>\n````\n"
        );
    }
}
