//! A table of the results of each case, in which every cell is checked. It is printed whole even if cells are wrong.

/// The expected result: success, or a failure whose message contains this.
pub(crate) type Expected = Result<(), &'static str>;

/// The actual result: success, or a failure with this whole message.
pub(crate) type Seen = Result<(), String>;

/// Rows of cells, and the unexpected cells.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Vec<Cell>)>,
    wrong: Vec<String>,
}

struct Cell {
    column: &'static str,
    text: String,
}

impl Table {
    /// Begins a row.
    pub(crate) fn begin(&mut self, row: &str) {
        self.rows.push((row.to_owned(), Vec::new()));
    }

    /// Adds the result of `column` to the row. Several results of one column share a cell, and a wrong one stays in it.
    pub(crate) fn see(&mut self, column: &'static str, expected: Expected, seen: &Seen) {
        let (row, cells) = self.rows.last_mut().expect("a row was begun");
        let wanted = expected.map_or_else(|words| format!("no: {words}"), |()| "yes".to_owned());
        let text = match (expected, seen) {
            (Ok(()), Ok(())) => wanted,
            (Err(words), Err(said)) if said.contains(words) => wanted,
            (_, seen) => {
                let seen = seen.as_ref().err().map_or("yes", String::as_str);
                let wrong = format!("WRONG {row} | {column}: expected is {wanted}\nseen is {seen}");
                self.wrong.push(wrong);
                "WRONG".to_owned()
            }
        };
        match cells.last_mut() {
            Some(cell) if cell.column == column => {
                if cell.text != "WRONG" {
                    cell.text = text;
                }
            }
            _ => cells.push(Cell { column, text }),
        }
    }

    /// Appends the rows of another table.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.wrong.extend(other.wrong);
        self
    }

    /// Prints the whole table, with `names` as the heads of the row names, and fails if a cell is wrong.
    pub(crate) fn end(self, names: &str) {
        let longest = self.rows.iter().map(|(_, cells)| cells);
        let longest = longest.max_by_key(|cells| cells.len()).unwrap();
        let columns: Vec<&str> = longest.iter().map(|cell| cell.column).collect();
        println!("\n| {names} | {} |", columns.join(" | "));
        println!(
            "|{}",
            " --- |".repeat(names.matches('|').count() + 1 + columns.len())
        );
        for (row, cells) in &self.rows {
            let cells: Vec<&str> = cells.iter().map(|cell| cell.text.as_str()).collect();
            println!("| {row} | {} |", cells.join(" | "));
        }
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n\n"));
    }
}
