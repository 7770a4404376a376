//! The report of a preflight: its outputs, its part of the summary, its last line.

use serde_json::{Map, Value, json};

use super::Report;
use super::markdown::{code, prose, table};
use super::summary::{images_cell, short};
use crate::domain::{ImageReference, Repository};
use crate::inputs::OnExistingTag;
use crate::outcome::PreflightOutcome;
use crate::plan::{FoundTag, PreflightState, TagContents, TagImage, Verdict, is_vouched_for};

impl Report<'_> {
    /// Returns the outputs of a preflight. After a failure the state of the tags is reported too, and `proceed` is false.
    /// Then no build starts, even if the workflow does not check the outcome of the step.
    pub(super) fn preflight_outputs(
        &self,
        preflight: &PreflightOutcome,
    ) -> Vec<(&'static str, String)> {
        let proceeds = self.failure.is_none() && preflight.verdict == Some(Verdict::Proceed);
        let mut outputs = vec![
            ("proceed", proceeds.to_string()),
            ("states", states(preflight).to_string()),
        ];
        if let (Some(source), None) = (source(preflight), &self.failure) {
            let image = source.repository.to_string();
            let digest = source.reference.as_ref().map(ToString::to_string);
            outputs.extend(digest.map(|digest| ("digest", digest)));
            outputs.push(("image", image));
            outputs.push(("reference", source.to_string()));
            outputs.push(("source", source.to_string()));
            outputs.push(("result", "skipped".to_owned()));
        }
        outputs
    }

    /// Returns the last line of the log, if nothing prevents the build.
    pub(super) fn preflight_line(preflight: &PreflightOutcome) -> String {
        let (taken, all) = (taken_count(preflight), preflight.found.len());
        match (source(preflight), taken) {
            (Some(source), _) => format!("skip: `{source}` is published already"),
            (None, 0) if is_new(preflight) => {
                format!(
                    "proceed: none of {} was found, but access is denied",
                    counted(all)
                )
            }
            (None, 0) => format!("proceed: none of {} is taken", counted(all)),
            (None, taken) => format!("proceed, with {taken} of {} taken", counted(all)),
        }
    }

    /// The result and the table.
    pub(super) fn preflight_headline(&self, preflight: &PreflightOutcome) -> String {
        let mut names = repositories(preflight)
            .into_iter()
            .map(|repository| code(&repository.to_string()));
        let first = names.next().unwrap_or_default();
        let others = match names.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let (mark, word) = match (&self.failure, &preflight.verdict) {
            (Some(_), Some(Verdict::Taken)) => (":x:", "published already"),
            (Some(_), Some(Verdict::Differ)) => (":x:", "published already, with different images"),
            (Some(_), Some(Verdict::Unvouched)) => (":x:", "published already, not verified"),
            (Some(_), _) | (None, None) => (":x:", "could not be read"),
            (None, Some(Verdict::Skip(..))) => (":fast_forward:", "published already"),
            (None, Some(_)) if taken_count(preflight) > 0 => {
                (":warning:", "published already, continuing")
            }
            (None, Some(_)) if is_new(preflight) => (":warning:", "free to publish, not confirmed"),
            (None, Some(_)) => (":white_check_mark:", "free to publish"),
        };
        let source = source(preflight).map_or(String::new(), |source| {
            format!(
                "\n**skipped** · {}\n\nNo build is needed. `seal` with this as `digests` writes the missing tags.\n",
                code(&source.to_string())
            )
        });
        format!("### {mark} {first}{others} {word}\n{source}")
    }

    /// Every tag with its state.
    pub(super) fn preflight_section(preflight: &PreflightOutcome) -> String {
        let several = repositories(preflight).len() > 1;
        let row = |FoundTag { tag, state }: &FoundTag| {
            let name = if several {
                tag.to_string()
            } else {
                tag.tag.to_string()
            };
            let digest = state.contents().map(|contents| short(&contents.digest));
            vec![
                code(&name),
                format!("{}&nbsp;{}", mark(state, preflight), state.word()),
                digest.unwrap_or_else(|| "–".to_owned()),
                meaning(state, preflight),
            ]
        };
        let rows: Vec<Vec<String>> = preflight.found.iter().map(row).collect();
        let head = ["Tag", "State", "Digest", "Meaning"];
        format!("#### Tags\n\n{}", table(&head, &rows))
    }
}

/// The state of each tag and its digest, by full name.
fn states(preflight: &PreflightOutcome) -> Value {
    let state = |FoundTag { tag, state }: &FoundTag| {
        let digest = state.contents().map(|contents| &contents.digest);
        let state = json!({"state": state.word(), "digest": digest});
        (tag.to_string(), state)
    };
    let states: Map<String, Value> = preflight.found.iter().map(state).collect();
    Value::Object(states)
}

/// The reference under which the image is already published.
fn source(preflight: &PreflightOutcome) -> Option<ImageReference> {
    let Some(Verdict::Skip(tag, digest)) = &preflight.verdict else {
        return None;
    };
    Some(tag.repository.at(digest))
}

fn taken_count(preflight: &PreflightOutcome) -> usize {
    let contents = preflight.found.iter();
    contents
        .filter(|found| found.state.contents().is_some())
        .count()
}

fn is_new(preflight: &PreflightOutcome) -> bool {
    let mut found = preflight.found.iter();
    found.any(|found| matches!(found.state, PreflightState::New(_)))
}

fn repositories(preflight: &PreflightOutcome) -> Vec<&Repository> {
    let mut repositories = Vec::new();
    for FoundTag { tag, .. } in &preflight.found {
        if !repositories.contains(&&tag.repository) {
            repositories.push(&tag.repository);
        }
    }
    repositories
}

fn counted(tags: usize) -> String {
    let plural = if tags == 1 { "" } else { "s" };
    format!("{tags} tag{plural}")
}

fn mark(state: &PreflightState, preflight: &PreflightOutcome) -> &'static str {
    match (state, preflight.policy) {
        (
            PreflightState::Present(contents) | PreflightState::Same(contents),
            OnExistingTag::Skip,
        ) if is_unvouched(contents, preflight) => ":x:",
        (PreflightState::Absent, _)
        | (PreflightState::Present(_) | PreflightState::Same(_), OnExistingTag::Skip) => {
            ":white_check_mark:"
        }
        (PreflightState::New(_), _)
        | (
            PreflightState::Present(_) | PreflightState::Same(_) | PreflightState::Different(..),
            OnExistingTag::Warn,
        ) => ":warning:",
        (PreflightState::Present(_) | PreflightState::Same(_), OnExistingTag::Fail)
        | (PreflightState::Different(..), OnExistingTag::Fail | OnExistingTag::Skip) => ":x:",
        (PreflightState::Unknown(_), _) => ":grey_question:",
    }
}

/// True if signatures of it were required, and nothing vouches for it.
fn is_unvouched(contents: &TagContents, preflight: &PreflightOutcome) -> bool {
    preflight.verdict == Some(Verdict::Unvouched)
        && !is_vouched_for(&contents.digest, &preflight.images)
}

fn published_text(contents: &TagContents, preflight: &PreflightOutcome) -> String {
    let mut images = preflight.images.iter();
    let is_known =
        |image: &&TagImage| *image.manifest.digest() == contents.digest && image.vouched.is_some();
    match images.find(is_known).map(|image| &image.signer) {
        Some(Some(identity)) => format!("is published, signed by {}", code(identity)),
        Some(None) => "is published, and is in `digests`".to_owned(),
        None => "is published".to_owned(),
    }
}

fn meaning(state: &PreflightState, preflight: &PreflightOutcome) -> String {
    match (state, preflight.policy) {
        (PreflightState::Absent, _) if source(preflight).is_some() => {
            "missing: `seal` will write it".to_owned()
        }
        (PreflightState::Absent, _) => "free".to_owned(),
        (PreflightState::Present(_), OnExistingTag::Fail) => "taken".to_owned(),
        (
            PreflightState::Present(contents) | PreflightState::Same(contents),
            OnExistingTag::Skip,
        ) if is_unvouched(contents, preflight) => {
            "not verified: it is neither signed nor in `digests`".to_owned()
        }
        (PreflightState::Present(contents), OnExistingTag::Skip) => {
            published_text(contents, preflight)
        }
        (PreflightState::Present(_), OnExistingTag::Warn) => {
            "exists; `seal` will refuse to overwrite it with other images".to_owned()
        }
        (PreflightState::Same(_), _) => "points to the images of `digests`".to_owned(),
        (PreflightState::Different(contents, why), _) => {
            let why = why.as_ref();
            let why = why.map_or(String::new(), |why| format!("<br>{}", prose(why)));
            format!("points to other images: {}{why}", images_cell(&contents.images))
        }
        (PreflightState::New(_), _) => {
            "access is denied, although the token permits pushing: the repository probably does not exist yet"
                .to_owned()
        }
        (PreflightState::Unknown(why), _) => prose(why),
    }
}
