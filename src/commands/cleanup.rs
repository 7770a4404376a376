//! The command `cleanup`: reverts every tag that this run wrote according to a vouched record. A registry may not allow
//! that: such a tag gives a warning with the manual steps. It is no error, since the run has failed already.
//!
//! The record decides the plan. A tag is read right before its change, and that content decides again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::sync::OnceCell;

use super::CommandError;
use super::tags::{wait_for_tag, write_tag};
use crate::context::{Context, REQUESTS_PARALLEL, RecordWriter};
use crate::domain::{Digest, FullTag, Manifest, Reference, Repository, Tag, chain_text};
use crate::inputs::{Cleanup, Mode};
use crate::outcome::{CleanupEnd, CleanupOutcome, CleanupTag, Outcome};
use crate::plan::{
    CleanupStep, LeaveReason, Rollback, TagDigest, TagKind, Vouched, decide_cleanup,
    leave_for_user, plan_cleanup, unnamed_tags,
};
use crate::record::VouchedRecord;
use crate::registry::{
    DeletionError, MayDelete, REQUESTS_MAX, Replaced, TagDeletion, TagRead, delete_tags,
    is_placeholder, listed_tags, manual_steps,
};

/// The fewest deleted tags of a repository that two lists confirm. Fewer are read one by one.
const LISTED_MIN: usize = 3;

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
    context.events.step("Decide what to revert");
    let fixed = cleanup.tags.iter().map(|tag| (tag, TagKind::Fixed));
    let moving = cleanup.moving_tags.iter();
    let named: Vec<_> = fixed
        .chain(moving.map(|tag| (tag, TagKind::Moving)))
        .collect();
    let Some(record) = record_writer.vouched() else {
        let why = record_writer.unvouched_text();
        let left = named.iter().map(async |(tag, kind)| {
            let current = read_tag(context, tag).await;
            new_tag(tag, leave_for_user(*kind, current, &why))
        });
        cleanup_outcome.tags = stream::iter(left)
            .buffered(REQUESTS_PARALLEL)
            .collect()
            .await;
        cleanup_outcome.leave_all(&context.events, &why, record_writer.manual_steps_text());
        return Ok(());
    };
    let rollbacks = Rollbacks {
        context,
        record,
        kinds: named.iter().copied().collect(),
    };
    let planned = named.iter().map(|(tag, _)| rollbacks.plan(tag));
    cleanup_outcome.tags = stream::iter(planned)
        .buffered(REQUESTS_PARALLEL)
        .collect()
        .await;
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
        rollbacks.roll_back_all(cleanup_outcome).await;
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

/// Reads a tag that was probably deleted. By GET: a HEAD does not prove absence and would have to be repeated.
async fn read_deleted_tag(context: &Context, tag: &FullTag) -> TagDigest {
    match context.registry.tag_content(tag).await {
        Ok(None) => TagDigest::Absent,
        Ok(Some(found)) => TagDigest::Present(found.digest().clone()),
        Err(error) => TagDigest::Unknown(chain_text(error.kind())),
    }
}

/// The earlier content of moving tags. They share it, so it is read once.
type EarlierContent = Rc<OnceCell<Result<Option<Manifest>, String>>>;

/// The means to revert tags, and to decide the step of each.
struct Rollbacks<'a> {
    context: &'a Context,
    record: &'a VouchedRecord,
    /// The kind of each tag that the inputs name.
    kinds: BTreeMap<&'a FullTag, TagKind>,
}

impl Rollbacks<'_> {
    fn kind(&self, tag: &FullTag) -> TagKind {
        self.kinds.get(tag).copied().unwrap_or(TagKind::Fixed)
    }

    /// Decides the step by the record. The tag is read only if that is not enough, or if this run changes nothing.
    async fn plan(&self, tag: &FullTag) -> CleanupTag {
        let planned = plan_cleanup(self.record, tag, self.kind(tag));
        match planned {
            Some(step) if self.context.mode == Mode::Apply => new_tag(tag, step),
            Some(_) | None => self.decide(tag, &read_tag(self.context, tag).await),
        }
    }

    /// Decides the step by the content of the tag.
    fn decide(&self, tag: &FullTag, current: &TagDigest) -> CleanupTag {
        let step = decide_cleanup(self.record, tag, self.kind(tag), current);
        new_tag(tag, step)
    }

    /// Decides the step of a tag that was found to have other content than was planned.
    fn decide_again(&self, tag: &CleanupTag, current: &TagDigest) -> CleanupTag {
        let decided = self.decide(&tag.tag, current);
        if decided.end == CleanupEnd::Open {
            let why = "other runs change it at the moment";
            return tag.remaining(why, tag.manual_steps());
        }
        decided
    }

    /// Reverts the tags of all repositories concurrently: a registry that never answers does not block the others. Each
    /// result is noted at once, so a run that is cut short still reports it.
    async fn roll_back_all(&self, cleanup_outcome: &mut CleanupOutcome) {
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
        self.context.events.step("Roll back the tags");
        let outcome = RefCell::new(cleanup_outcome);
        let note = |tag: &CleanupTag| outcome.borrow_mut().note(&self.context.events, tag);
        let each = open.into_iter();
        let each = each.map(|(repository, tags)| self.roll_back(repository, tags, &note));
        join_all(each).await;
    }

    /// Reverts the tags of one repository. Tags that move back come first: many ways to delete a tag delete its manifest
    /// with all its tags. By then the moved tags point elsewhere.
    async fn roll_back(
        &self,
        repository: Repository,
        tags: Vec<CleanupTag>,
        note: &impl Fn(&CleanupTag),
    ) {
        let mut restored: BTreeMap<Digest, Vec<(CleanupTag, Rollback)>> = BTreeMap::new();
        let mut deleted: BTreeMap<(Digest, MayDelete), Vec<CleanupTag>> = BTreeMap::new();
        for tag in tags {
            let CleanupStep::Rollback(rollback) = tag.step.clone() else {
                continue;
            };
            if let Some(before) = rollback.before() {
                let same = restored.entry(before.clone()).or_default();
                same.push((tag, rollback));
            } else {
                let goes = (rollback.wrote().clone(), may_delete(&rollback));
                deleted.entry(goes).or_default().push(tag);
            }
        }
        // Tags with the same earlier content follow each other, so only a few contents are in memory.
        let restored = restored.into_values().flat_map(|tags| {
            let earlier = EarlierContent::default();
            tags.into_iter()
                .map(move |(tag, rollback)| (tag, rollback, Rc::clone(&earlier)))
        });
        let restored = restored
            .map(async |(tag, rollback, earlier)| self.restore(&tag, &rollback, &earlier).await);
        let mut restored = stream::iter(restored).buffer_unordered(REQUESTS_MAX);
        let mut last = None;
        while let Some(tag) = restored.next().await {
            note(&tag);
            last = Some(tag).filter(|tag| tag.end == CleanupEnd::Done).or(last);
        }
        drop(restored);
        if let Some(tag) = last {
            note(&self.wait_until_visible(tag).await);
        }
        self.delete_all(&repository, deleted, note).await;
    }

    /// Waits until the registry shows the tag that was written last. It confirmed the writes of the others before.
    async fn wait_until_visible(&self, tag: CleanupTag) -> CleanupTag {
        let Some(before) = tag.rollback().and_then(Rollback::before) else {
            return tag;
        };
        match wait_for_tag(self.context, &tag.tag, before).await {
            Ok(()) => tag,
            Err(error) => tag.remaining(&chain_text(&error), tag.manual_steps()),
        }
    }

    /// Points a tag back to its earlier content.
    async fn restore(
        &self,
        tag: &CleanupTag,
        rollback: &Rollback,
        earlier: &EarlierContent,
    ) -> CleanupTag {
        let context = self.context;
        let Some(before) = rollback.before() else {
            return tag.clone();
        };
        // Read first, so nothing comes between the read of the tag and its change.
        let read = || self.read_earlier(&tag.tag.repository, before);
        let found = earlier.get_or_init(read).await;
        let current = read_tag(context, &tag.tag).await;
        if current != TagDigest::Present(rollback.wrote().clone()) {
            return self.decide_again(tag, &current);
        }
        let manifest = match found {
            Ok(found) => found.clone(),
            Err(why) => return tag.remaining(why, tag.manual_steps()),
        };
        let Some(manifest) = manifest.and_then(|found| Vouched::restored(found, rollback)) else {
            let why = format!("its earlier content `{before}` is no longer in the registry");
            return tag.remaining(&why, tag.manual_steps_without_earlier(before));
        };
        let held = Some(rollback.wrote());
        match write_tag(context, &tag.tag, held, TagRead::JustNow, &manifest).await {
            Ok(Replaced::Written(_)) => tag.with(CleanupEnd::Done),
            Ok(Replaced::HeldOther) => self.decide_again(tag, &read_tag(context, &tag.tag).await),
            // The write may have succeeded although the response was an error.
            Err(error) => match wait_for_tag(context, &tag.tag, before).await {
                Ok(()) => tag.with(CleanupEnd::Done),
                Err(_) => tag.remaining(&chain_text(&error), tag.manual_steps()),
            },
        }
    }

    async fn read_earlier(
        &self,
        repository: &Repository,
        before: &Digest,
    ) -> Result<Option<Manifest>, String> {
        let reference = Reference::Digest(before.clone());
        let image = repository.at(before).to_string();
        let read = || self.context.registry.manifest(repository, &reference);
        let found = self.context.until_present(&image, read).await;
        found.map_err(|error| chain_text(&error))
    }

    /// Deletes tags, grouped by their digest, and notes the result of each.
    async fn delete_all(
        &self,
        repository: &Repository,
        deleted: BTreeMap<(Digest, MayDelete), Vec<CleanupTag>>,
        note: &impl Fn(&CleanupTag),
    ) {
        let registry = &self.context.registry;
        let count: usize = deleted.values().map(Vec::len).sum();
        let before = if count < LISTED_MIN {
            None
        } else {
            listed_tags(registry, repository).await
        };
        let mut unconfirmed = Vec::new();
        for ((wrote, may_delete), tags) in deleted {
            let names: Vec<Tag> = tags.iter().map(|tag| tag.tag.tag.clone()).collect();
            let deletion = TagDeletion {
                repository,
                digest: &wrote,
                tags: &names,
                may_delete,
            };
            let undeleted = delete_tags(registry, deletion).await;
            let mut undeleted: BTreeMap<Tag, DeletionError> = undeleted.into_iter().collect();
            for tag in tags {
                let current = match undeleted.remove(&tag.tag.tag) {
                    Some(DeletionError::Changed(None)) => TagDigest::Absent,
                    Some(DeletionError::Changed(Some(current))) => TagDigest::Present(current),
                    Some(DeletionError::Unread(kind)) => TagDigest::Unknown(chain_text(&kind)),
                    error => {
                        let wrote = wrote.clone();
                        unconfirmed.push(Unconfirmed { tag, wrote, error });
                        continue;
                    }
                };
                note(&self.decide_again(&tag, &current));
            }
        }
        self.confirm(repository, before, unconfirmed, note).await;
    }

    /// Notes which tags are gone. `before` are tags that were listed before the deletions.
    async fn confirm(
        &self,
        repository: &Repository,
        before: Option<BTreeSet<String>>,
        unconfirmed: Vec<Unconfirmed>,
        note: &impl Fn(&CleanupTag),
    ) {
        let context = self.context;
        let mut gone = BTreeSet::new();
        if let Some(before) = before
            && unconfirmed.iter().any(|one| one.error.is_none())
            && let Some(after) = listed_tags(&context.registry, repository).await
        {
            gone = gone_tags(&before, &after);
        }
        let ends = unconfirmed.iter().map(async |one| {
            if one.error.is_none() && gone.contains(one.tag.tag.tag.as_str()) {
                one.tag.with(CleanupEnd::Done)
            } else {
                one.check(context).await
            }
        });
        let mut ends = stream::iter(ends).buffered(REQUESTS_PARALLEL);
        while let Some(tag) = ends.next().await {
            note(&tag);
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

/// Returns the tags that a list before their deletion has, and a list after it has not.
///
/// A list may have only some of the tags. Where some are deleted, it is filled up with others, and proves nothing.
fn gone_tags(before: &BTreeSet<String>, after: &BTreeSet<String>) -> BTreeSet<String> {
    if after.is_subset(before) {
        before - after
    } else {
        BTreeSet::new()
    }
}

/// A tag whose deletion was tried.
struct Unconfirmed {
    tag: CleanupTag,
    /// Its digest before the deletion.
    wrote: Digest,
    /// The error. `None` if the registry reported the deletion as successful.
    error: Option<DeletionError>,
}

impl Unconfirmed {
    /// Checks whether the tag is gone.
    async fn check(&self, context: &Context) -> CleanupTag {
        let (tag, error) = (&self.tag, self.error.as_ref());
        let is_other = |digest: &Digest| *digest != self.wrote && !is_placeholder(digest);
        let tries = error.map_or(context.retry_policy.max_attempts, |_| 1);
        let mut why = "the registry confirmed the deletion, but still returns the tag".to_owned();
        for attempt in 1..=tries {
            let current = match error {
                Some(_) => read_tag(context, &tag.tag).await,
                None => read_deleted_tag(context, &tag.tag).await,
            };
            match current {
                TagDigest::Absent => return tag.with(CleanupEnd::Done),
                TagDigest::Present(digest) if is_other(&digest) => {
                    return tag.left(LeaveReason::Moved(digest));
                }
                TagDigest::Present(_) if attempt < tries => {
                    context.pause(&tag.tag.to_string(), &why).await;
                }
                TagDigest::Present(_) => (),
                TagDigest::Unknown(unknown) => {
                    why = unknown;
                    break;
                }
            }
        }
        let why = error.map_or(why, |error| chain_text(error));
        tag.remaining(&why, tag.manual_steps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_proves_a_deletion_only_if_it_was_not_filled_up() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let before: BTreeSet<String> = list(&["v1", "v2", "v3"]);
        for (after, gone) in [
            (list(&["v3"]), list(&["v1", "v2"])),
            (list(&[]), before.clone()),
            (before.clone(), list(&[])),
            // The registry lists three tags at most.
            (list(&["v3", "v4", "v5"]), list(&[])),
        ] {
            assert_eq!(gone_tags(&before, &after), gone, "{after:?}");
        }
    }
}
