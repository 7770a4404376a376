//! Repositories that may not exist yet: some registries deny them like repositories that the token may not read.
//!
//! The answer after a push distinguishes the two. So the children are copied first, by digest and without a tag. Then
//! the tags are read again, and only their content is accepted as an answer.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::copying::carry::{Brought, Care, Carrier};
use super::copying::source::Source;
use super::tags::{Sight, see_tag};
use super::{ApplyError, Context};
use crate::domain::{Digest, FullTag, Manifest, Repository};
use crate::inputs::{Mode, Seal};
use crate::plan::SeenTag;

/// The content of every tag, and the content that was copied to each repository to find that out.
pub(super) type Known = (Vec<SeenTag>, BTreeMap<Repository, Brought>);

/// Returns the tags whose content the registry reported.
pub(super) fn seen(sights: &[Sight]) -> Vec<SeenTag> {
    let seen = sights.iter().filter_map(|sight| match sight {
        Sight::Seen(seen) => Some(seen.clone()),
        Sight::Denied { .. } => None,
    });
    seen.collect()
}

/// Reads the tags that registries would not report. A repository that answered for any tag or child is not new: its
/// denial stands, and nothing is copied anywhere.
pub(super) async fn know(
    context: &Context,
    seal: &Seal,
    mut sights: Vec<Sight>,
    index: &Manifest,
    places: &BTreeMap<Digest, Repository>,
) -> Result<Known, ApplyError> {
    let answered: BTreeSet<Repository> = seen(&sights)
        .into_iter()
        .map(|seen| seen.tag.repository)
        .chain(places.values().cloned())
        .collect();
    let stands = |sight: &Sight| matches!(sight, Sight::Denied { tag, .. } if context.mode == Mode::DryRun || answered.contains(&tag.repository));
    if let Some(at) = sights.iter().position(stands)
        && let Sight::Denied { error, .. } = sights.swap_remove(at)
    {
        return Err(ApplyError::Registry(error));
    }
    let mut new: BTreeMap<&Repository, &FullTag> = BTreeMap::new();
    for sight in &sights {
        if let Sight::Denied { tag, .. } = sight {
            new.entry(&tag.repository).or_insert(tag);
        }
    }
    let brings = new.into_iter().map(|(repository, tag)| async move {
        context.events.warn(format!(
            "`{repository}` would not say what `{tag}` holds, as some registries answer for what does not exist yet; the images are brought there, and it is asked again"
        ));
        let sources = Source::repositories(seal.sources_for(repository));
        let carrier = Carrier::new(context, &sources, repository, Care::Blind);
        carrier.bring_all(index.children()).await?;
        Ok::<_, ApplyError>((repository.clone(), carrier.brought()))
    });
    let brought = try_join_all(brings).await?.into_iter().collect();
    let looks = sights.into_iter().map(|sight| async move {
        match sight {
            Sight::Seen(seen) => Ok(seen),
            Sight::Denied { tag, kind, .. } => match see_tag(context, &tag, kind).await? {
                Sight::Seen(seen) => Ok(seen),
                Sight::Denied { error, .. } => Err(ApplyError::Registry(error)),
            },
        }
    });
    Ok((try_join_all(looks).await?, brought))
}
