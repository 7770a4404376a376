//! Standard output: workflow commands in the runner, plain text on a terminal. Nothing else prints.

use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::commands;
use super::output_queue::OutputQueue;
use crate::domain::Event;

/// Returns to the start of the line and clears it.
const CLEAR_LINE: &str = "\r\u{1b}[2K";
/// Work that ends sooner gets no progress line.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);

/// The only writer to standard output.
#[derive(Debug)]
pub struct Console {
    style: Style,
    open: Mutex<Option<(String, Instant)>>,
    output: OutputQueue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// GitHub's runner reads the output.
    Actions,
    /// The output is a terminal.
    Terminal,
    /// The output is a file or another program.
    Plain,
}

impl Console {
    /// Creates the console for the runner, a terminal or a plain stream.
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
            output: OutputQueue::default(),
        }
    }

    /// Reports whether GitHub's runner reads the output.
    #[must_use]
    pub fn is_in_actions(&self) -> bool {
        self.style == Style::Actions
    }

    /// Prints an event in the console's style.
    pub fn print_event(&self, event: &Event) {
        match event {
            Event::Step(name) => self.step(name),
            Event::Info(text) => self.line(text),
            Event::Warning(text) => self.warn(text),
            Event::Retry { what, why, wait } => {
                let seconds = wait.as_secs_f64();
                self.line(&format!("retry in {seconds:.1} s: {what}: {why}"));
            }
            Event::Mask(secret) => self.mask(secret.expose()),
            Event::Request(request) => self.line(&request.to_string()),
            Event::Limit(limit) => self.line(&limit.to_string()),
        }
    }

    /// Opens a group for the work that begins now, and closes the previous one.
    pub fn step(&self, name: &str) {
        self.close();
        let text = commands::plain(name);
        match self.style {
            Style::Actions => self.print(&format!("::group::{}", commands::message(&text))),
            Style::Terminal => self.print(&format!("\u{1b}[1m{text}\u{1b}[0m")),
            Style::Plain => self.print(&format!("{text}:")),
        }
        if let Ok(mut open) = self.open.lock() {
            *open = Some((text, Instant::now()));
        }
    }

    /// Prints on a terminal how long the current work has taken. The next line replaces this one.
    pub fn tick(&self) {
        let open = self.open.lock().ok().and_then(|open| open.clone());
        let Some((name, since)) = open.filter(|_| self.style == Style::Terminal) else {
            return;
        };
        if since.elapsed() >= PROGRESS_AFTER {
            let seconds = since.elapsed().as_secs();
            self.output
                .push(format!("{CLEAR_LINE}  … {name}, {seconds} s"));
        }
    }

    /// Closes the open group.
    pub fn close(&self) {
        let was_open = self.open.lock().is_ok_and(|mut open| open.take().is_some());
        if was_open && self.style == Style::Actions {
            self.print("::endgroup::");
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
            self.print(&format!("{indent}{line}"));
        }
    }

    /// Prints a warning, which the runner also puts on the run's page.
    pub fn warn(&self, text: &str) {
        match self.style {
            Style::Actions => self.print(&format!(
                "::warning::{}",
                commands::message(&commands::plain(text))
            )),
            Style::Terminal => self.print(&format!(
                "\u{1b}[33mwarning:\u{1b}[0m {}",
                commands::plain(text)
            )),
            Style::Plain => self.print(&format!("warning: {}", commands::plain(text))),
        }
    }

    /// Prints an error with a title, which the runner also puts on the run's page.
    pub fn error(&self, title: &str, text: &str) {
        self.close();
        let text = commands::plain(text);
        match self.style {
            Style::Actions => {
                let title = commands::property(&commands::plain(title));
                self.print(&format!(
                    "::error title={title}::{}",
                    commands::message(&text)
                ));
            }
            Style::Terminal => self.print(&format!("\u{1b}[31merror:\u{1b}[0m {text}")),
            Style::Plain => self.print(&format!("error: {text}")),
        }
    }

    /// Makes the runner hide a secret in all output. Prints nothing outside of the runner.
    pub fn mask(&self, secret: &str) {
        if self.style == Style::Actions {
            // A multi-line value is masked line by line: the runner matches single lines.
            for line in secret.lines().filter(|line| !line.trim().is_empty()) {
                self.print(&format!("::add-mask::{}", commands::message(line)));
            }
        }
    }

    /// Waits until everything is printed, unless nobody reads it.
    pub fn finish(&self) {
        self.output.finish();
    }

    /// Prints a line.
    fn print(&self, line: &str) {
        // A progress line may be on this line.
        let clear = if self.style == Style::Terminal {
            CLEAR_LINE
        } else {
            ""
        };
        self.output.push(format!("{clear}{line}\n"));
    }
}
