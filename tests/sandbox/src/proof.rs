//! What tests counted and measured, written down where the variable `PROOF` names a folder.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Sections of one file are written by many tests at once.
static WRITING: Mutex<()> = Mutex::new(());

/// A Markdown table that a test fills, row by row.
#[derive(Debug)]
pub struct Proof {
    file: &'static str,
    title: String,
    rows: String,
}

impl Proof {
    /// Begins a section of `$PROOF/<file>.md`: a table under `title`.
    pub fn new(file: &'static str, title: &str, columns: &[&str]) -> Self {
        let rule = "| --- ".repeat(columns.len());
        Self {
            file,
            title: title.to_owned(),
            rows: format!("| {} |\n{rule}|\n", columns.join(" | ")),
        }
    }

    /// Whether a long proof is wanted, rather than a sample.
    pub fn is_wanted() -> bool {
        folder().is_some()
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[&dyn std::fmt::Display]) {
        for cell in cells {
            // Writing to a string cannot fail.
            let _ = write!(self.rows, "| {} ", cell.to_string().replace('|', "\\|"));
        }
        self.rows.push_str("|\n");
    }

    #[expect(
        clippy::print_stdout,
        reason = "the test harness shows it where a test fails, or is asked to"
    )]
    /// Writes the section, in place of an earlier one of the same title; without `PROOF` it is printed.
    pub fn end(self, summary: &str) {
        let section = format!("## {}\n\n{}\n{summary}\n", self.title, self.rows);
        let Some(folder) = folder() else {
            println!("{section}");
            return;
        };
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = folder.join(format!("{}.md", self.file));
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let head = format!("## {}\n", self.title);
        let mut sections: Vec<&str> = old
            .split_inclusive("\n\n\n")
            .map(str::trim_end)
            .filter(|section| !section.is_empty() && !section.starts_with(&head))
            .collect();
        sections.push(section.trim_end());
        sections.sort_unstable();
        let text = sections.join("\n\n\n") + "\n";
        std::fs::create_dir_all(&folder).expect("the folder that `PROOF` names can be made");
        std::fs::write(&path, text).expect("the folder that `PROOF` names can be written to");
    }
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("PROOF").filter(|name| !name.is_empty());
    folder.map(PathBuf::from)
}
