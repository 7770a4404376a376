//! Repositories that were never seen: some registries answer for them as for those that one may not see.
//!
//! Which of the two it is shows once something was pushed there. So the children are brought first, by digest, where no tag
//! leads to them; then the tags are asked for again, and no second answer but what they hold will do.

use std::collections::{BTreeMap, BTreeSet};

use super::carry::{Brought, Care, Carrier};
use super::tags::{Sight, see_tag};
use super::{ApplyError, Context};
use crate::domain::{Digest, Manifest, Repository};
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

/// Finds out what the registries would not say. Where a child was read, the repository is no new one, and the answer stands.
pub(super) async fn know(
    context: &Context,
    seal: &Seal,
    sights: Vec<Sight>,
    index: &Manifest,
    places: &BTreeMap<Digest, Repository>,
) -> Result<Known, ApplyError> {
    let read: BTreeSet<&Repository> = places.values().collect();
    let mut brought = BTreeMap::new();
    let mut known = Vec::new();
    for sight in sights {
        let (tag, kind, error) = match sight {
            Sight::Seen(seen) => {
                known.push(seen);
                continue;
            }
            Sight::Denied { tag, kind, error } => (tag, kind, error),
        };
        let repository = &tag.repository;
        if context.mode == Mode::DryRun || read.contains(repository) {
            return Err(ApplyError::Registry(error));
        }
        if !brought.contains_key(repository) {
            context.events.warn(format!(
                "`{repository}` would not say what `{tag}` holds, as some registries answer for what does not exist yet; the images are brought there, and it is asked again"
            ));
            let sources = seal.sources_for(repository);
            let carrier = Carrier::new(context, &sources, repository, Care::Trusting);
            carrier.bring_all(index.children()).await?;
            brought.insert(repository.clone(), carrier.brought());
        }
        match see_tag(context, &tag, kind).await? {
            Sight::Seen(seen) => known.push(seen),
            Sight::Denied { error, .. } => return Err(ApplyError::Registry(error)),
        }
    }
    Ok((known, brought))
}
