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
const PAGE: usize = 50;

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
    let request = RegistryRequest::get(repository, "tags/list".to_owned(), LIST_MAX_BYTES);
    let sent = send_read(&registry.sender, &request, Reach::OwnHost);
    let ReadResponse { response, .. } = sent.await.ok()?;
    if response.status != 200 || response.headers.contains_key(LINK) {
        return None;
    }
    let list: TagList = serde_json::from_slice(&response.body).ok()?;
    let tags = list.tags.unwrap_or_default();
    let is_page = !tags.is_empty() && tags.len().is_multiple_of(PAGE);
    (!is_page).then(|| tags.into_iter().collect())
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
