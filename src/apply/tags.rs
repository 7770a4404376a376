//! Writes tags, and waits until the registries show what was written.

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, stream};

use super::children::PARALLEL;
use super::receipt::Receipt;
use super::{ApplyError, Context, Ledger};
use crate::domain::{Digest, FullTag, Manifest};
use crate::plan::{Conflict, Newer, SeenTag, TagKind, TagStep, images_of};
use crate::registry::RegistryError;

/// What a look at a tag says.
pub(super) enum Sight {
    /// What it holds.
    Seen(SeenTag),
    /// The registry would not let us see.
    Denied {
        tag: FullTag,
        kind: TagKind,
        error: Box<RegistryError>,
    },
}

/// Looks at every tag, in the order of the inputs, moving ones last. What cannot be known of any of them is an error, but
/// for what a registry may answer of a repository that does not exist yet.
pub(super) async fn see_tags(
    context: &Context,
    fixed: &[FullTag],
    moving: &[FullTag],
) -> Result<Vec<Sight>, ApplyError> {
    let fixed = fixed.iter().map(|tag| (tag, TagKind::Fixed));
    let moving = moving.iter().map(|tag| (tag, TagKind::Moving));
    let looks = fixed
        .chain(moving)
        .map(|(tag, kind)| see_tag(context, tag, kind));
    try_join_all(looks).await
}

/// Looks at one tag.
pub(super) async fn see_tag(
    context: &Context,
    tag: &FullTag,
    kind: TagKind,
) -> Result<Sight, ApplyError> {
    let tag = tag.clone();
    match context.tagged(&tag).await {
        Ok(holds) => Ok(Sight::Seen(SeenTag { tag, kind, holds })),
        Err(error) if error.is_denied() => Ok(Sight::Denied {
            tag,
            kind,
            error: Box::new(error),
        }),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn tell_step(context: &Context, step: &TagStep) {
    let text = match &step.newer {
        Some(Newer { holds, wanted }) => {
            format!("left alone: it holds version {holds}, which is newer than {wanted}")
        }
        None if step.writes() => "to be written".to_owned(),
        None => "left alone".to_owned(),
    };
    context.events.note(format!("tag `{}`: {text}", step.tag));
}

/// Writes the tags that need it and waits until the registries show them: first the fixed ones, and only when these are seen
/// the moving ones.
pub(super) async fn write_tags(
    context: &Context,
    ledger: &Ledger,
    target: &Manifest,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let to_write = |kind| {
        let steps = receipt.tags.iter().map(|tag| &tag.step);
        steps
            .filter(|step| step.kind == kind && step.writes())
            .cloned()
            .collect::<Vec<TagStep>>()
    };
    let (fixed, moving) = (to_write(TagKind::Fixed), to_write(TagKind::Moving));
    if fixed.is_empty() && moving.is_empty() {
        return Ok(());
    }
    context.events.phase("Write tags");
    if let Err(error) = refuse_newcomers(context, &fixed, target).await {
        if let ApplyError::Conflict { conflicts, .. } = &error {
            receipt.conflicts.clone_from(conflicts);
        }
        return Err(error);
    }
    write_and_see(context, ledger, target, &fixed, receipt).await?;
    let moving = look_again(context, ledger, target, moving, receipt).await?;
    write_and_see(context, ledger, target, &moving, receipt).await
}

/// Looks at moving tags once more, right before they are written: what another run moved meanwhile may be newer, and is
/// what a cleanup must put back. The record knows of it before anything is changed.
async fn look_again(
    context: &Context,
    ledger: &Ledger,
    target: &Manifest,
    moving: Vec<TagStep>,
    receipt: &mut Receipt,
) -> Result<Vec<TagStep>, ApplyError> {
    let looks = moving.iter().map(|step| async move {
        let holds = context.tagged(&step.tag).await?;
        let step = TagStep::of_moving(&step.tag, holds.as_ref(), target);
        Ok::<_, ApplyError>(step)
    });
    let mut steps = try_join_all(looks).await?;
    let mut is_news = false;
    for step in &steps {
        if receipt.revise(step) {
            is_news = true;
            tell_step(context, step);
        }
    }
    if is_news {
        ledger.save(receipt)?;
    }
    steps.retain(TagStep::writes);
    Ok(steps)
}

async fn write_and_see(
    context: &Context,
    ledger: &Ledger,
    target: &Manifest,
    steps: &[TagStep],
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    write_all(context, ledger, target, steps, receipt).await?;
    let tags = steps.iter().map(|step| &step.tag);
    wait_for_tags(context, tags, target.digest()).await
}

/// Writes tags at once. What is under way when one fails is written to its end, and noted, before that is an error.
async fn write_all(
    context: &Context,
    ledger: &Ledger,
    target: &Manifest,
    steps: &[TagStep],
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let writes = steps.iter().map(|step| async move {
        let written = write_tag(context, &step.tag, target).await;
        (&step.tag, written)
    });
    let mut writes = stream::iter(writes).buffer_unordered(PARALLEL);
    let mut failure = None;
    while let Some((tag, written)) = writes.next().await {
        match written {
            Ok(()) => {
                receipt.mark_written(tag);
                ledger.save(receipt)?;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Looks once more at tags that were absent, right before they are written: what another run wrote under one of them
/// meanwhile is a conflict now, not after it is gone. What is left of the race is the time of one request.
async fn refuse_newcomers(
    context: &Context,
    steps: &[TagStep],
    target: &Manifest,
) -> Result<(), ApplyError> {
    let looks = steps.iter().map(|step| async move {
        // By GET: where a tag is absent, as it should be, a HEAD would have to be asked again.
        let holds = context.tagged(&step.tag).await?;
        let newcomer = holds.filter(|holds| *holds.digest() != step.after);
        Ok::<_, ApplyError>(newcomer.map(|holds| Conflict {
            tag: step.tag.clone(),
            holds: holds.digest().clone(),
            found: images_of(&holds),
            why: Some("another run wrote it while this one was under way".to_owned()),
        }))
    });
    let conflicts: Vec<Conflict> = try_join_all(looks).await?.into_iter().flatten().collect();
    if conflicts.is_empty() {
        Ok(())
    } else {
        let wanted = images_of(target);
        Err(ApplyError::Conflict { conflicts, wanted })
    }
}

/// Writes one tag.
pub(super) async fn write_tag(
    context: &Context,
    tag: &FullTag,
    manifest: &Manifest,
) -> Result<(), ApplyError> {
    let reference = tag.reference();
    context
        .store_index(&tag.repository, &reference, manifest)
        .await?;
    context
        .events
        .note(format!("`{tag}` holds `{}`", manifest.digest()));
    Ok(())
}

/// Waits until each tag shows `digest`. An older digest right after a write is lag, like nothing at all.
pub(super) async fn wait_for_tags(
    context: &Context,
    tags: impl Iterator<Item = &FullTag>,
    digest: &Digest,
) -> Result<(), ApplyError> {
    let waits = tags.map(|tag| wait_for_tag(context, tag, digest));
    join_all(waits).await.into_iter().collect()
}

async fn wait_for_tag(context: &Context, tag: &FullTag, digest: &Digest) -> Result<(), ApplyError> {
    let reference = tag.reference();
    let mut attempt = 1;
    loop {
        let shows = context
            .registry
            .manifest_digest(&tag.repository, &reference)
            .await?;
        if shows.as_ref() == Some(digest) {
            return Ok(());
        }
        if attempt >= context.patience.max_attempts {
            return Err(ApplyError::TagNotVisible {
                tag: tag.clone(),
                shows,
            });
        }
        attempt += 1;
        let why = "it does not show what was written yet";
        context.pause(&tag.to_string(), why).await;
    }
}
