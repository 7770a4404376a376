//! Writes tags, and waits until the registry shows what was written.

use futures_util::future::{join_all, try_join_all};

use super::{ApplyError, Context};
use crate::domain::{Digest, Manifest, Reference, Repository, Tag};
use crate::plan::{SeenTag, TagKind};

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

/// Writes one tag.
pub(super) async fn write_tag(
    context: &Context,
    repository: &Repository,
    tag: &Tag,
    manifest: &Manifest,
) -> Result<(), ApplyError> {
    let reference = Reference::Tag(tag.clone());
    let written = context
        .registry
        .put_manifest(
            repository,
            &reference,
            manifest.media_type(),
            manifest.bytes(),
        )
        .await;
    let Err(refusal) = written else { return Ok(()) };
    // Registries with immutable tags refuse even what is there already, which another run of ours may just have written.
    if matches!(refusal.status(), Some(400 | 403 | 409 | 412)) {
        let shows = context
            .registry
            .manifest_digest(repository, &reference)
            .await?;
        if shows.as_ref() == Some(manifest.digest()) {
            return Ok(());
        }
    }
    Err(refusal.into())
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
