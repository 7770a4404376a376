//! The counts and measurements of tests, written to the folder in the variable `PROOF`.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The lock for the files: many tests write sections of one file at once.
static WRITING: Mutex<()> = Mutex::new(());

/// A Markdown table that a test fills, row by row.
#[derive(Debug)]
pub struct Proof {
    file: &'static str,
    title: String,
    head: String,
    rows: String,
}

impl Proof {
    /// Begins a section of `$PROOF/<file>.md`: a table under `title`. A column that ends in ` #` contains numbers.
    pub fn new(file: &'static str, title: &str, columns: &[&str]) -> Self {
        let names: Vec<&str> = columns
            .iter()
            .map(|column| column.trim_end_matches(" #"))
            .collect();
        let rules: Vec<&str> = columns
            .iter()
            .map(|column| {
                if column.ends_with(" #") {
                    "---:"
                } else {
                    "---"
                }
            })
            .collect();
        Self {
            file,
            title: title.to_owned(),
            head: format!("| {} |\n| {} |\n", names.join(" | "), rules.join(" | ")),
            rows: String::new(),
        }
    }

    /// True if a long proof is wanted, not a sample.
    pub fn is_wanted() -> bool {
        folder().is_some()
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        for cell in cells {
            // Writing to a string cannot fail.
            let _ = write!(self.rows, "| {} ", cell.to_string().replace('|', "\\|"));
        }
        self.rows.push_str("|\n");
    }

    /// Writes the section, and replaces an earlier one with the same title. Without `PROOF` it is printed.
    pub fn end(self, summary: &str) {
        self.write(summary, |_| String::new());
    }

    /// Adds the rows to an earlier section with the same title, for a table of several tests.
    pub fn join(self) {
        self.write("", str::to_owned);
    }

    #[expect(clippy::print_stdout, reason = "who asks for no file reads it here")]
    fn write(self, summary: &str, keep: impl Fn(&str) -> String) {
        let above = format!("## {}\n\n{}", self.title, self.head);
        let Some(folder) = folder() else {
            println!("{above}{}\n{summary}", self.rows);
            return;
        };
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = folder.join(format!("{}.md", self.file));
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut kept, mut others) = (String::new(), Vec::new());
        for section in old.split_inclusive("\n\n\n").map(str::trim_end) {
            match section.strip_prefix(&above) {
                Some(rows) => kept = keep(rows),
                None => others.push(section.to_owned()),
            }
        }
        if !kept.is_empty() {
            kept.push('\n');
        }
        let section = format!("{above}{kept}{}\n{summary}", self.rows);
        others.push(section.trim_end().to_owned());
        others.retain(|section| !section.is_empty());
        others.sort_unstable();
        let text = others.join("\n\n\n") + "\n";
        std::fs::create_dir_all(&folder).expect("the folder that `PROOF` names can be made");
        std::fs::write(&path, text).expect("the folder that `PROOF` names can be written to");
    }
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("PROOF").filter(|name| !name.is_empty());
    folder.map(PathBuf::from)
}
