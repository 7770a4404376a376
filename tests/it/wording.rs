//! The words of the code: how doc comments open, names that have been replaced, and words that messages do not use.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use syn::buffer::Cursor;
use syn::parse::{Parse, ParseStream};

use crate::support::project::files_of;

/// Openings that hide the subject of a sentence.
const OPENINGS: [&str; 6] = ["What", "Where", "Who", "How", "The same", "It"];

/// Names of types that were replaced by the field's terms.
const REPLACED: [&str; 38] = [
    "Carrier",
    "Brought",
    "Care",
    "Belongings",
    "BESIDE",
    "Sight",
    "Shared",
    "Settling",
    "Unsettled",
    "Receipt",
    "Ledger",
    "Authority",
    "Judge",
    "Question",
    "Refusal",
    "Wire",
    "Opened",
    "Turn",
    "LeftOpen",
    "Passage",
    "Pieces",
    "Keyring",
    "Patience",
    "Persistence",
    "Witnessed",
    "Caller",
    "TakeBack",
    "Tangled",
    "Doomed",
    "Stays",
    "LastLook",
    "OTHERS_TIME",
    "PlaceState",
    "IndexReceipt",
    "SigningError",
    "Judged",
    "Glance",
    "Reserved",
];

/// Names of fields, locals, functions and types that were replaced by the field's terms.
const REPLACED_ANYWHERE: [&str; 22] = [
    "wire",
    "keyring",
    "judge",
    "judged",
    "told",
    "doomed",
    "passage",
    "witness",
    "witnessed",
    "keep_aside",
    "hand_on",
    "lets_pass",
    "Sided",
    "Mended",
    "Slim",
    "Haste",
    "Believed",
    "Sameness",
    "Whom",
    "into_receipts",
    "brought",
    "brings",
];

/// Words and phrases that no message uses: they make a person of a program, or are a riddle to a reader of the field.
const UNPLAIN: [&str; 23] = [
    "told",
    "whom",
    "the world",
    "taken back",
    "take back",
    "takes back",
    "left behind",
    "leave behind",
    "leaves behind",
    "as far as",
    "by hand",
    "holds",
    "held",
    "sends us",
    "is said to",
    "hand over",
    "hands over",
    "handed over",
    "hand on",
    "hands on",
    "takes along",
    "nothing vouches",
    "web address",
];

fn sources() -> Vec<PathBuf> {
    ["src", "tests"]
        .into_iter()
        .flat_map(|folder| files_of(Path::new(folder)))
        .collect()
}

#[test]
fn doc_comments_name_their_subject() {
    let mut found = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let mut is_first = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let comment = line
                .strip_prefix("///")
                .or_else(|| line.strip_prefix("//!"));
            let Some(comment) = comment else {
                is_first = true;
                continue;
            };
            let opens = |word: &str| {
                let rest = comment.trim_start().strip_prefix(word);
                rest.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_alphanumeric()))
            };
            if is_first && OPENINGS.into_iter().any(opens) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
            is_first = false;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn replaced_names_do_not_come_back() {
    let mut found = Vec::new();
    for file in files_of(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .collect();
            let is_definition = |pair: &[&str]| {
                ["struct", "enum", "trait", "type", "const"].contains(&pair[0])
                    && REPLACED.contains(&pair[1])
            };
            if words.windows(2).any(is_definition) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn replaced_names_stand_nowhere_in_the_code() {
    let mut found = Vec::new();
    for file in files_of(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let Words(words) = syn::parse_str(&text).unwrap();
        let replaced = words.into_iter().filter(|word| {
            let word = word.strip_prefix("r#").unwrap_or(word);
            REPLACED_ANYWHERE.contains(&word)
        });
        found.extend(replaced.map(|word| format!("{}: {word}", file.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The identifiers of code. Comments and literals contain none.
struct Words(Vec<String>);

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut words = Vec::new();
        input.step(|cursor| Ok(((), collect_words(*cursor, &mut words))))?;
        Ok(Self(words))
    }
}

/// Collects the identifiers from `cursor` to the end of its group, and returns that end.
fn collect_words<'a>(mut cursor: Cursor<'a>, words: &mut Vec<String>) -> Cursor<'a> {
    while !cursor.eof() {
        cursor = if let Some((word, next)) = cursor.ident() {
            words.push(word.to_string());
            next
        } else if let Some((inside, _, _, next)) = cursor.any_group() {
            collect_words(inside, words);
            next
        } else {
            let (_, next) = cursor.token_tree().unwrap();
            next
        };
    }
    cursor
}

/// Every type has a name of its own, so a search for the name finds one idea. Associated types and local aliases are left out.
#[test]
fn no_two_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files_of(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let is_indented = line.starts_with(' ');
            let mut words = line
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .filter(|word| !["", "pub", "crate", "super"].contains(word));
            let is_type = match words.next() {
                Some("struct" | "enum" | "trait") => true,
                Some("type") => !is_indented,
                _ => false,
            };
            if let (true, Some(name)) = (is_type, words.next()) {
                let place = format!("{}:{}", file.display(), number + 1);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(places.len() > 300, "{}", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// Placeholders are left out: they are names of the code.
#[test]
fn messages_use_plain_words() {
    let mut found = Vec::new();
    let mut count = 0;
    for file in files_of(Path::new("src")) {
        let is_test = |part: &OsStr| {
            ["tests", "tests.rs", "properties"]
                .iter()
                .any(|name| part == *name)
        };
        if file.iter().any(is_test) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for literal in literals(code) {
            count += 1;
            let words = words_of(literal);
            for phrase in UNPLAIN {
                if words.contains(&format!(" {phrase} ")) {
                    found.push(format!("{}: `{phrase}`: {literal}", file.display()));
                }
            }
        }
    }
    assert!(count > 2000, "{count}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn literals_are_found_and_split_into_words() {
    let code = "a(\"one \\\"two\\\"\"); // \"not\"\nb('\"', '\\'', r#\"th\"ree\"#, \"\\\\\", \"it {holds} `x`,\\\n  told\")";
    let found: Vec<&str> = literals(code).collect();
    assert_eq!(
        found,
        [
            "one \\\"two\\\"",
            "th\"ree",
            "\\\\",
            "it {holds} `x`,\\\n  told"
        ]
    );
    assert_eq!(words_of(found[3]), " it x told ");
}

/// Returns the string literals of `code`, as they are written there.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    let token = Regex::new(
        r##"(?s)//[^\n]*|'(?:\\.[^']*|[^\\'])'|\br#"(.*?)"#|\br"([^"]*)"|"((?:[^"\\]|\\.)*)""##,
    );
    let tokens: Vec<_> = token.unwrap().captures_iter(code).collect();
    tokens
        .into_iter()
        .filter_map(|token| token.iter().skip(1).flatten().next())
        .map(|literal| literal.as_str())
}

/// Returns the words of a message, in lower case, with a space around each.
fn words_of(literal: &str) -> String {
    let placeholder = Regex::new(r"\{[^{}]*\}").unwrap();
    let text = placeholder.replace_all(literal, " ").to_lowercase();
    let words = text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}
