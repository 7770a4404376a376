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
        let places = self.places();
        let is_plain = |place: &DestinationOutcome| {
            place.copied.is_empty() && place.blobs.is_empty() && place.lists.is_empty()
        };
        if places.len() < 2 && places.iter().all(is_plain) {
            return None;
        }
        let rows: Vec<Vec<String>> = places
            .iter()
            .map(|place| {
                let brought = brought_text(place);
                vec![
                    code(&place.repository.to_string()),
                    self.place_word(place).to_owned(),
                    brought,
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
            .flat_map(|other| other.places.iter().map(move |place| (other, place)))
            .map(|(other, place)| {
                vec![
                    code(&place.repository.at(&other.digest).to_string()),
                    self.place_word(place).to_owned(),
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
        let copied = if self.outcome.planned {
            "To&nbsp;be&nbsp;copied"
        } else {
            "Copied"
        };
        let table = table(&["Referrer", "Type", "Of", "Verified", copied], &rows);
        let more = match referrers.len().saturating_sub(REFERRERS_SHOWN) {
            0 => String::new(),
            more => format!("\nand {more} more\n"),
        };
        let content = format!("{table}{more}");
        (!rows.is_empty()).then(|| folded("Referrers", rows.len(), &content))
    }

    fn place_word(&self, place: &DestinationOutcome) -> &'static str {
        match place.state {
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
fn brought_text(place: &DestinationOutcome) -> String {
    let manifests = place.copied.iter().map(short);
    let blobs = place
        .blobs
        .iter()
        .map(|blob| format!("{} (blob)", short(blob)));
    let lists = place
        .lists
        .iter()
        .map(|tag| format!("{} (list)", code(tag)));
    let count = place.copied.len() + place.blobs.len() + place.lists.len();
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
