//! The list of all tags of a repository, where it can be had at little cost.

use std::collections::BTreeSet;

use reqwest::header::LINK;
use serde::Deserialize;

use super::client::{Question, Registry};
use crate::domain::Repository;

const LIST_MAX_BYTES: u64 = 1 << 20;
/// Pages have so many entries, or a multiple.
const PAGE: usize = 50;

#[derive(Deserialize)]
struct List {
    // A registry written in Go has `null` for none. Without it, this is no list: the function makes serde insist on it.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

impl Registry {
    /// All tags of `repository`, if one answer holds them all for certain. `None` says nothing about any tag: ask for it.
    ///
    /// NOTE: a list is no proof to write by. Some are sorted by age, and cut off without a word at a full page.
    pub async fn all_tags(&self, repository: &Repository) -> Option<BTreeSet<String>> {
        let question = Question::get(repository, "tags/list".to_owned(), LIST_MAX_BYTES);
        let answer = self.ask(&question).await.ok()?;
        if answer.status != 200 || answer.headers.contains_key(LINK) {
            return None;
        }
        let list: List = serde_json::from_slice(&answer.body).ok()?;
        let tags = list.tags.unwrap_or_default();
        let is_page = !tags.is_empty() && tags.len().is_multiple_of(PAGE);
        (!is_page).then(|| tags.into_iter().collect())
    }
}
