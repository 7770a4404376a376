//! Repositories that may not exist yet: some registries deny them like repositories that the token may not read.
//!
//! The answer after a push distinguishes the two. So the children are copied first, by digest and without a tag. Then
//! the tags are read again, and only their content is accepted as an answer.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::CommandError;
use super::tags::TagLookup;
use crate::context::Context;
use crate::copy::copier::{Copier, DestinationCheck};
use crate::copy::source::Source;
use crate::domain::{Digest, FullTag, Manifest, Repository};
use crate::inputs::{Mode, Seal};
use crate::outcome::CopiedContent;
use crate::plan::{SeenTag, Vouched};

/// The content of every tag, and the content that was copied to each repository to find that out.
pub(super) type SeenTags = (Vec<SeenTag>, BTreeMap<Repository, CopiedContent>);

/// Returns the tags whose content the registry reported.
pub(super) fn seen(lookups: &[TagLookup]) -> Vec<SeenTag> {
    let seen = lookups.iter().filter_map(|lookup| match lookup {
        TagLookup::Seen(seen) => Some(seen.clone()),
        TagLookup::Denied { .. } => None,
    });
    seen.collect()
}

/// Reads the tags that registries would not report. A repository that answered for any tag or child is not new: its
/// denial stands, and nothing is copied anywhere.
pub(super) async fn probe_denied_repositories(
    context: &Context,
    seal: &Seal,
    mut lookups: Vec<TagLookup>,
    index: &Vouched<Manifest>,
    locations: &BTreeMap<Digest, Repository>,
) -> Result<SeenTags, CommandError> {
    let answered: BTreeSet<Repository> = seen(&lookups)
        .into_iter()
        .map(|seen| seen.tag.repository)
        .chain(locations.values().cloned())
        .collect();
    let stands = |lookup: &TagLookup| matches!(lookup, TagLookup::Denied { tag, .. } if context.mode == Mode::DryRun || answered.contains(&tag.repository));
    if let Some(at) = lookups.iter().position(stands)
        && let TagLookup::Denied { error, .. } = lookups.swap_remove(at)
    {
        return Err(CommandError::Registry(error));
    }
    let mut new: BTreeMap<&Repository, &FullTag> = BTreeMap::new();
    for lookup in &lookups {
        if let TagLookup::Denied { tag, .. } = lookup {
            new.entry(&tag.repository).or_insert(tag);
        }
    }
    let work = new.into_iter().map(|(repository, tag)| async move {
        context.events.warn(format!(
            "access to `{tag}` is denied; some registries deny repositories that do not exist yet. The images are copied to `{repository}`, then the tag is read again"
        ));
        let sources = Source::repositories(seal.sources_for(repository));
        let copier = Copier::new(context, &sources, repository, DestinationCheck::AssumeAbsent);
        copier.copy_all(index.members()).await?;
        Ok::<_, CommandError>((repository.clone(), copier.copied()))
    });
    let copied = try_join_all(work).await?.into_iter().collect();
    let reads = lookups
        .into_iter()
        .map(|lookup| lookup.read_if_denied(context));
    Ok((try_join_all(reads).await?, copied))
}
