//! Repairs the index under a referrers tag that a registry refuses because of dead entries.

use super::ListError;
use super::dead_entries::{dead_entries, warn_of_removal};
use super::index::without_entries;
use super::read::SeenReferrers;
use super::settle::{Change, MergeError, SharedTagWriter};
use super::shared_tag::SharedTag;
use crate::context::Context;
use crate::domain::{Digest, Manifest, MediaType, Reference, Repository, TagContent};

/// Removes dead entries from the index under the referrers tag of `subject`, if the registry refuses that index. `seen` is
/// the result of a lookup that found an entry without its manifest.
///
/// The index is sent again under its digest, which changes nothing. Call this before a signature is made: it could not be listed.
pub(crate) async fn remove_dead_entries<E: MergeError>(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    seen: &SeenReferrers,
) -> Result<(), E> {
    if seen.has_api || seen.list.is_none() {
        return Ok(());
    }
    let shared = SharedTag::of_referrers(context, repository, subject);
    let writer = SharedTagWriter::new(context, shared);
    let Some(TagContent::Manifest(list)) = writer.read().await? else {
        return Ok(());
    };
    // By its digest: a write of the tag could replace what another client writes at the same time.
    let reference = Reference::Digest(list.digest().clone());
    let again =
        context
            .registry
            .put_manifest(repository, &reference, list.media_type(), list.bytes());
    match again.await {
        Err(error) if error.lacks_parts() => (),
        // The registry accepts the list, or the write of the entry will report the error.
        Ok(_) | Err(_) => return Ok(()),
    }
    let dead = dead_entries(context, repository, &list).await?;
    if dead.is_empty() {
        return Ok(());
    }
    let snapshot = writer.read_snapshot().await?;
    let remove = async |current: Option<&Manifest>| {
        let bytes = current
            .map(|list| without_entries(list.bytes(), &dead))
            .transpose();
        let bytes = bytes.map_err(ListError::Unwritable)?.flatten();
        Ok::<_, E>(bytes.map(|bytes| Change {
            media_type: MediaType::OciIndex,
            bytes,
            parts: Vec::new(),
        }))
    };
    if writer.update_and_wait(snapshot, remove).await? {
        warn_of_removal(context, &writer, &dead);
    }
    Ok(())
}
