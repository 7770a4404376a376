//! Azure Container Registry: the protocol deletes a digest with all its tags. Azure's own API, on the same host and
//! with the same tokens, deletes a single tag.
//!
//! Sources: `src/azure-cli/azure/cli/command_modules/acr/repository.py` of Azure/azure-cli; `docs/AAD-OAuth.md` of
//! Azure/acr (scope `delete`).

use reqwest::{Method, Url};

use super::checked_tag::CheckedTag;
use super::undeleted::{DeletionError, TagDeletion, Undeleted, deleted};
use crate::registry::auth::Access;
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::host_features::Scheme;
use crate::registry::response::ERROR_MAX_BYTES;
use crate::registry::sender::{RegistryRequest, Target};

const NEEDS: &str = "the right to delete (the role AcrDelete)";

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let delete_one = async |tag| delete_one(registry, deletion, tag).await;
    CheckedTag::delete_each(registry, deletion, delete_one).await
}

async fn delete_one(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: CheckedTag<'_>,
) -> Result<(), DeletionError> {
    let repository = deletion.repository;
    let (host, path) = (repository.host(), repository.path());
    let scheme = registry
        .sender
        .transport()
        .scheme(host)
        .unwrap_or(Scheme::Https);
    let scheme = scheme.as_str();
    let text = format!("{scheme}://{host}/acr/v1/{path}/_tags/{}", tag.tag);
    let url = Url::parse(&text).map_err(|error| {
        let kind = RegistryErrorKind::never_asked(host.as_str(), error.to_string());
        DeletionError::Refused(kind)
    })?;
    let request = RegistryRequest {
        method: Method::DELETE,
        repository,
        target: Target::Address(url),
        // The challenge names the scope for deletion itself.
        access: Access::PullPush,
        accept: None,
        content: None,
        first_byte: 0,
        condition: None,
        limit: ERROR_MAX_BYTES,
    };
    let attempt = async || registry.sender.send_once(&request).await;
    deleted(tag.send(&request.text(), NEEDS, attempt).await?, NEEDS)
}
