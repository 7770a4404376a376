//! Reads every tag before a build, and changes nothing. Reports everything that can be read, whatever fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;

use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::CommandError;
use super::children::{Resolution, resolve_all};
use super::preflight_error::{PreflightError, UnvouchedImages, why};
use super::vouching::find_signatures;
use crate::context::Context;
use crate::domain::{FullTag, Repository, TagContent, chain_text};
use crate::inputs::{IndexType, Mode, OnExistingTag, Preflight};
use crate::outcome::{Outcome, PreflightOutcome};
use crate::plan::{
    Assembly, BINDING, FoundTag, PreflightState, Resolved, TagImage, TagResponse, Verdict, Wanted,
    assemble, decide_preflight, decide_skip, find_tags, images_of, is_vouched_for,
    vouched_by_inputs,
};
use crate::registry::{RegistryError, may_be_new};
use crate::signatures::VerifyingContext;

/// The index that the tags should point to.
struct Goal {
    inputs: Vec<Resolved>,
    assembly: Assembly,
}

/// The results for the tags so far.
struct PreflightLookup {
    responses: Vec<(FullTag, TagResponse)>,
    errors: Vec<(FullTag, RegistryError)>,
}

/// Reads every tag, and decides if a build can start.
pub(super) async fn preflight(
    context: &Context,
    preflight: &Preflight,
    verifying_context: impl Future<Output = Result<VerifyingContext, CommandError>>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    context.events.step("Read the tags");
    let mut lookup = PreflightLookup::of(&preflight.tags);
    let reading = read_all_tags(context, preflight, &mut lookup, outcome);
    let (goal, ()) = join(goal(context, preflight), reading).await;
    let (goal, failure) = match goal {
        Ok(goal) => (goal, None),
        Err(error) => (None, Some(error)),
    };
    // Errors are reported in the order of the inputs, not of the responses.
    let position = |(tag, _): &(FullTag, _)| preflight.tags.iter().position(|known| known == tag);
    lookup.errors.sort_by_key(position);
    let result = outcome
        .preflight
        .insert(preflight_outcome(preflight, &lookup, goal.as_ref()));
    report(context, result, failure.as_ref());
    if let Some(error) = failure {
        return Err(error);
    }
    let (found, mut verdict) = (
        result.found.clone(),
        decide_preflight(&result.found, result.policy),
    );
    let mut wanted = String::new();
    if let Verdict::Skip(..) = verdict {
        (verdict, wanted) = vouch(
            context,
            preflight,
            &lookup,
            goal.as_ref(),
            verifying_context,
            result,
        )
        .await?;
    }
    result.verdict = Some(verdict.clone());
    let refused = match verdict {
        Verdict::Unknown => PreflightError::Unknown(lookup.errors),
        Verdict::Taken => PreflightError::Taken(found),
        Verdict::Differ => PreflightError::Differ {
            found,
            wanted: goal.map(|goal| images_of(&goal.assembly.manifest)),
        },
        Verdict::Unvouched => PreflightError::Unvouched {
            found: unvouched(&found, &result.images),
            wanted,
        },
        Verdict::Skip(..) | Verdict::Proceed => return Ok(()),
    };
    Err(refused.into())
}

/// Decides about existing tags that are to be completed, and returns the required signer.
///
/// SECURITY: `seal` signs the content that is passed on here, and copies it to the other registries. Anyone with push
/// access to one of them can put any content under a tag. It is passed on only if an input or a signature of our own
/// vouches for it.
async fn vouch(
    context: &Context,
    preflight: &Preflight,
    lookup: &PreflightLookup,
    goal: Option<&Goal>,
    verifying_context: impl Future<Output = Result<VerifyingContext, CommandError>>,
    result: &mut PreflightOutcome,
) -> Result<(Verdict, String), CommandError> {
    let Some(policy) = &preflight.policy else {
        context.events.warn("the content of the tags is not verified, because `sign` is `false`: anyone with push access may have written it");
        return Ok((
            decide_preflight(&result.found, result.policy),
            String::new(),
        ));
    };
    result.images = lookup.images(goal);
    let mut wanted =
        find_signatures(context, policy, &mut result.images, verifying_context).await?;
    let bound = |annotation| Some((annotation, preflight.annotations.get(annotation)?));
    for (annotation, stated) in BINDING.into_iter().filter_map(bound) {
        for image in &mut result.images {
            image.require_annotation(annotation, stated);
        }
        write!(wanted, " for `{annotation}={stated}`").unwrap_or_default();
    }
    for image in result.images.iter().filter(|image| image.vouched.is_some()) {
        let name = image.repository.at(image.manifest.digest());
        context.events.info(match &image.signer {
            Some(identity) => format!("`{name}` is signed by `{identity}`"),
            None => format!("`{name}` is in `digests`"),
        });
    }
    Ok((decide_skip(&result.found, &result.images), wanted))
}

/// Reads all repositories concurrently, and keeps the outcome up to date. A registry that never answers must not hide
/// the results of the others at the time limit.
async fn read_all_tags(
    context: &Context,
    preflight: &Preflight,
    lookup: &mut PreflightLookup,
    outcome: &mut Outcome,
) {
    let mut tags: BTreeMap<&Repository, Vec<&FullTag>> = BTreeMap::new();
    for tag in &preflight.tags {
        tags.entry(&tag.repository).or_default().push(tag);
    }
    let responses = tags
        .into_iter()
        .map(|(repository, tags)| read_tags_of(context, repository, tags));
    let mut responses: FuturesUnordered<_> = responses.collect();
    outcome.preflight = Some(preflight_outcome(preflight, lookup, None));
    while let Some(read) = responses.next().await {
        for (tag, read) in read {
            lookup.note(tag, read);
        }
        outcome.preflight = Some(preflight_outcome(preflight, lookup, None));
    }
}

/// Reads the tags of a repository. If every request is denied, repeats them with a token that may push, as the later
/// run will do. Some registries deny absent content to tokens that may only read. Such a token is never requested
/// first, and never in a dry run: Quay creates a repository when such a token is requested.
async fn read_tags_of<'a>(
    context: &Context,
    repository: &Repository,
    tags: Vec<&'a FullTag>,
) -> Vec<(&'a FullTag, Result<TagResponse, RegistryError>)> {
    let look = async |tag: &'a FullTag| {
        let existing = context.tagged(tag).await;
        let look = |existing: Option<_>| existing.map_or(TagResponse::Absent, TagResponse::Content);
        (tag, existing.map(look))
    };
    let mut read = join_all(tags.iter().map(|tag| look(tag))).await;
    if context.mode == Mode::DryRun || !is_denied(&read) {
        return read;
    }
    context.registry.request_push_scope(repository);
    read = join_all(tags.iter().map(|tag| look(tag))).await;
    // A repository that shows one of its tags is not a new one.
    let denials = read.iter().filter_map(|(_, state)| state.as_ref().err());
    if !is_denied(&read) || !may_be_new(&context.registry, repository, denials).await {
        return read;
    }
    let new = |state: Result<_, RegistryError>| {
        state.unwrap_or_else(|denial| TagResponse::New(why(&denial)))
    };
    read.into_iter()
        .map(|(tag, state)| (tag, Ok(new(state))))
        .collect()
}

/// Reports whether every answer is a denial.
fn is_denied(read: &[(&FullTag, Result<TagResponse, RegistryError>)]) -> bool {
    read.iter()
        .all(|(_, state)| state.as_ref().is_err_and(RegistryError::is_denied))
}

/// Assembles the index of the given digests, or returns `None` if there are none.
async fn goal(context: &Context, preflight: &Preflight) -> Result<Option<Goal>, CommandError> {
    if preflight.digests.is_empty() {
        return Ok(None);
    }
    let Resolution { inputs, .. } =
        resolve_all(context, &preflight.digests, &preflight.sources).await?;
    let wanted = Wanted {
        platforms: None,
        annotations: &preflight.annotations,
        media_type: IndexType::Auto,
    };
    let assembly = assemble(&inputs, &wanted)?;
    Ok(Some(Goal { inputs, assembly }))
}

fn preflight_outcome(
    preflight: &Preflight,
    lookup: &PreflightLookup,
    goal: Option<&Goal>,
) -> PreflightOutcome {
    let goal = goal.map(|goal| (&goal.assembly, goal.inputs.as_slice()));
    PreflightOutcome {
        found: find_tags(&lookup.responses, goal),
        policy: preflight.on_existing,
        images: Vec::new(),
        verdict: None,
    }
}

/// Reports each tag. The reason why one is unknown is reported once: by the error that follows, or else here.
fn report(context: &Context, result: &PreflightOutcome, failure: Option<&CommandError>) {
    let failure = failure.map(|error| chain_text(error));
    for FoundTag { tag, state } in &result.found {
        let word = state.word();
        let events = &context.events;
        match state {
            PreflightState::Absent => events.info(format!("tag `{tag}`: {word}")),
            PreflightState::New(why) => events.warn(format!(
                "tag `{tag}`: {word}: access is denied, although the token permits pushing; some registries deny repositories that do not exist yet. If the repository exists, the push will fail: {why}"
            )),
            PreflightState::Unknown(why) => {
                let is_news = failure.as_ref().is_some_and(|error| !error.contains(why));
                let why = if is_news { format!(": {why}") } else { String::new() };
                events.info(format!("tag `{tag}`: {word}{why}"));
            }
            PreflightState::Present(contents) | PreflightState::Same(contents) | PreflightState::Different(contents, _) => {
                let text = format!("tag `{tag}`: {word}: `{}`", contents.digest);
                match result.policy {
                    OnExistingTag::Warn => events.warn(text),
                    OnExistingTag::Fail | OnExistingTag::Skip => events.info(text),
                }
            }
        }
    }
}

impl PreflightLookup {
    fn of(tags: &[FullTag]) -> Self {
        let blank = |tag: &FullTag| {
            let why = "the registry did not answer in time".to_owned();
            (tag.clone(), TagResponse::Unknown(why))
        };
        Self {
            responses: tags.iter().map(blank).collect(),
            errors: Vec::new(),
        }
    }

    /// Returns the content of the tags, once for each repository, and whether the inputs vouch for it.
    fn images(&self, goal: Option<&Goal>) -> Vec<TagImage> {
        let mut images: Vec<TagImage> = Vec::new();
        for (tag, look) in &self.responses {
            let TagResponse::Content(TagContent::Manifest(manifest)) = look else {
                continue;
            };
            let by_inputs = |goal: &Goal| vouched_by_inputs(manifest, &goal.assembly, &goal.inputs);
            let image = TagImage {
                repository: tag.repository.clone(),
                manifest: manifest.clone(),
                vouched: goal.and_then(by_inputs),
                signer: None,
                refused: Vec::new(),
            };
            if !images.contains(&image) {
                images.push(image);
            }
        }
        images
    }

    fn note(&mut self, tag: &FullTag, read: Result<TagResponse, RegistryError>) {
        let look = read.unwrap_or_else(|error| {
            let look = TagResponse::Unknown(why(&error));
            self.errors.push((tag.clone(), error));
            look
        });
        let known = self.responses.iter_mut().find(|(known, _)| known == tag);
        if let Some((_, known)) = known {
            *known = look;
        }
    }
}

fn unvouched(found: &[FoundTag], images: &[TagImage]) -> Vec<UnvouchedImages> {
    let found = found.iter().filter_map(|FoundTag { tag, state }| {
        let contents = state
            .contents()
            .filter(|contents| !is_vouched_for(&contents.digest, images))?;
        let mut images = images.iter();
        let image = images.find(|image| {
            image.repository == tag.repository && *image.manifest.digest() == contents.digest
        });
        Some(UnvouchedImages {
            tag: tag.clone(),
            contents: contents.clone(),
            refused: image.map(|image| image.refused.clone()).unwrap_or_default(),
        })
    });
    found.collect()
}
