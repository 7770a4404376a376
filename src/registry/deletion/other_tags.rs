//! The tags of a repository that share a digest with the tags to delete.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::undeleted::TagDeletion;
use crate::domain::{Digest, Reference, Tag};
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::redirects::{Reach, ReadResponse, send_read};
use crate::registry::referrers::next_page;
use crate::registry::request_limit::REQUESTS_MAX;
use crate::registry::sender::{RegistryRequest, Target};

const PAGE_MAX_BYTES: u64 = 4 << 20;
const PAGES_MAX: usize = 100;
/// The most other tags that are compared. Each one takes a request for its digest.
const OTHERS_MAX: usize = 64;

#[derive(Deserialize)]
struct Page {
    // SECURITY: a document without `tags` is not a list and must not count as an empty one. Tags that a list does not
    // name are deleted.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

/// The other tags of a repository.
pub(super) enum OtherTags {
    /// The names of those that have the digest of the deletion.
    Sharing(Vec<String>),
    /// There are too many to compare them.
    Many,
}

/// Compares every other tag of the repository with the digest of the deletion, unless there are too many.
pub(super) async fn other_tags(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<OtherTags, RegistryErrorKind> {
    let Some(others) = list(registry, deletion).await? else {
        return Ok(OtherTags::Many);
    };
    let reads = others.into_iter().map(|tag| async move {
        let holds = holds(registry, deletion, &tag).await?;
        Ok::<_, RegistryErrorKind>(holds.then_some(tag))
    });
    let found = stream::iter(reads).buffer_unordered(REQUESTS_MAX);
    let found: Vec<Option<String>> = found.try_collect().await?;
    let mut sharing: Vec<String> = found.into_iter().flatten().collect();
    sharing.sort();
    Ok(OtherTags::Sharing(sharing))
}

async fn holds(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: &str,
) -> Result<bool, RegistryErrorKind> {
    let tag: Tag = tag.parse().map_err(|_| {
        RegistryErrorKind::Listing("it contains an entry that is not a tag".to_owned())
    })?;
    let reference = Reference::Tag(tag);
    let current: Option<Digest> = registry
        .manifest_digest(deletion.repository, &reference)
        .await
        .map_err(|error| error.kind)?;
    Ok(current.as_ref() == Some(deletion.digest))
}

/// Returns the other tags of the repository. `None` if there are more than [`OTHERS_MAX`], of which the rest is not read.
async fn list(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<Option<Vec<String>>, RegistryErrorKind> {
    let mut tags = Vec::new();
    let mut target = Target::Path("tags/list".to_owned());
    for _ in 0..PAGES_MAX {
        let request = RegistryRequest {
            target,
            ..RegistryRequest::get(deletion.repository, String::new(), PAGE_MAX_BYTES)
        };
        let sent = send_read(&registry.sender, &request, Reach::OwnHost);
        let ReadResponse { response, .. } = sent.await?;
        if response.status != 200 {
            return Err(RegistryErrorKind::refused(&response));
        }
        let page: Page = serde_json::from_slice(&response.body)
            .map_err(|_| RegistryErrorKind::Listing("it is not a list of tags".to_owned()))?;
        tags.extend(page.tags.unwrap_or_default());
        if tags.len() > OTHERS_MAX + deletion.tags.len() {
            return Ok(None);
        }
        match next_page(&response)? {
            Some(next) => target = Target::Address(next),
            None => return others(tags, deletion.tags).map(Some),
        }
    }
    Err(RegistryErrorKind::Listing(format!(
        "it does not end after {PAGES_MAX} pages"
    )))
}

/// Returns the tags without those to delete.
fn others(mut tags: Vec<String>, to_delete: &[Tag]) -> Result<Vec<String>, RegistryErrorKind> {
    // A list without a tag that is known to exist may lack others too.
    let is_listed = |tag: &Tag| tags.iter().any(|listed| listed == tag.as_str());
    if !to_delete.iter().all(is_listed) {
        let why = "it does not contain the tag to delete";
        return Err(RegistryErrorKind::Listing(why.to_owned()));
    }
    tags.retain(|tag| !to_delete.iter().any(|own| own.as_str() == tag));
    Ok(tags)
}
