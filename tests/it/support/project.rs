//! Files of this project, and the tables in them.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the Rust files below a folder.
pub(crate) fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the text of a file.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the rows of the table in `text` whose header begins with `| head |`, as cells.
pub(crate) fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let start = format!("| {head} |");
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(&start))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().replace("\\|", "|"))
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table `{head}`");
    rows
}
