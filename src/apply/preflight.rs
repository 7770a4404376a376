//! Looks at every tag before a build, and changes nothing. All that can be known is told, whatever else cannot.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::children::{Resolution, resolve_all};
use super::error::images_text;
use super::receipt::Receipt;
use super::{ApplyError, Context};
use crate::domain::{Digest, FullTag, Repository};
use crate::failure::chain_text;
use crate::inputs::{IndexType, Mode, OnExistingTag, Preflight};
use crate::plan::{
    Assembly, FoundTag, Look, Resolved, TagAnswer, Verdict, Wanted, assemble, decide_preflight,
    find_tags, images_of,
};
use crate::registry::RegistryError;

/// What a look before a build found.
#[derive(Debug)]
pub struct PreflightReceipt {
    /// Every tag, in the order of the inputs.
    pub found: Vec<FoundTag>,
    /// What it means that one exists.
    pub policy: OnExistingTag,
    /// What follows; `None` while not everything was looked at.
    pub verdict: Option<Verdict>,
}

/// What stands in the way of a build, or leaves open whether anything does.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// What tags hold cannot be known.
    #[error("{}", unknown_text(.0))]
    Unknown(Vec<(FullTag, RegistryError)>),
    /// Tags exist that must not.
    #[error("{}", held_text(.0, "exists already: it holds"))]
    Taken(Vec<FoundTag>),
    /// Tags hold different images.
    #[error("{}{}", held_text(.found, "holds"), wanted_text(.wanted.as_deref()))]
    Differ {
        /// Every tag.
        found: Vec<FoundTag>,
        /// What they were to hold, where that was said.
        wanted: Option<Vec<(String, Digest)>>,
    },
}

/// What is to be under the tags.
struct Goal {
    inputs: Vec<Resolved>,
    assembly: Assembly,
}

/// What was seen of the tags so far.
struct Sight {
    looks: Vec<(FullTag, Look)>,
    errors: Vec<(FullTag, RegistryError)>,
}

/// Looks at every tag, and says what follows.
pub(super) async fn preflight(
    context: &Context,
    preflight: &Preflight,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    context.events.phase("Look at tags");
    let mut sight = Sight::of(&preflight.tags);
    let looking = look_at_all(context, preflight, &mut sight, receipt);
    let (goal, ()) = join(goal(context, preflight), looking).await;
    let (goal, failure) = match goal {
        Ok(goal) => (goal, None),
        Err(error) => (None, Some(error)),
    };
    let mut told = told(preflight, &sight, goal.as_ref());
    say(context, &told);
    let verdict = decide_preflight(&told.found, told.policy);
    let found = told.found.clone();
    told.verdict = Some(verdict.clone()).filter(|_| failure.is_none());
    receipt.preflight = Some(told);
    if let Some(error) = failure {
        return Err(error);
    }
    let refused = match verdict {
        Verdict::Unknown => PreflightError::Unknown(sight.errors),
        Verdict::Taken => PreflightError::Taken(found),
        Verdict::Differ => PreflightError::Differ {
            found,
            wanted: goal.map(|goal| images_of(&goal.assembly.manifest)),
        },
        Verdict::Skip(..) | Verdict::Proceed => return Ok(()),
    };
    Err(refused.into())
}

/// Asks all repositories at once, and keeps the receipt up to date: one that never answers must not hide what the others
/// said when the time is up.
async fn look_at_all(
    context: &Context,
    preflight: &Preflight,
    sight: &mut Sight,
    receipt: &mut Receipt,
) {
    let mut tags: BTreeMap<&Repository, Vec<&FullTag>> = BTreeMap::new();
    for tag in &preflight.tags {
        tags.entry(&tag.repository).or_default().push(tag);
    }
    let looks = tags
        .into_iter()
        .map(|(repository, tags)| look_at(context, repository, tags));
    let mut looks: FuturesUnordered<_> = looks.collect();
    receipt.preflight = Some(told(preflight, sight, None));
    while let Some(seen) = looks.next().await {
        for (tag, seen) in seen {
            sight.note(tag, seen);
        }
        receipt.preflight = Some(told(preflight, sight, None));
    }
}

/// Looks at the tags of a repository. Where all that comes back is that it is not for us, it is asked once more with a
/// token that may push, which is what the run behind the build will do: some registries deny what is not there to who
/// may only read. Never before, and not in a dry run: Quay makes a repository when it is asked for such a token.
async fn look_at<'a>(
    context: &Context,
    repository: &Repository,
    tags: Vec<&'a FullTag>,
) -> Vec<(&'a FullTag, Result<Look, RegistryError>)> {
    let look = async |tag: &'a FullTag| {
        let holds = context.tagged(tag).await;
        let look = |holds: Option<_>| holds.map_or(Look::Absent, Look::Holds);
        (tag, holds.map(look))
    };
    let mut seen = join_all(tags.iter().map(|tag| look(tag))).await;
    if context.mode == Mode::DryRun || !is_denied(&seen) {
        return seen;
    }
    context.registry.will_write(repository);
    seen = join_all(tags.iter().map(|tag| look(tag))).await;
    // A repository that shows one of its tags is none that nobody has pushed to.
    let denials = seen.iter().filter_map(|(_, answer)| answer.as_ref().err());
    if !is_denied(&seen) || !context.registry.may_be_new(repository, denials).await {
        return seen;
    }
    let new =
        |answer: Result<_, RegistryError>| answer.unwrap_or_else(|denial| Look::New(why(&denial)));
    seen.into_iter()
        .map(|(tag, answer)| (tag, Ok(new(answer))))
        .collect()
}

/// Whether a denial is all that came back.
fn is_denied(seen: &[(&FullTag, Result<Look, RegistryError>)]) -> bool {
    seen.iter()
        .all(|(_, answer)| answer.as_ref().is_err_and(RegistryError::is_denied))
}

/// What the digests that were given make; `None` where none was.
async fn goal(context: &Context, preflight: &Preflight) -> Result<Option<Goal>, ApplyError> {
    if preflight.digests.is_empty() {
        return Ok(None);
    }
    let Resolution { inputs, .. } =
        resolve_all(context, &preflight.digests, &preflight.sources).await?;
    let wanted = Wanted {
        platforms: None,
        annotations: &BTreeMap::new(),
        media_type: IndexType::Auto,
    };
    let assembly = assemble(&inputs, &wanted)?;
    Ok(Some(Goal { inputs, assembly }))
}

fn told(preflight: &Preflight, sight: &Sight, goal: Option<&Goal>) -> PreflightReceipt {
    let goal = goal.map(|goal| (&goal.assembly, goal.inputs.as_slice()));
    PreflightReceipt {
        found: find_tags(&sight.looks, goal),
        policy: preflight.on_existing,
        verdict: None,
    }
}

fn say(context: &Context, told: &PreflightReceipt) {
    for FoundTag { tag, answer } in &told.found {
        let word = answer.word();
        let events = &context.events;
        match answer {
            TagAnswer::Absent => events.note(format!("tag `{tag}`: {word}")),
            TagAnswer::New(why) => events.warn(format!(
                "tag `{tag}`: {word}: the registry denies the repository though we hold a token to push to it, as some do while nobody has pushed there; if that is not so, the push will fail: {why}"
            )),
            TagAnswer::Unknown(why) => events.note(format!("tag `{tag}`: {word}: {why}")),
            TagAnswer::Present(held) | TagAnswer::Same(held) | TagAnswer::Different(held, _) => {
                let text = format!("tag `{tag}`: {word}: `{}`", held.digest);
                match told.policy {
                    OnExistingTag::Warn => events.warn(text),
                    OnExistingTag::Fail | OnExistingTag::Skip => events.note(text),
                }
            }
        }
    }
}

impl Sight {
    fn of(tags: &[FullTag]) -> Self {
        let blank = |tag: &FullTag| {
            let why = "it was not answered in time".to_owned();
            (tag.clone(), Look::Unknown(why))
        };
        Self {
            looks: tags.iter().map(blank).collect(),
            errors: Vec::new(),
        }
    }

    fn note(&mut self, tag: &FullTag, seen: Result<Look, RegistryError>) {
        let look = seen.unwrap_or_else(|error| {
            let look = Look::Unknown(why(&error));
            self.errors.push((tag.clone(), error));
            look
        });
        let known = self.looks.iter_mut().find(|(known, _)| known == tag);
        if let Some((_, known)) = known {
            *known = look;
        }
    }
}

/// What came between, without what was asked for: that is the tag, which is named beside it.
fn why(error: &RegistryError) -> String {
    chain_text(error.fault())
}

fn unknown_text(unknown: &[(FullTag, RegistryError)]) -> String {
    let mut text = "what tags hold cannot be known:".to_owned();
    for (tag, error) in unknown {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n- `{tag}`: {}", why(error));
    }
    text
}

fn held_text(found: &[FoundTag], verb: &str) -> String {
    let lines = found.iter().filter_map(|FoundTag { tag, answer }| {
        let held = answer.held()?;
        let why = if let TagAnswer::Different(_, Some(why)) = answer {
            format!(" ({why})")
        } else {
            String::new()
        };
        let images = images_text(&held.images);
        Some(format!(
            "the tag `{tag}` {verb} `{}`{why} with {images}",
            held.digest
        ))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn wanted_text(wanted: Option<&[(String, Digest)]>) -> String {
    wanted.map_or(String::new(), |wanted| {
        format!("\nwanted: {}", images_text(wanted))
    })
}
