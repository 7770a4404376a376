//! The job's summary, in the order in which a reader of the run's page needs it: result, cause, details.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::markdown::{block, code, prose, table};
use super::{FailureText, Report, ResultWord, past};
use crate::domain::Digest;
use crate::inputs::Command;
use crate::outcome::{PreflightOutcome, SignatureSource, Subject, TagOutcome};
use crate::plan::{Conflict, TagKind};
use crate::record::TagState;

/// The most rows of a table that are visible; longer tables are folded.
pub(super) const ROWS_SHOWN: usize = 40;

impl Report<'_> {
    /// Returns the summary, in GitHub's Markdown.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(preflight) = &self.outcome.preflight {
            return self.preflight_summary(preflight);
        }
        if let Some(cleanup) = &self.outcome.cleanup {
            return self.cleanup_summary(cleanup);
        }
        let mut sections = vec![self.headline()];
        sections.extend(
            self.failure
                .as_ref()
                .map(|failure| self.failure_section(failure)),
        );
        sections.extend(self.unsigned_section());
        sections.extend(self.unverified_section());
        sections.extend(self.tags_section());
        sections.extend(self.places_section());
        sections.extend(self.others_section());
        sections.extend(self.referrers_section());
        sections.extend(self.platforms_section());
        sections.extend(self.signatures_section());
        if self.failure.is_none() {
            sections.extend(self.verify_section());
        }
        sections.extend(self.retries_section());
        sections.join("\n")
    }

    fn preflight_summary(&self, preflight: &PreflightOutcome) -> String {
        let mut sections = vec![self.preflight_headline(preflight)];
        sections.extend(
            self.failure
                .as_ref()
                .map(|failure| self.failure_section(failure)),
        );
        sections.push(Self::preflight_section(preflight));
        sections.extend(self.retries_section());
        sections.join("\n")
    }

    fn headline(&self) -> String {
        let outcome = self.outcome;
        let subject = self.main_subject();
        let name = subject.as_ref().map_or(String::new(), |subject| {
            let others = match self.destinations().len() {
                0 | 1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            format!(" {}{others}", code(&subject.repository.to_string()))
        });
        let (mark, word) = match (&self.failure, self.command) {
            (Some(_), command) => (":x:", format!("not {}", past(command))),
            (None, _) if outcome.planned => (":memo:", format!("would be {}", past(self.command))),
            (None, Command::Seal | Command::Create) if !outcome.unsigned.is_empty() => {
                (":warning:", "published unsigned".to_owned())
            }
            (None, command) => (":white_check_mark:", past(command).to_owned()),
        };
        let mut text = format!("### {mark}{name} {word}\n");
        if let (Some(subject), None) = (&subject, &self.failure) {
            let result = match self.command {
                Command::Seal | Command::Create | Command::Publish => {
                    format!("**{}** · ", ResultWord::of(outcome).as_str())
                }
                Command::Sign | Command::Verify | Command::Preflight | Command::Cleanup => {
                    String::new()
                }
            };
            let _ = write!(text, "\n{result}{}\n", code(&subject.to_string()));
        }
        text
    }

    pub(super) fn failure_section(&self, failure: &FailureText) -> String {
        let block = failure_block(&failure.text, failure.hint.as_deref());
        // `verify` and `preflight` change nothing, and a line about that would read like a part of the failure. The
        // changes of a cleanup are in its table.
        if matches!(
            self.command,
            Command::Verify | Command::Preflight | Command::Cleanup
        ) {
            return block;
        }
        format!("{block}\n{}\n", prose(&self.changes_text()))
    }

    /// The changes that were made before a run failed. Whether a later run helps is for the hint to say.
    fn changes_text(&self) -> String {
        let outcome = self.outcome;
        let tags: Vec<String> = outcome
            .tags
            .iter()
            .filter(|tag| tag.state == TagState::Written)
            .map(|tag| format!("`{}`", self.tag_text(&tag.step.tag)))
            .collect();
        // A signature in several repositories counts once.
        let made = outcome.signatures.iter();
        let made = made.filter(|signature| signature.source == SignatureSource::Made);
        let made = made.map(|signature| (&signature.subject.digest, signature.location.format));
        let signatures = made.collect::<BTreeSet<_>>().len();
        match (tags.is_empty(), signatures) {
            (true, 0) => "No tag was written and nothing was signed.".to_owned(),
            (true, count) => {
                format!("No tag was written; {count} signed. A later run skips completed steps.")
            }
            (false, count) => format!(
                "Written before the failure: {}; {count} signed. A later run skips completed steps.",
                tags.join(", ")
            ),
        }
    }

    fn unsigned_section(&self) -> Option<String> {
        let unsigned = &self.outcome.unsigned;
        let (_, reason) = unsigned.first()?;
        let digests: Vec<String> = unsigned
            .iter()
            .map(|(subject, _)| code(&subject.to_string()))
            .collect();
        Some(format!(
            "> [!WARNING]\n> Unsigned, because `on-signing-failure` is `warn`: {}  \n> {}  \n> Run the job again to sign.\n",
            digests.join(", "),
            prose(reason)
        ))
    }

    fn unverified_section(&self) -> Option<String> {
        let is_unverified = self.is_unverified();
        is_unverified.then(|| {
            "> [!NOTE]\n> Nothing was verified: no identity is given (`certificate-identity`).\n".to_owned()
        })
    }

    fn tags_section(&self) -> Option<String> {
        let outcome = self.outcome;
        let mut rows: Vec<Vec<String>> = outcome
            .conflicts
            .iter()
            .map(|conflict| conflict_row(conflict, &self.tag_text(&conflict.tag)))
            .collect();
        rows.extend(outcome.tags.iter().map(|tag| self.tag_row(tag)));
        (!rows.is_empty()).then(|| {
            format!(
                "#### Tags\n\n{}",
                table(&["Tag", "Result", "Digest", "Why"], &rows)
            )
        })
    }

    fn tag_row(&self, tag: &TagOutcome) -> Vec<String> {
        let planned = self.outcome.planned;
        let step = &tag.step;
        let (word, why) = match (tag.state, &step.before, step.kind) {
            (TagState::Kept, _, TagKind::Fixed) => (
                ":white_check_mark:&nbsp;unchanged",
                "already points to the same images".to_owned(),
            ),
            (TagState::Kept, _, TagKind::Moving) if let Some(newer) = &step.newer => (
                ":white_check_mark:&nbsp;left&nbsp;unchanged",
                format!(
                    "points to `{}`, which is newer than `{}`",
                    newer.current, newer.wanted
                ),
            ),
            (TagState::Kept, _, TagKind::Moving) => (
                ":white_check_mark:&nbsp;unchanged",
                "points to it already".to_owned(),
            ),
            (TagState::Written, None, _) => (":sparkles:&nbsp;created", "did not exist".to_owned()),
            (TagState::Written, Some(before), _) => {
                (":arrow_right:&nbsp;moved", format!("was {}", whole(before)))
            }
            (TagState::Planned | TagState::Intended, None, _) if planned => (
                ":memo:&nbsp;to&nbsp;be&nbsp;written",
                "does not exist yet".to_owned(),
            ),
            (TagState::Planned | TagState::Intended, Some(before), _) if planned => (
                ":memo:&nbsp;to&nbsp;be&nbsp;written",
                format!("points to {}", whole(before)),
            ),
            (TagState::Planned, before, _) => (
                ":hourglass:&nbsp;not&nbsp;written",
                format!("the run ended before{}", held_text(before.as_ref())),
            ),
            (TagState::Intended, before, _) => (
                ":hourglass:&nbsp;unknown",
                format!(
                    "the run ended before the registry confirmed the write{}",
                    held_text(before.as_ref())
                ),
            ),
        };
        vec![
            code(&self.tag_text(&step.tag)),
            word.to_owned(),
            short(&step.after),
            why,
        ]
    }

    fn platforms_section(&self) -> Option<String> {
        let index = self.outcome.index.as_ref()?;
        let rows: Vec<Vec<String>> = index
            .platforms
            .iter()
            .map(|(platform, child)| {
                vec![code(&platform.to_string()), code(&child.digest.to_string())]
            })
            .collect();
        let table = table(&["Platform", "Digest"], &rows);
        let attested = match index.attestations.len() {
            0 => String::new(),
            1 => "\nand 1 attestation\n".to_owned(),
            count => format!("\nand {count} attestations\n"),
        };
        // Beside a conflict these are not the platforms under the tag.
        let title = if self.outcome.conflicts.is_empty() {
            "Platforms"
        } else {
            "Wanted"
        };
        Some(folded(title, rows.len(), &format!("{table}{attested}")))
    }

    fn signatures_section(&self) -> Option<String> {
        let rows: Vec<Vec<String>> = self
            .outcome
            .signatures
            .iter()
            .map(|signature| {
                let word = match (self.command, signature.source) {
                    (Command::Verify, _) => ":white_check_mark:&nbsp;verified",
                    (_, SignatureSource::Made) => ":sparkles:&nbsp;signed",
                    (_, SignatureSource::Copied) => ":sparkles:&nbsp;stored&nbsp;here&nbsp;too",
                    (_, SignatureSource::Found) => {
                        ":white_check_mark:&nbsp;skipped,&nbsp;was&nbsp;signed"
                    }
                };
                let index = signature
                    .signer
                    .log_index
                    .map_or("–".to_owned(), |index| index.to_string());
                vec![
                    self.place_text(&signature.subject),
                    word.to_owned(),
                    signature.location.format.to_string(),
                    code(&signature.signer.identity),
                    index,
                ]
            })
            .collect();
        let head = ["Signed", "Result", "Format", "Identity", "Log&nbsp;index"];
        (!rows.is_empty()).then(|| folded("Signatures", rows.len(), &table(&head, &rows)))
    }

    /// A digest, with its repository if there are several.
    fn place_text(&self, subject: &Subject) -> String {
        let digest = short(&subject.digest);
        if self.destinations().len() > 1 {
            format!("{digest}<br>{}", code(&subject.repository.to_string()))
        } else {
            digest
        }
    }

    fn verify_section(&self) -> Option<String> {
        let command = self.verify_command()?;
        Some(format!(
            "#### Verify it yourself\n\n{}",
            block("shell", &command)
        ))
    }

    pub(super) fn retries_section(&self) -> Option<String> {
        let mut counted: Vec<(&super::RetryText, usize)> = Vec::new();
        for retry in self.retries {
            match counted.iter_mut().find(|(known, _)| *known == retry) {
                Some((_, count)) => *count += 1,
                None => counted.push((retry, 1)),
            }
        }
        let rows: Vec<Vec<String>> = counted
            .iter()
            .take(ROWS_SHOWN)
            .map(|(retry, count)| vec![code(&retry.what), prose(&retry.why), format!("{count} ×")])
            .collect();
        (!rows.is_empty()).then(|| {
            format!(
                "<details><summary>Retries ({})</summary>\n\n{}\n</details>\n",
                self.retries.len(),
                table(&["What", "Why", "Times"], &rows)
            )
        })
    }
}

/// Returns an error, its causes and its advice as a highlighted block.
#[must_use]
pub fn failure_block(text: &str, hint: Option<&str>) -> String {
    let mut block = String::from("> [!CAUTION]\n");
    for line in text.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(block, "> {}  ", prose(line));
    }
    if let Some(hint) = hint {
        let _ = write!(block, ">\n> **What to do:** {}\n", prose(hint));
    }
    block
}

fn conflict_row(conflict: &Conflict, tag: &str) -> Vec<String> {
    let found = images_cell(&conflict.images);
    let why = conflict.difference.text();
    let why = why.map_or(String::new(), |why| format!("<br>{}", prose(&why)));
    vec![
        code(tag),
        ":x:&nbsp;conflict".to_owned(),
        short(&conflict.digest),
        format!("points to {found}{why}"),
    ]
}

/// The platforms and digests of an image from elsewhere, in one cell.
pub(super) fn images_cell(images: &[(String, Digest)]) -> String {
    let mut found: Vec<String> = images
        .iter()
        .take(ROWS_SHOWN)
        .map(|(platform, digest)| format!("{} {}", code(platform), short(digest)))
        .collect();
    if images.len() > found.len() {
        found.push(format!("and {} more", images.len() - found.len()));
    }
    if found.is_empty() {
        "no platforms".to_owned()
    } else {
        found.join("<br>")
    }
}

fn held_text(before: Option<&Digest>) -> String {
    before.map_or(String::new(), |before| {
        format!("; it pointed to {}", whole(before))
    })
}

/// A digest that nothing else in the summary and the outputs names.
fn whole(digest: &Digest) -> String {
    code(&digest.to_string())
}

/// The start of a digest, enough to compare. The full digest is elsewhere in the summary or the outputs.
pub(super) fn short(digest: &Digest) -> String {
    code(&format!(
        "{}:{}",
        digest.algorithm(),
        digest.hex().get(..12).unwrap_or_default()
    ))
}

pub(super) fn folded(title: &str, rows: usize, content: &str) -> String {
    if rows <= ROWS_SHOWN {
        format!("#### {title}\n\n{content}")
    } else {
        format!("<details><summary><b>{title}</b> ({rows})</summary>\n\n{content}\n</details>\n")
    }
}
