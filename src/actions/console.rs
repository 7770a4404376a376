//! Standard output: as workflow commands in the runner, as plain words on a terminal. Nothing else prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Mutex;

use super::commands;
use crate::domain::Event;

/// The run's one voice.
#[derive(Debug)]
pub struct Console {
    style: Style,
    open: Mutex<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// GitHub's runner reads along.
    Actions,
    /// A person reads along.
    Terminal,
    /// A file or another program reads along.
    Plain,
}

impl Console {
    /// A console for where this run happens.
    #[must_use]
    pub fn new(in_actions: bool) -> Self {
        let style = match (in_actions, io::stdout().is_terminal()) {
            (true, _) => Style::Actions,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        Self {
            style,
            open: Mutex::new(None),
        }
    }

    /// Tells of an event, in the style of the place.
    pub fn tell(&self, event: &Event) {
        match event {
            Event::Phase(name) => self.phase(name),
            Event::Note(text) => self.line(text),
            Event::Warning(text) => self.warn(text),
            Event::Retry { what, why, wait } => {
                let seconds = wait.as_secs_f64();
                self.line(&format!("retry in {seconds:.1} s: {what}: {why}"));
            }
            Event::Mask(secret) => self.mask(secret.expose()),
            Event::Request(request) => self.line(&request.to_string()),
        }
    }

    /// Opens a group for the work that begins now, and closes the one before.
    pub fn phase(&self, name: &str) {
        self.close();
        let text = commands::plain(name);
        match self.style {
            Style::Actions => print(&format!("::group::{}", commands::message(&text))),
            Style::Terminal => print(&format!("\u{1b}[1m{text}\u{1b}[0m")),
            Style::Plain => print(&format!("{text}:")),
        }
        if let Ok(mut open) = self.open.lock() {
            *open = Some(text);
        }
    }

    /// Closes the open group.
    pub fn close(&self) {
        let was_open = self.open.lock().is_ok_and(|mut open| open.take().is_some());
        if was_open && self.style == Style::Actions {
            print("::endgroup::");
        }
    }

    /// Prints a text on lines of its own.
    pub fn line(&self, text: &str) {
        let inside = self.open.lock().is_ok_and(|open| open.is_some());
        let indent = if inside && self.style != Style::Actions {
            "  "
        } else {
            ""
        };
        for line in commands::plain(text).lines() {
            print(&format!("{indent}{line}"));
        }
    }

    /// Prints a warning, which the runner also shows on the run's page.
    pub fn warn(&self, text: &str) {
        match self.style {
            Style::Actions => print(&format!(
                "::warning::{}",
                commands::message(&commands::plain(text))
            )),
            Style::Terminal => print(&format!(
                "\u{1b}[33mwarning:\u{1b}[0m {}",
                commands::plain(text)
            )),
            Style::Plain => print(&format!("warning: {}", commands::plain(text))),
        }
    }

    /// Prints an error with a title, which the runner also shows on the run's page.
    pub fn error(&self, title: &str, text: &str) {
        self.close();
        let text = commands::plain(text);
        match self.style {
            Style::Actions => {
                let title = commands::property(&commands::plain(title));
                print(&format!(
                    "::error title={title}::{}",
                    commands::message(&text)
                ));
            }
            Style::Terminal => print(&format!("\u{1b}[31merror:\u{1b}[0m {text}")),
            Style::Plain => print(&format!("error: {text}")),
        }
    }

    /// Has the runner hide a secret wherever it would print it. Elsewhere nothing is printed.
    pub fn mask(&self, secret: &str) {
        if self.style == Style::Actions {
            // A multi-line value is masked line by line; the runner looks at lines.
            for line in secret.lines().filter(|line| !line.trim().is_empty()) {
                print(&format!("::add-mask::{}", commands::message(line)));
            }
        }
    }
}

/// A run must not fail because nobody listens any more.
fn print(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}
