//! The result for each repository, in the summary.

use super::Report;
use super::markdown::{code, prose, table};
use super::summary::{ROWS_SHOWN, folded, short};
use crate::outcome::{DestinationOutcome, DestinationState};

/// The most referrers in the summary.
const REFERRERS_SHOWN: usize = 200;

impl Report<'_> {
    /// The result for each repository, if the tags alone do not state it.
    pub(super) fn places_section(&self) -> Option<String> {
        let destinations = self.destinations();
        let is_plain = |destination: &DestinationOutcome| {
            destination.copied.is_empty()
                && destination.blobs.is_empty()
                && destination.lists.is_empty()
        };
        if destinations.len() < 2 && destinations.iter().all(is_plain) {
            return None;
        }
        let rows: Vec<Vec<String>> = destinations
            .iter()
            .map(|destination| {
                let copied = copied_text(destination);
                vec![
                    code(&destination.repository.to_string()),
                    self.state_word(destination).to_owned(),
                    copied,
                ]
            })
            .collect();
        let table = table(&["Repository", "Index", "Copied&nbsp;content"], &rows);
        Some(folded("Repositories", rows.len(), &table))
    }

    /// The images of a record besides the main image, and their results.
    pub(super) fn others_section(&self) -> Option<String> {
        let others = self.outcome.others.iter();
        let rows: Vec<Vec<String>> = others
            .flat_map(|other| {
                other
                    .destinations
                    .iter()
                    .map(move |destination| (other, destination))
            })
            .map(|(other, destination)| {
                vec![
                    code(&destination.repository.at(&other.digest).to_string()),
                    self.state_word(destination).to_owned(),
                ]
            })
            .collect();
        let table = table(&["Image", "Result"], &rows);
        (!rows.is_empty()).then(|| folded("Other images", rows.len(), &table))
    }

    /// The referrers of the published images, and whether they are verified.
    pub(super) fn referrers_section(&self) -> Option<String> {
        let referrers = &self.outcome.referrers;
        let rows: Vec<Vec<String>> = referrers
            .iter()
            .take(REFERRERS_SHOWN)
            .map(|referrer| {
                let name = match referrer.name.parse() {
                    Ok(digest) => short(&digest),
                    Err(_) => code(&referrer.name),
                };
                let verdict = match &referrer.verdict {
                    Ok(by) => format!(":white_check_mark:&nbsp;verified<br>{}", code(by)),
                    Err(why) => format!("**not&nbsp;verified**<br>{}", prose(why)),
                };
                let copied = if referrer.is_copied { "yes" } else { "no" };
                let (kind, subject) = (code(&referrer.kind), short(&referrer.subject));
                vec![name, kind, subject, verdict, copied.to_owned()]
            })
            .collect();
        let columns = [
            "Referrer",
            "Type",
            "Of",
            "Verified",
            "Part&nbsp;of&nbsp;the&nbsp;copy",
        ];
        let table = table(&columns, &rows);
        let more = match referrers.len().saturating_sub(REFERRERS_SHOWN) {
            0 => String::new(),
            more => format!("\nand {more} more\n"),
        };
        let content = format!("{table}{more}");
        (!rows.is_empty()).then(|| folded("Referrers", rows.len(), &content))
    }

    fn state_word(&self, destination: &DestinationOutcome) -> &'static str {
        match destination.state {
            DestinationState::WasThere => ":white_check_mark:&nbsp;existed",
            DestinationState::Pushed => ":sparkles:&nbsp;pushed",
            DestinationState::Lacking if self.outcome.planned => {
                ":memo:&nbsp;to&nbsp;be&nbsp;pushed"
            }
            DestinationState::Lacking => ":hourglass:&nbsp;not&nbsp;pushed",
        }
    }
}

/// The content copied to a repository, manifests first.
fn copied_text(destination: &DestinationOutcome) -> String {
    let manifests = destination.copied.iter().map(short);
    let blobs = destination
        .blobs
        .iter()
        .map(|blob| format!("{} (blob)", short(blob)));
    let lists = destination
        .lists
        .iter()
        .map(|tag| format!("{} (list)", code(tag)));
    let count = destination.copied.len() + destination.blobs.len() + destination.lists.len();
    let mut shown: Vec<String> = manifests
        .chain(blobs)
        .chain(lists)
        .take(ROWS_SHOWN)
        .collect();
    match count - shown.len() {
        _ if shown.is_empty() => return "–".to_owned(),
        0 => (),
        more => shown.push(format!("and {more} more")),
    }
    shown.join("<br>")
}
