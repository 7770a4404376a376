//! Lists the tags of a repository, if one request is enough.

use std::collections::BTreeSet;

use reqwest::header::LINK;
use serde::Deserialize;

use super::classify::{Presence, presence};
use super::reader::RegistryReader;
use super::redirects::{Reach, ReadResponse, send_read};
use super::sender::RegistryRequest;
use crate::domain::Repository;

const LIST_MAX_BYTES: u64 = 1 << 20;
/// The number of entries of a full page, or a factor of it.
const FULL_PAGE: usize = 50;

#[derive(Deserialize)]
struct TagList {
    // A registry written in Go sends `null` for an empty list. A document without the field is not a list: the function
    // makes serde require it.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

/// Returns all tags of `repository`, if one response certainly contains all of them. `None` says nothing about any
/// tag: resolve it.
///
/// NOTE: no write may depend on this list. Some registries sort it by age and silently cut it at a full page.
pub async fn all_tags(
    registry: &RegistryReader,
    repository: &Repository,
) -> Option<BTreeSet<String>> {
    let page = first_page(registry, repository).await?;
    let is_full = !page.tags.is_empty() && page.tags.len().is_multiple_of(FULL_PAGE);
    (page.is_last && !is_full).then(|| page.tags.into_iter().collect())
}

/// Returns the tags of `repository` that one response lists. There may be others. `None` says nothing about any tag.
pub async fn listed_tags(
    registry: &RegistryReader,
    repository: &Repository,
) -> Option<BTreeSet<String>> {
    let page = first_page(registry, repository).await?;
    Some(page.tags.into_iter().collect())
}

/// The first page of a list of tags.
struct FirstPage {
    tags: Vec<String>,
    /// True if the registry names no next page.
    is_last: bool,
}

async fn first_page(registry: &RegistryReader, repository: &Repository) -> Option<FirstPage> {
    let request = RegistryRequest::get(repository, "tags/list".to_owned(), LIST_MAX_BYTES);
    let sent = send_read(&registry.sender, &request, Reach::OwnHost);
    let ReadResponse { response, .. } = sent.await.ok()?;
    if response.status != 200 {
        return None;
    }
    let list: TagList = serde_json::from_slice(&response.body).ok()?;
    Some(FirstPage {
        tags: list.tags.unwrap_or_default(),
        is_last: !response.headers.contains_key(LINK),
    })
}

/// Reports whether the registry says that `repository` has no tags, or does not exist. Any other answer, and none, counts
/// as tags.
///
/// NOTE: a repository without tags may have manifests. Some registries report it as absent then.
pub async fn has_no_tags(registry: &RegistryReader, repository: &Repository) -> bool {
    let list = "tags/list?n=1".to_owned();
    let request = RegistryRequest::get(repository, list, LIST_MAX_BYTES);
    let sent = send_read(&registry.sender, &request, Reach::OwnHost);
    let Ok(ReadResponse { response, .. }) = sent.await else {
        return false;
    };
    match presence(&response) {
        Presence::Absent => true,
        Presence::Present => serde_json::from_slice::<TagList>(&response.body)
            .is_ok_and(|list| list.tags.is_none_or(|tags| tags.is_empty())),
        Presence::Unknown => false,
    }
}
