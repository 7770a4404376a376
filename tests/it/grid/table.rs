//! The table of results: cells, counted by fault, and by command and registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::axes::{Command, Server};
use super::faults::{GridFault, Span};
use super::kinds::Kind;
use super::{PARTS, Played};

/// The maximum number of cells reported as not converged.
const TOLD: usize = 50;

/// Counts of cells.
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
    /// The number of parts that were played.
    pub(super) parts: usize,
    pub(super) took: Duration,
    by_fault: BTreeMap<(GridFault, Span), Row>,
    by_setup: BTreeMap<(Command, Kind), Row>,
    excuses: BTreeMap<&'static str, usize>,
    broken: Vec<String>,
}

impl Row {
    fn add(&mut self, played: &Played) {
        self.cells += 1;
        let count = if !played.problems.is_empty() {
            &mut self.broken
        } else if !played.excuses.is_empty() {
            &mut self.excused
        } else if played.is_over {
            &mut self.absorbed
        } else {
            &mut self.converged
        };
        *count += 1;
    }

    fn text(self) -> String {
        let counts = [
            self.cells,
            self.absorbed,
            self.converged,
            self.excused,
            self.broken,
        ];
        counts.map(|count| count.to_string()).join(" | ")
    }
}

impl Tally {
    pub(super) fn add(&mut self, played: &Played) {
        let fault = (played.cell.fault, played.cell.span);
        self.by_fault.entry(fault).or_default().add(played);
        let setup = (played.command, played.kind);
        self.by_setup.entry(setup).or_default().add(played);
        for excuse in &played.excuses {
            *self.excuses.entry(excuse).or_default() += 1;
        }
        self.broken
            .extend((!played.problems.is_empty()).then(|| played.to_string()));
    }

    pub(super) fn cells(&self) -> usize {
        self.by_setup.values().map(|row| row.cells).sum()
    }

    /// Returns the number of cells that did not converge.
    pub(super) fn broken(&self) -> usize {
        self.broken.len()
    }

    /// Returns the cells that did not converge, as text.
    pub(super) fn told(&self) -> String {
        let all = self.broken.iter().take(TOLD);
        all.map(String::as_str).collect::<Vec<_>>().join("\n\n")
    }

    /// Returns the whole table, as Markdown.
    pub(super) fn text(&self) -> String {
        const COUNTS: &str = "cells | got over it | failed, next run converged | no better possible | not converged |";
        const RULES: &str = "---: | ---: | ---: | ---: | ---: |";
        let mut text = format!(
            "## Parts of the grid: {} of {PARTS}\n\n{} cells, {} not converged, {} s.\n",
            self.parts,
            self.cells(),
            self.broken(),
            self.took.as_secs(),
        );
        let _ = writeln!(text, "\n| fault | lasts | {COUNTS}\n| --- | --- | {RULES}");
        for ((fault, span), row) in &self.by_fault {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                fault.name(),
                span.name(),
                row.text()
            );
        }
        let _ = writeln!(
            text,
            "\n| command | registry | requests: registry, source, Sigstore | {COUNTS}\n| --- | --- | --- | {RULES}"
        );
        for (setup, row) in &self.by_setup {
            let (command, kind) = (setup.0.name(), setup.1.name());
            let requests: Vec<String> = self.requests[setup].values().map(u64::to_string).collect();
            let requests = requests.join(", ");
            let _ = writeln!(text, "| {command} | {kind} | {requests} | {} |", row.text());
        }
        let _ = writeln!(
            text,
            "\n| cells | why it cannot be any better |\n| ---: | --- |"
        );
        for (excuse, count) in &self.excuses {
            let _ = writeln!(text, "| {count} | {excuse} |");
        }
        text
    }
}
