//! The words of the code: how doc comments open, and names that have been replaced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
