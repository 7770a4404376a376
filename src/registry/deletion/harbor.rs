//! Harbor: the registry refuses to delete a tag (400). For a digest it deletes the artifact with all its tags and
//! signatures. Harbor's own API, on the same host, deletes a single tag.
//!
//! Source: `api/v2.0/swagger.yaml` (`deleteTag`, names with slashes escaped twice) and `src/controller/tag` (412 for
//! immutable tags) of goharbor/harbor.

use reqwest::Method;

use super::api::{Call, escaped};
use super::checked_tag::{CheckedTag, refuse_all};
use super::undeleted::{DeletionError, TagDeletion, Undeleted, deleted};
use crate::registry::client::Registry;
use crate::registry::credential::Credential;
use crate::registry::token::basic;

/// The service name in Harbor's challenges.
pub(super) const SERVICE: &str = "harbor-registry";
const NEEDS: &str = "the right to delete tags";

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let Some(Credential::Login(login)) = registry.sender.auth().given(deletion.repository) else {
        let missing = DeletionError::Missing("a user name with a password");
        return refuse_all(registry, deletion, &missing).await;
    };
    let path = deletion.repository.path();
    let (project, name) = path.split_once('/').unwrap_or((path, ""));
    // The path contains the digest, so a tag that has moved is not found.
    let artifact = format!(
        "/api/v2.0/projects/{project}/repositories/{}/artifacts/{}",
        escaped(&escaped(name)),
        deletion.digest
    );
    let delete_one = async |tag: CheckedTag<'_>| {
        let (host, name) = (deletion.repository.host().as_str(), tag.tag);
        let call = Call {
            authorization: Some(basic(&login)),
            ..Call::new(Method::DELETE, host, format!("{artifact}/tags/{name}"))
        };
        deleted(call.send_for(registry, tag, NEEDS).await?, NEEDS)
    };
    CheckedTag::delete_each(registry, deletion, delete_one).await
}
