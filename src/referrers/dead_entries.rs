//! Finds dead entries of the index under a referrers tag: entries whose manifests are gone, by garbage collection or a
//! deletion by digest. Some registries (distribution) refuse every index with such an entry, so no entry could be added
//! any more.
//!
//! An entry is dead if its manifest is absent at two GETs, `propagation` apart. It is removed only if the registry refused
//! the index because of missing content.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::index::entries;
use super::shared_tag::SharedTag;
use crate::context::{REQUESTS_PARALLEL, ReadContext};
use crate::domain::{Digest, Manifest, Reference, Repository};
use crate::registry::RegistryError;

/// Returns the entries of `list` whose manifests are absent now and after `propagation`.
pub(super) async fn dead_entries(
    context: &ReadContext,
    repository: &Repository,
    list: &Manifest,
) -> Result<BTreeSet<Digest>, RegistryError> {
    let listed = entries(list).iter().map(|entry| entry.digest.clone());
    let absent = absent_manifests(context, repository, listed.collect()).await?;
    if absent.is_empty() {
        return Ok(absent);
    }
    tokio::time::sleep(context.retry_policy.propagation).await;
    absent_manifests(context, repository, absent).await
}

/// Warns that entries were removed.
pub(super) fn warn_of_removal(
    context: &ReadContext,
    list: &SharedTag<'_>,
    dead: &BTreeSet<Digest>,
) {
    let (tag, host) = (list.full_tag(), list.repository.host());
    for digest in dead {
        context.events.warn(format!(
            "the tag `{tag}` lists `{digest}`, which does not exist any more. `{host}` refuses the list because of it, so the entry is removed"
        ));
    }
}

/// Returns the digests among `digests` whose manifests are absent. A HEAD has no body that proves it.
async fn absent_manifests(
    context: &ReadContext,
    repository: &Repository,
    digests: BTreeSet<Digest>,
) -> Result<BTreeSet<Digest>, RegistryError> {
    let reads = digests.into_iter().map(async |digest| {
        let reference = Reference::Digest(digest.clone());
        let found = context.registry.manifest(repository, &reference).await;
        match found {
            Ok(None) => Ok(Some(digest)),
            Ok(Some(_)) => Ok(None),
            // Content that is no manifest is there.
            Err(error) if error.is_about_content() => Ok(None),
            Err(error) => Err(error),
        }
    });
    let reads = stream::iter(reads).buffer_unordered(REQUESTS_PARALLEL);
    reads
        .try_filter_map(async |absent| Ok(absent))
        .try_collect()
        .await
}
