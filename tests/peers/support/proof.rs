//! Rows of `.github/PROOF.md`: printed, and kept in the folder that `PROOF` names, from which `tests/proof` puts them there.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Whether all of it is asked for and not a sample.
pub(crate) fn is_whole() -> bool {
    folder().is_some()
}

/// Adds a row to `table`, which begins with `head`. A column that ends in `#` holds numbers.
pub(crate) fn row(table: &str, head: &[&str], cells: &[&dyn Display]) {
    assert_eq!(head.len(), cells.len(), "{table}");
    let join = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let titles = head
        .iter()
        .map(|title| title.trim_end_matches(" #").to_owned());
    let rule = head
        .iter()
        .map(|title| if title.ends_with('#') { "---:" } else { "---" })
        .map(ToOwned::to_owned);
    let head = format!("{}\n{}\n", join(titles.collect()), join(rule.collect()));
    let line = join(cells.iter().map(ToString::to_string).collect());
    println!("{head}{line}");
    let Some(folder) = folder() else { return };
    let path = folder.join(table).with_extension("md");
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let head = if is_new { head } else { String::new() };
    writeln!(file, "{head}{line}").unwrap();
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("PROOF").map(PathBuf::from)
}
