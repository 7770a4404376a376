//! Lines on standard output, in colour on a terminal.

use std::io::{self, IsTerminal as _, Write as _};

/// The only writer to standard output here.
pub(crate) struct Terminal {
    out: io::Stdout,
    colour: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let out = io::stdout();
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { out, colour }
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Prints the heading of a step.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.painted("1", text);
        self.line(&format!("\n{text}"))
    }

    /// Prints a name and its value.
    pub(crate) fn field(&mut self, name: &str, value: &str) -> io::Result<()> {
        let name = self.painted("2", &format!("{name:<12}"));
        self.line(&format!("   {name} {value}"))
    }

    /// Prints an expectation, and whether it was met.
    pub(crate) fn expectation(&mut self, text: &str, held: bool) -> io::Result<()> {
        let mark = if held {
            self.painted("32", "✓")
        } else {
            self.painted("31", "✗")
        };
        self.line(&format!("   {mark} {text}"))
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
