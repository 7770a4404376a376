//! The command `cleanup`: reverts every tag that this run wrote according to a vouched record. A registry may not allow
//! that: such a tag gives a warning with the manual steps. It is no error, since the run has failed already.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::CommandError;
use super::tags::{wait_for_tag, write_tag};
use crate::context::{Context, RecordWriter};
use crate::domain::{Digest, FullTag, Reference, Repository, Tag, chain_text};
use crate::inputs::{Cleanup, Mode};
use crate::outcome::{CleanupEnd, CleanupOutcome, CleanupTag, Outcome};
use crate::plan::{
    CleanupStep, LeaveReason, Rollback, TagDigest, TagKind, Vouched, decide_cleanup,
    leave_for_user, unnamed_tags,
};
use crate::registry::{
    DeletionError, MayDelete, Replaced, TagDeletion, TagRead, delete_tags, manual_steps,
};

/// Returns a tag before its step was taken.
fn new_tag(tag: &FullTag, step: CleanupStep) -> CleanupTag {
    CleanupTag::new(tag, step, manual_steps(tag))
}

/// Reverts the tags that a run wrote.
pub(super) async fn cleanup(
    context: &Context,
    cleanup: &Cleanup,
    record_writer: &RecordWriter,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    outcome.planned = context.mode == Mode::DryRun;
    let cleanup_outcome = outcome.cleanup.insert(CleanupOutcome::default());
    context.events.step("Read the tags");
    let fixed = cleanup.tags.iter().map(|tag| (tag, TagKind::Fixed));
    let moving = cleanup.moving_tags.iter();
    let named: Vec<_> = fixed
        .chain(moving.map(|tag| (tag, TagKind::Moving)))
        .collect();
    let reads = named.iter().map(|(tag, _)| read_tag(context, tag));
    let seen = named.iter().zip(join_all(reads).await);
    let Some(record) = record_writer.vouched() else {
        let why = record_writer.unvouched_text();
        let left =
            seen.map(|((tag, kind), digest)| new_tag(tag, leave_for_user(*kind, digest, &why)));
        cleanup_outcome.tags = left.collect();
        cleanup_outcome.leave_all(&context.events, &why, record_writer.manual_steps_text());
        return Ok(());
    };
    let decided =
        seen.map(|((tag, kind), digest)| new_tag(tag, decide_cleanup(record, tag, *kind, &digest)));
    cleanup_outcome.tags = decided.collect();
    for tag in &cleanup_outcome.tags {
        tag.report(&context.events);
    }
    let named: Vec<&FullTag> = named.iter().map(|(tag, _)| *tag).collect();
    for tag in unnamed_tags(record, &named) {
        context.events.info(format!(
            "tag `{tag}`: left unchanged, because only the record names it, and no input"
        ));
    }
    if context.mode == Mode::Apply {
        roll_back_all(context, cleanup_outcome).await;
    }
    Ok(())
}

async fn read_tag(context: &Context, tag: &FullTag) -> TagDigest {
    let reference = tag.reference();
    match context
        .registry
        .manifest_digest(&tag.repository, &reference)
        .await
    {
        Ok(None) => TagDigest::Absent,
        Ok(Some(digest)) => TagDigest::Present(digest),
        Err(error) => TagDigest::Unknown(chain_text(error.kind())),
    }
}

/// Reverts the tags of all repositories concurrently: a registry that never answers does not block the others. Each
/// result is noted at once, so a run that is cut short still reports it.
async fn roll_back_all(context: &Context, cleanup_outcome: &mut CleanupOutcome) {
    let mut open: BTreeMap<Repository, Vec<CleanupTag>> = BTreeMap::new();
    for tag in cleanup_outcome
        .tags
        .iter()
        .filter(|tag| tag.end == CleanupEnd::Open)
    {
        let repository = tag.tag.repository.clone();
        open.entry(repository).or_default().push(tag.clone());
    }
    if open.is_empty() {
        return;
    }
    context.events.step("Roll back the tags");
    let (ended, mut ends) = unbounded_channel();
    // The sender moves in here, so the channel closes when all work is done.
    let work = async move {
        let each = open.iter();
        let each = each.map(|(repository, tags)| roll_back(context, repository, tags, &ended));
        join_all(each).await;
    };
    let note = async {
        while let Some(tag) = ends.recv().await {
            cleanup_outcome.note(&context.events, &tag);
        }
    };
    tokio::join!(work, note);
}

/// Reverts the tags of one repository. Tags that move back come first: many ways to delete a tag delete its manifest
/// with all its tags. By then the moved tags point elsewhere.
async fn roll_back(
    context: &Context,
    repository: &Repository,
    tags: &[CleanupTag],
    ended: &UnboundedSender<CleanupTag>,
) {
    let mut deletions: BTreeMap<(&Digest, MayDelete), Vec<&CleanupTag>> = BTreeMap::new();
    for tag in tags {
        let CleanupStep::Rollback(rollback) = &tag.step else {
            continue;
        };
        if let Some(before) = rollback.before() {
            send_end(ended, restore(context, tag, rollback, before).await);
            continue;
        }
        let goes = (rollback.wrote(), may_delete(rollback));
        deletions.entry(goes).or_default().push(tag);
    }
    for ((digest, may_delete), tags) in deletions {
        let mut still = Vec::new();
        for tag in tags {
            match changed(context, tag, digest).await {
                None => still.push(tag),
                Some(known) => send_end(ended, known),
            }
        }
        let names: Vec<Tag> = still.iter().map(|tag| tag.tag.tag.clone()).collect();
        let deletion = TagDeletion {
            repository,
            digest,
            tags: &names,
            may_delete,
        };
        let undeleted: BTreeMap<Tag, DeletionError> = delete_tags(&context.registry, deletion)
            .await
            .into_iter()
            .collect();
        for tag in still {
            let error = undeleted.get(&tag.tag.tag);
            send_end(ended, check_gone(context, tag, digest, error).await);
        }
    }
}

/// Returns what may be deleted: the manifest only if this run created it.
///
/// SECURITY: the same bytes may have been there before the run, or an index of another owner may list them.
fn may_delete(rollback: &Rollback) -> MayDelete {
    if rollback.created() {
        MayDelete::Manifest
    } else {
        MayDelete::Tags
    }
}

fn send_end(ended: &UnboundedSender<CleanupTag>, tag: CleanupTag) {
    // The receiver is gone only if the run is cut short.
    let _ = ended.send(tag);
}

/// Reads the tag again right before a change, so the race window is one request. Returns `None` if the tag still points
/// to what the run wrote.
async fn changed(context: &Context, tag: &CleanupTag, wrote: &Digest) -> Option<CleanupTag> {
    match read_tag(context, &tag.tag).await {
        TagDigest::Present(digest) if digest == *wrote => None,
        TagDigest::Present(digest) => Some(tag.left(LeaveReason::Moved(digest))),
        TagDigest::Absent => Some(tag.left(LeaveReason::Gone)),
        TagDigest::Unknown(why) => Some(tag.remaining(&why, tag.manual_steps())),
    }
}

/// Points a tag back to its earlier content.
async fn restore(
    context: &Context,
    tag: &CleanupTag,
    rollback: &Rollback,
    before: &Digest,
) -> CleanupTag {
    if let Some(known) = changed(context, tag, rollback.wrote()).await {
        return known;
    }
    let repository = &tag.tag.repository;
    let reference = Reference::Digest(before.clone());
    let image = repository.at(before).to_string();
    let read = || context.registry.manifest(repository, &reference);
    let found = context.until_present(&image, read).await;
    let vouched = found.map(|found| found.and_then(|found| Vouched::restored(found, rollback)));
    let manifest = match vouched {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            let why = format!("its earlier content `{before}` is no longer in the registry");
            return tag.remaining(&why, tag.manual_steps_without_earlier(before));
        }
        Err(error) => return tag.remaining(&chain_text(&error), tag.manual_steps()),
    };
    // The tag is read in any case: the write may have succeeded although the response was an error.
    let held = Some(rollback.wrote());
    let written = write_tag(context, &tag.tag, held, TagRead::Earlier, &manifest).await;
    if matches!(written, Ok(Replaced::HeldOther))
        && let Some(known) = changed(context, tag, rollback.wrote()).await
    {
        return known;
    }
    let shows = wait_for_tag(context, &tag.tag, before).await;
    match (written, shows) {
        (_, Ok(())) => tag.with(CleanupEnd::Done),
        (Err(error), Err(_)) | (Ok(_), Err(error)) => {
            tag.remaining(&chain_text(&error), tag.manual_steps())
        }
    }
}

/// Checks whether a deleted tag is gone. The registry reported its deletion as successful, unless there is an `error`.
async fn check_gone(
    context: &Context,
    tag: &CleanupTag,
    wrote: &Digest,
    error: Option<&DeletionError>,
) -> CleanupTag {
    let tries = error.map_or(context.retry_policy.max_attempts, |_| 1);
    for attempt in 1..=tries {
        match read_tag(context, &tag.tag).await {
            TagDigest::Absent => return tag.with(CleanupEnd::Done),
            TagDigest::Present(digest) if digest != *wrote => {
                return tag.left(LeaveReason::Moved(digest));
            }
            TagDigest::Present(_) if attempt < tries => {
                let why = "the registry confirmed the deletion, but still returns the tag";
                context.pause(&tag.tag.to_string(), why).await;
            }
            TagDigest::Present(_) => (),
            TagDigest::Unknown(why) => {
                let why = error.map_or(why, |error| chain_text(error));
                return tag.remaining(&why, tag.manual_steps());
            }
        }
    }
    let why = error.map_or_else(
        || "the registry confirmed the deletion, but still returns the tag".to_owned(),
        |error| chain_text(error),
    );
    tag.remaining(&why, tag.manual_steps())
}
