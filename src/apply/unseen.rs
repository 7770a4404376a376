//! Repositories that were never seen: some registries answer for them as for those that one may not see.
//!
//! Which of the two it is shows once something was pushed there. So the children are brought first, by digest, where no tag
//! leads to them; then the tags are asked for again, and no second answer but what they hold will do.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::copying::carry::{Brought, Care, Carrier};
use super::copying::source::Source;
use super::tags::{Sight, see_tag};
use super::{ApplyError, Context};
use crate::domain::{Digest, FullTag, Manifest, Repository};
use crate::inputs::{Mode, Seal};
use crate::plan::SeenTag;

/// What every tag holds, and what was brought to which repository to find that out.
pub(super) type Known = (Vec<SeenTag>, BTreeMap<Repository, Brought>);

/// The tags of which the registry said what they hold.
pub(super) fn seen(sights: &[Sight]) -> Vec<SeenTag> {
    let seen = sights.iter().filter_map(|sight| match sight {
        Sight::Seen(seen) => Some(seen.clone()),
        Sight::Denied { .. } => None,
    });
    seen.collect()
}

/// Finds out what the registries would not say. A repository that has said anything, be it of one tag or one child, is no
/// new one: there the answer stands, and nothing is brought anywhere.
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
