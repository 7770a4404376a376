//! The import rules between the rooms. The table is the rule; the code is scanned for `crate::…` and `super::super::…` paths.

use crate::support::project::files_of;
use std::fs;
use std::path::Path;

/// Each room with the rooms that it may import. `run.rs`, `lib.rs`, `main.rs`, `failure.rs` and `hints.rs` import every room.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("inputs", &["domain"]),
    // `sigstore` for one type: a verified signature, which vouches for its subject.
    ("plan", &["domain", "inputs", "record", "sigstore"]),
    ("http", &["domain"]),
    ("registry", &["domain", "http"]),
    ("sigstore", &["domain", "http"]),
    ("layout", &["domain"]),
    ("record", &["domain"]),
    // Verified signatures, and the inputs that are reported as they were given.
    (
        "outcome",
        &["domain", "inputs", "plan", "record", "sigstore"],
    ),
    (
        "context",
        &["domain", "inputs", "outcome", "record", "registry"],
    ),
    ("referrers", &["context", "domain", "outcome", "registry"]),
    (
        "signatures",
        &[
            "context",
            "domain",
            "inputs",
            "outcome",
            "plan",
            "record",
            "referrers",
            "registry",
            "sigstore",
        ],
    ),
    (
        "copy",
        &[
            "context",
            "domain",
            "inputs",
            "layout",
            "outcome",
            "plan",
            "record",
            "referrers",
            "registry",
            "signatures",
            "sigstore",
        ],
    ),
    (
        "commands",
        &[
            "context",
            "copy",
            "domain",
            "inputs",
            "layout",
            "outcome",
            "plan",
            "record",
            "referrers",
            "registry",
            "signatures",
            "sigstore",
        ],
    ),
    ("report", &["domain", "inputs", "outcome", "plan", "record"]),
    ("actions", &["domain"]),
    // This room exists in tests alone, and imports every room that parses text.
    (
        "properties",
        &[
            "actions",
            "copy",
            "domain",
            "http",
            "inputs",
            "layout",
            "plan",
            "record",
            "referrers",
            "registry",
            "sigstore",
        ],
    ),
];

#[test]
fn rooms_see_only_what_the_table_allows() {
    let mut offences = Vec::new();
    for (room, allowed) in MAY_SEE {
        let files = files_of(&Path::new("src").join(room));
        assert!(
            !files.is_empty(),
            "the table has a room `{room}`, the tree has not"
        );
        // Tests set up for themselves what `run.rs` sets up for the program.
        let own = files
            .into_iter()
            .filter(|file| !file.iter().any(|part| part == "tests"));
        for file in own {
            let text = fs::read_to_string(&file).unwrap();
            for seen in rooms_seen(&text) {
                if seen != *room && !allowed.contains(&seen.as_str()) {
                    offences.push(format!("{} sees `{seen}`", file.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let rooms = fs::read_dir("src")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    for room in rooms {
        let name = room.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            MAY_SEE.iter().any(|(known, _)| *known == name),
            "`{name}` is not in the table"
        );
    }
}

#[test]
fn the_scan_sees_what_it_must() {
    let text = "use crate::domain::Digest;\nuse crate::{plan, http as web};\n/// [`crate::report::Report`]\nfn a() { crate::commands::b() }";
    assert_eq!(
        rooms_seen(text),
        ["domain", "plan", "http", "report", "commands"]
    );
}

/// Returns the rooms named after `crate::`, in code and in links of the documentation.
fn rooms_seen(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect()
    };
    let mut rooms = Vec::new();
    for behind in text.split("crate::").skip(1) {
        match behind.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap();
                rooms.extend(group.split(',').map(|entry| word(entry.trim())));
            }
            None => rooms.push(word(behind)),
        }
    }
    rooms
}
