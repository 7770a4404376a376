//! The report of a preflight: its outputs, its part of the summary, its last line.

use serde_json::{Map, Value, json};

use super::Report;
use super::markdown::{code, prose, table};
use super::summary::{images_text, short};
use crate::domain::{ImageReference, Repository};
use crate::inputs::OnExistingTag;
use crate::outcome::PreflightOutcome;
use crate::plan::{FoundTag, Held, HeldImage, TagAnswer, Verdict, is_vouched_for};

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
        let (held, all) = (held(preflight), preflight.found.len());
        match (source(preflight), held) {
            (Some(source), _) => format!("skip: `{source}` is published already"),
            (None, 0) if is_new(preflight) => {
                format!(
                    "proceed: none of {} was found, but access is denied",
                    counted(all)
                )
            }
            (None, 0) => format!("proceed: none of {} is taken", counted(all)),
            (None, held) => format!("proceed, with {held} of {} taken", counted(all)),
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
            (None, Some(_)) if held(preflight) > 0 => {
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
        let row = |FoundTag { tag, answer }: &FoundTag| {
            let name = if several {
                tag.to_string()
            } else {
                tag.tag.to_string()
            };
            let digest = answer.held().map(|held| short(&held.digest));
            vec![
                code(&name),
                format!("{}&nbsp;{}", mark(answer, preflight), answer.word()),
                digest.unwrap_or_else(|| "–".to_owned()),
                meaning(answer, preflight),
            ]
        };
        let rows: Vec<Vec<String>> = preflight.found.iter().map(row).collect();
        let head = ["Tag", "State", "Digest", "Meaning"];
        format!("#### Tags\n\n{}", table(&head, &rows))
    }
}

/// The state of each tag and its digest, by full name.
fn states(preflight: &PreflightOutcome) -> Value {
    let state = |FoundTag { tag, answer }: &FoundTag| {
        let digest = answer.held().map(|held| &held.digest);
        let state = json!({"state": answer.word(), "digest": digest});
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

fn held(preflight: &PreflightOutcome) -> usize {
    let held = preflight.found.iter();
    held.filter(|found| found.answer.held().is_some()).count()
}

fn is_new(preflight: &PreflightOutcome) -> bool {
    let mut found = preflight.found.iter();
    found.any(|found| matches!(found.answer, TagAnswer::New(_)))
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

fn mark(answer: &TagAnswer, preflight: &PreflightOutcome) -> &'static str {
    match (answer, preflight.policy) {
        (TagAnswer::Present(held) | TagAnswer::Same(held), OnExistingTag::Skip)
            if is_unvouched(held, preflight) =>
        {
            ":x:"
        }
        (TagAnswer::Absent, _)
        | (TagAnswer::Present(_) | TagAnswer::Same(_), OnExistingTag::Skip) => ":white_check_mark:",
        (TagAnswer::New(_), _)
        | (
            TagAnswer::Present(_) | TagAnswer::Same(_) | TagAnswer::Different(..),
            OnExistingTag::Warn,
        ) => ":warning:",
        (TagAnswer::Present(_) | TagAnswer::Same(_), OnExistingTag::Fail)
        | (TagAnswer::Different(..), OnExistingTag::Fail | OnExistingTag::Skip) => ":x:",
        (TagAnswer::Unknown(_), _) => ":grey_question:",
    }
}

/// True if signatures of it were required, and nothing vouches for it.
fn is_unvouched(held: &Held, preflight: &PreflightOutcome) -> bool {
    preflight.verdict == Some(Verdict::Unvouched)
        && !is_vouched_for(&held.digest, &preflight.images)
}

fn published_text(held: &Held, preflight: &PreflightOutcome) -> String {
    let mut images = preflight.images.iter();
    let is_known =
        |image: &&HeldImage| *image.manifest.digest() == held.digest && image.vouched.is_some();
    match images.find(is_known).map(|image| &image.signer) {
        Some(Some(identity)) => format!("is published, signed by {}", code(identity)),
        Some(None) => "is published, and is in `digests`".to_owned(),
        None => "is published".to_owned(),
    }
}

fn meaning(answer: &TagAnswer, preflight: &PreflightOutcome) -> String {
    match (answer, preflight.policy) {
        (TagAnswer::Absent, _) if source(preflight).is_some() => {
            "missing: `seal` will write it".to_owned()
        }
        (TagAnswer::Absent, _) => "free".to_owned(),
        (TagAnswer::Present(_), OnExistingTag::Fail) => "taken".to_owned(),
        (TagAnswer::Present(held) | TagAnswer::Same(held), OnExistingTag::Skip)
            if is_unvouched(held, preflight) =>
        {
            "not verified: it is neither signed nor in `digests`".to_owned()
        }
        (TagAnswer::Present(held), OnExistingTag::Skip) => published_text(held, preflight),
        (TagAnswer::Present(_), OnExistingTag::Warn) => {
            "exists; `seal` will refuse to overwrite it with other images".to_owned()
        }
        (TagAnswer::Same(_), _) => "points to the images of `digests`".to_owned(),
        (TagAnswer::Different(held, why), _) => {
            let why = why.as_ref();
            let why = why.map_or(String::new(), |why| format!("<br>{}", prose(why)));
            format!("points to other images: {}{why}", images_text(&held.images))
        }
        (TagAnswer::New(_), _) => {
            "access is denied, although the token permits pushing: the repository probably does not exist yet"
                .to_owned()
        }
        (TagAnswer::Unknown(why), _) => prose(why),
    }
}
