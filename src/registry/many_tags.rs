//! Writes several tags of one manifest in one request.
//!
//! SPEC: `PUT /manifests/<digest>?tag=a&tag=b`, "Pushing Manifests" (2026-04). The registry names each accepted tag in
//! `OCI-Tag`. A registry without this feature ignores the query.

use std::collections::BTreeSet;

use super::client::Registry;
use super::integrity::check_stated;
use super::manifest_writes::push;
use super::redirects::write_once;
use super::sender::{RegistryRequest, Target};
use crate::domain::{Digest, MediaType, Reference, Repository, Tag};
use crate::http::Response;

const TAG_HEADER: &str = "oci-tag";
/// The most tags in one request. SPEC: registries should accept at least 10.
pub const TAGS_MAX: usize = 10;

/// Reports whether [`put_tags`] may work. It does not if the registry has ignored or refused it, or if it honours
/// conditions, which can guard only one tag.
pub fn may_put_tags(registry: &Registry, repository: &Repository) -> bool {
    let (features, host) = (registry.sender.features(), repository.host());
    features.may_write_tags_together(host) && !features.honours_conditions(host)
}

/// Stores `bytes` under at most [`TAGS_MAX`] tags, with one request and without retries. Returns the tags that the registry
/// reports as written. The caller reads the others again before it writes them: the request took time, and may have written
/// them.
pub async fn put_tags(
    registry: &Registry,
    repository: &Repository,
    tags: &[Tag],
    media_type: &MediaType,
    bytes: &[u8],
) -> BTreeSet<Tag> {
    let digest = Digest::of(bytes);
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let reference = Reference::Digest(digest.clone());
    let put = RegistryRequest {
        target: Target::Path(format!("manifests/{digest}?{}", query.join("&"))),
        ..push(repository, &reference, media_type, bytes)
    };
    let Ok(response) = write_once(&registry.sender, &put).await else {
        return BTreeSet::new();
    };
    let is_stored = response.status.is_success() && check_stated(bytes, &digest, &response).is_ok();
    let accepted = if is_stored {
        accepted(&response, tags)
    } else {
        BTreeSet::new()
    };
    if accepted.is_empty() {
        let features = registry.sender.features();
        features.remember_single_tags(repository.host());
    }
    accepted
}

/// Returns the requested tags that `OCI-Tag` names. The header may be repeated, and may have several tags.
fn accepted(response: &Response, tags: &[Tag]) -> BTreeSet<Tag> {
    let values = response.headers.get_all(TAG_HEADER).iter();
    let named: BTreeSet<&str> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let is_named = |tag: &&Tag| named.contains(tag.as_str());
    tags.iter().filter(is_named).cloned().collect()
}
