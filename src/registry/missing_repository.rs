//! Detects a repository without any push so far, if the registry denies access instead of answering that it is absent.
//!
//! No response states this. It is inferred by exclusion: the requests are not anonymous, push is allowed, and the
//! repository exposes nothing. The registry does not name what it denies, either. The result is a guess:
//! [`may_be_new`] never turns a denial into an absence.

use super::classify::{Presence, presence};
use super::client::Registry;
use super::error::RegistryError;
use super::redirects::{Origin, Reach, ReadResponse, send_read};
use super::sender::RegistryRequest;
use crate::domain::Repository;

/// The limit for the tag list. Only one tag is requested; a registry that sends more than this exposes its tags.
const TAGS_MAX_BYTES: u64 = 64 * 1024;

/// Reports whether `denials`, the only responses for `repository`, may mean that it has had no push yet. Call it
/// after [`Registry::request_push_scope`]: only with a push token can an absent repository be distinguished from a
/// forbidden one.
pub async fn may_be_new(
    registry: &Registry,
    repository: &Repository,
    denials: impl IntoIterator<Item = &RegistryError>,
) -> bool {
    denials.into_iter().all(has_no_reason)
        && registry.sender.auth().may_push(repository).await
        && has_no_tag_list(registry, repository).await
}

/// True if the tag list is unavailable too. A repository with any content has one.
async fn has_no_tag_list(registry: &Registry, repository: &Repository) -> bool {
    let list = RegistryRequest::get(repository, "tags/list?n=1".to_owned(), TAGS_MAX_BYTES);
    match send_read(&registry.sender, &list, Reach::OwnHost).await {
        Ok(ReadResponse { origin, .. }) if origin != Origin::Direct => false,
        Ok(ReadResponse { response, .. }) => {
            let is_denied = matches!(response.status.as_u16(), 401 | 403);
            is_denied || presence(&response) == Presence::Absent
        }
        Err(_) => false,
    }
}

/// True if a denial does not name what it denies. GHCR names the missing permission (`permission_denied: read_package`)
/// if the package exists or may not be created. A 403 from another server has no code.
fn has_no_reason(denial: &RegistryError) -> bool {
    denial.is_denied()
        && !denial.is_about_token()
        && denial.credentials().is_some()
        && denial.refusal().is_some_and(|refusal| {
            (refusal.status == 401 || refusal.has_code("DENIED"))
                && !refusal.message.contains("permission_denied")
        })
}
