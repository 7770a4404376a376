//! The report of a cleanup: its outputs, its part of the summary, its last line.

use serde_json::{Value, json};

use super::Report;
use super::markdown::{code, prose, table};
use super::summary::short;
use crate::domain::Repository;
use crate::outcome::{CleanupEnd, CleanupOutcome, CleanupTag};
use crate::plan::{CleanupStep, LeaveReason, Rollback};

impl Report<'_> {
    /// Returns the whole summary.
    pub(super) fn cleanup_summary(&self, cleanup: &CleanupOutcome) -> String {
        let mut sections = vec![self.cleanup_headline(cleanup)];
        sections.extend(
            self.failure
                .as_ref()
                .map(|failure| self.failure_section(failure)),
        );
        sections.extend(self.cleanup_section(cleanup));
        sections.extend(self.retries_section());
        sections.join("\n")
    }

    /// Returns the outputs of a cleanup. The remaining tags are reported after a failure too, with the tags not yet
    /// processed.
    pub(super) fn cleanup_outputs(&self, cleanup: &CleanupOutcome) -> Vec<(&'static str, String)> {
        let remaining: Vec<Value> = self.remaining(cleanup).map(remaining_json).collect();
        vec![
            ("remaining", json!(remaining).to_string()),
            ("record", self.record.to_owned()),
        ]
    }

    /// Returns the last line of the log.
    pub(super) fn cleanup_line(&self, cleanup: &CleanupOutcome) -> String {
        let (done, open) = (
            count(cleanup, &CleanupEnd::Done),
            count(cleanup, &CleanupEnd::Open),
        );
        match self.remaining(cleanup).count() {
            0 if cleanup.unvouched.is_some() => "none of the tags exists".to_owned(),
            remaining if cleanup.unvouched.is_some() => {
                format!(
                    "nothing was reverted; {} to be checked manually",
                    counted(remaining)
                )
            }
            _ if self.outcome.planned => format!("planned: {} to revert", counted(open)),
            0 if done == 0 => "nothing to revert".to_owned(),
            0 => format!("reverted: {}", counted(done)),
            remaining => format!(
                "reverted: {}; {} to be reverted manually",
                counted(done),
                counted(remaining)
            ),
        }
    }

    /// The result, and the manual steps if tags remain.
    fn cleanup_headline(&self, cleanup: &CleanupOutcome) -> String {
        let mut names = repositories(cleanup).into_iter();
        let first = names.next().map_or(String::new(), |repository| {
            format!(" {}", code(&repository.to_string()))
        });
        let others = match names.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let remaining: Vec<&CleanupTag> = self.remaining(cleanup).collect();
        let (mark, word) = match &self.failure {
            Some(_) => (":x:", "not cleaned up"),
            None if cleanup.unvouched.is_some() => (":warning:", "left unchanged"),
            None if self.outcome.planned => (":memo:", "would be cleaned up"),
            None if !remaining.is_empty() => (":warning:", "partly reverted"),
            None => (":white_check_mark:", "cleaned up"),
        };
        let mut text = format!("### {mark}{first}{others} {word}\n");
        if let Some(why) = &cleanup.unvouched {
            text.extend(["\nNo tag is deleted or moved: ", &prose(why), ".\n"]);
        }
        if !remaining.is_empty() {
            text.push_str("\n> [!WARNING]\n> Manual steps:\n");
            for tag in remaining {
                text.push_str(&hand_line(tag));
            }
        }
        text
    }

    /// Every tag and its result.
    fn cleanup_section(&self, cleanup: &CleanupOutcome) -> Option<String> {
        let several = repositories(cleanup).len() > 1;
        let row = |tag: &CleanupTag| {
            let name = if several {
                tag.tag.to_string()
            } else {
                tag.tag.tag.to_string()
            };
            let (word, current, why) = self.row(tag);
            vec![code(&name), word.replace(' ', "&nbsp;"), current, why]
        };
        let rows: Vec<Vec<String>> = cleanup.tags.iter().map(row).collect();
        let head = ["Tag", "Result", "Digest", "Why"];
        (!rows.is_empty()).then(|| format!("#### Tags\n\n{}", table(&head, &rows)))
    }

    fn row(&self, tag: &CleanupTag) -> (&'static str, String, String) {
        let wrote = tag.current().map_or("–".to_owned(), short);
        let before = tag.rollback().and_then(Rollback::before);
        match (&tag.end, before) {
            (CleanupEnd::Done, None) => (
                ":wastebasket: deleted",
                wrote,
                "did not exist before".to_owned(),
            ),
            (CleanupEnd::Done, Some(before)) => (
                ":leftwards_arrow_with_hook: restored",
                short(before),
                format!("the run had moved it to {wrote}"),
            ),
            (CleanupEnd::Remains { why, .. }, _) => (":warning: remains", wrote, prose(why)),
            (CleanupEnd::Open, _) if self.outcome.planned => {
                let to = before.map_or("would be deleted".to_owned(), |before| {
                    format!("would be restored to {}", short(before))
                });
                (":memo: to be reverted", wrote, to)
            }
            (CleanupEnd::Open, _) => (
                ":hourglass: not reverted",
                wrote,
                "the run ended before".to_owned(),
            ),
            (CleanupEnd::Left, _) => match &tag.step {
                CleanupStep::Leave(LeaveReason::Moved(digest)) => (
                    ":white_check_mark: left unchanged",
                    short(digest),
                    "somebody else moved it".to_owned(),
                ),
                CleanupStep::Leave(reason) => (
                    ":white_check_mark: left unchanged",
                    wrote,
                    reason.to_string(),
                ),
                CleanupStep::Rollback(_)
                | CleanupStep::Unknown(..)
                | CleanupStep::Manual { .. } => {
                    (":white_check_mark: left unchanged", wrote, String::new())
                }
            },
        }
    }

    /// Returns the tags that still had the run's digest at the last read, or were not read.
    fn remaining<'a>(
        &self,
        cleanup: &'a CleanupOutcome,
    ) -> impl Iterator<Item = &'a CleanupTag> + use<'a> {
        let planned = self.outcome.planned;
        cleanup.tags.iter().filter(move |tag| match tag.end {
            CleanupEnd::Remains { .. } => true,
            CleanupEnd::Open => !planned,
            CleanupEnd::Left | CleanupEnd::Done => false,
        })
    }
}

fn remaining_json(tag: &CleanupTag) -> Value {
    let before = tag.rollback().and_then(Rollback::before);
    let (why, steps) = reason(tag);
    json!({
        "tag": tag.tag.to_string(),
        "registry": tag.tag.repository.host().to_string(),
        "digest": tag.current(),
        "before": before,
        "why": why,
        "steps": steps,
    })
}

fn hand_line(tag: &CleanupTag) -> String {
    let (why, steps) = reason(tag);
    let digest = tag.current();
    let digest = digest.map(|digest| format!(" ({})", code(&digest.to_string())));
    format!(
        "> - {}{}: {}  \n>   {}\n",
        code(&tag.tag.to_string()),
        digest.unwrap_or_default(),
        prose(&why),
        prose(&steps)
    )
}

fn reason(tag: &CleanupTag) -> (String, String) {
    match &tag.end {
        CleanupEnd::Remains { why, steps } => (why.clone(), steps.clone()),
        CleanupEnd::Left | CleanupEnd::Open | CleanupEnd::Done => {
            ("the run ended before".to_owned(), tag.manual_steps_unread())
        }
    }
}

fn count(cleanup: &CleanupOutcome, end: &CleanupEnd) -> usize {
    cleanup.tags.iter().filter(|tag| tag.end == *end).count()
}

fn repositories(cleanup: &CleanupOutcome) -> Vec<&Repository> {
    let mut repositories = Vec::new();
    for tag in &cleanup.tags {
        if !repositories.contains(&&tag.tag.repository) {
            repositories.push(&tag.tag.repository);
        }
    }
    repositories
}

fn counted(tags: usize) -> String {
    let plural = if tags == 1 { "" } else { "s" };
    format!("{tags} tag{plural}")
}
