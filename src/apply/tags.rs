//! Writes tags, and waits until the registry shows what was written.

use futures_util::future::{join_all, try_join_all};

use super::{ApplyError, Context};
use crate::domain::{Digest, Manifest, Reference, Repository, Tag};
use crate::plan::{Conflict, SeenTag, TagKind, TagStep, images_of};

/// Looks at every tag. What cannot be known of any of them is an error.
pub(super) async fn see_tags(
    context: &Context,
    repository: &Repository,
    fixed: &[Tag],
    moving: &[Tag],
) -> Result<Vec<SeenTag>, ApplyError> {
    let fixed = fixed.iter().map(|tag| (tag, TagKind::Fixed));
    let moving = moving.iter().map(|tag| (tag, TagKind::Moving));
    let looks = fixed.chain(moving).map(|(tag, kind)| async move {
        let holds = context
            .registry
            .manifest(repository, &Reference::Tag(tag.clone()))
            .await?;
        Ok::<_, ApplyError>(SeenTag {
            tag: tag.clone(),
            kind,
            holds,
        })
    });
    try_join_all(looks).await
}

/// Looks once more at tags that were absent, right before they are written: what another run wrote under one of them
/// meanwhile is a conflict now, not after it is gone. What is left of the race is the time of one request.
pub(super) async fn refuse_newcomers(
    context: &Context,
    repository: &Repository,
    steps: &[TagStep],
    target: &Manifest,
) -> Result<(), ApplyError> {
    let looks = steps.iter().map(|step| async move {
        // By GET: where a tag is absent, as it should be, a HEAD would have to be asked again.
        let reference = Reference::Tag(step.tag.clone());
        let holds = context.registry.manifest(repository, &reference).await?;
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
    repository: &Repository,
    tag: &Tag,
    manifest: &Manifest,
) -> Result<(), ApplyError> {
    let reference = Reference::Tag(tag.clone());
    context
        .store_index(repository, &reference, manifest)
        .await?;
    context.events.note(format!(
        "`{}` holds `{}`",
        repository.tagged(tag),
        manifest.digest()
    ));
    Ok(())
}

/// Waits until each tag shows `digest`. An older digest right after a write is lag, like nothing at all.
pub(super) async fn wait_for_tags(
    context: &Context,
    repository: &Repository,
    tags: &[Tag],
    digest: &Digest,
) -> Result<(), ApplyError> {
    let waits = tags
        .iter()
        .map(|tag| wait_for_tag(context, repository, tag, digest));
    join_all(waits).await.into_iter().collect()
}

async fn wait_for_tag(
    context: &Context,
    repository: &Repository,
    tag: &Tag,
    digest: &Digest,
) -> Result<(), ApplyError> {
    let reference = Reference::Tag(tag.clone());
    let mut attempt = 1;
    loop {
        let shows = context
            .registry
            .manifest_digest(repository, &reference)
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
        context
            .pause(
                &repository.tagged(tag).to_string(),
                "it does not show what was written yet",
            )
            .await;
    }
}
