//! What became of the cells, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Played;
use super::ill::{Ill, Span};
use super::scene::{Command, Kind, Server};

/// Counts.
#[derive(Clone, Copy, Default)]
struct Row {
    cells: usize,
    absorbed: usize,
    converged: usize,
    excused: usize,
    broken: usize,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) requests: BTreeMap<(Command, Kind), BTreeMap<Server, u64>>,
    pub(super) took: Duration,
    by_fault: BTreeMap<(Ill, Span), Row>,
    by_scene: BTreeMap<(Command, Kind), Row>,
    errors: BTreeMap<String, usize>,
    reasons: BTreeMap<&'static str, usize>,
    /// Cells that did not come to their end.
    pub(super) broken: Vec<Played>,
}

impl Row {
    fn add(&mut self, played: &Played) {
        self.cells += 1;
        if !played.problems.is_empty() {
            self.broken += 1;
        } else if !played.reasons.is_empty() {
            self.excused += 1;
        } else if played.is_over {
            self.absorbed += 1;
        } else {
            self.converged += 1;
        }
    }

    fn text(self) -> String {
        let Self {
            cells,
            absorbed,
            converged,
            excused,
            broken,
        } = self;
        format!("{cells} | {absorbed} | {converged} | {excused} | {broken}")
    }
}

impl Tally {
    pub(super) fn add(&mut self, played: Played) {
        let cell = played.cell;
        self.by_fault
            .entry((cell.ill, cell.span))
            .or_default()
            .add(&played);
        self.by_scene
            .entry((played.command, played.kind))
            .or_default()
            .add(&played);
        for reason in &played.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if let Some(error) = &played.error {
            *self.errors.entry(shape(error)).or_default() += 1;
        }
        if !played.problems.is_empty() {
            self.broken.push(played);
        }
    }

    pub(super) fn cells(&self) -> usize {
        self.by_scene.values().map(|row| row.cells).sum()
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for ((ill, span), row) in &self.by_fault {
            let _ = writeln!(text, "| {} | {span:?} | {} |", ill.name(), row.text());
        }
        for ((command, kind), row) in &self.by_scene {
            let requests = &self.requests[&(*command, *kind)];
            let _ = writeln!(
                text,
                "| {} | {} | {requests:?} | {} |",
                command.name(),
                kind.name(),
                row.text()
            );
        }
        for (error, count) in &self.reasons {
            let _ = writeln!(text, "{count} {error}");
        }
        for (error, count) in &self.errors {
            let _ = writeln!(text, "{count} {error}");
        }
        let _ = writeln!(text, "{} s", self.took.as_secs());
        text
    }

    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for played in &self.broken {
            let Played {
                command,
                kind,
                cell,
                hit,
                code,
                ..
            } = played;
            for problem in &played.problems {
                let key = format!(
                    "{:?} {} | {:?} {:?} | {command:?} {kind:?} | {:?} {}",
                    problem.broken,
                    if problem.is_left { "left" } else { "claimed" },
                    cell.ill,
                    cell.span,
                    cell.server,
                    shape(hit)
                );
                let one = kinds.entry(key).or_insert_with(|| {
                    (
                        0,
                        format!(
                            "k={} code {code} {}\n{problem}",
                            cell.k,
                            if cell.k % 2 == 0 { "elsewhere" } else { "here" }
                        ),
                    )
                });
                one.0 += 1;
            }
        }
        for (key, (count, first)) in &kinds {
            let _ = writeln!(text, "=== {count} × {key}\n{first}");
        }
        text
    }
}

/// A text without what differs from run to run.
fn shape(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        ("sha256[:-][0-9a-f]{64}", "DIGEST"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"upload-\d+", "UPLOAD"),
        ("_state=[^ ]*", "STATE"),
        (r"[0-9a-f]{40,}", "HEX"),
    ] {
        text = regex::Regex::new(pattern)
            .unwrap()
            .replace_all(&text, name)
            .into_owned();
    }
    text
}
