//! Azure Container Registry: the protocol deletes a digest with all its tags. Azure's own API, on the same host and
//! with the same tokens, deletes a single tag.
//!
//! Sources: `src/azure-cli/azure/cli/command_modules/acr/repository.py` of Azure/azure-cli; `docs/AAD-OAuth.md` of
//! Azure/acr (scope `delete`).

use reqwest::{Method, Url};

use super::unchanged_check::UnchangedCheck;
use super::undeleted::{TagDeletion, Undeleted, refused};
use crate::domain::Tag;
use crate::registry::auth::Access;
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::host_features::Scheme;
use crate::registry::response::ERROR_MAX_BYTES;
use crate::registry::sender::{RegistryRequest, Target};

const NEEDS: &str = "the right to delete (the role AcrDelete)";

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let mut undeleted = Undeleted::new();
    for (tag, unchanged) in UnchangedCheck::each(registry, deletion) {
        if let Err(kind) = delete_one(registry, deletion, tag, &unchanged).await {
            undeleted.push((tag.clone(), refused(kind, NEEDS)));
        }
    }
    undeleted
}

async fn delete_one(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: &Tag,
    unchanged: &UnchangedCheck<'_>,
) -> Result<(), RegistryErrorKind> {
    let repository = deletion.repository;
    let (host, path) = (repository.host(), repository.path());
    let scheme = registry
        .sender
        .transport()
        .scheme(host)
        .unwrap_or(Scheme::Https);
    let text = format!("{}://{host}/acr/v1/{path}/_tags/{tag}", scheme.as_str());
    let url = Url::parse(&text);
    let url =
        url.map_err(|error| RegistryErrorKind::never_asked(host.as_str(), error.to_string()))?;
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
    let attempt = || async {
        unchanged.check().await?;
        registry.sender.send_once(&request).await
    };
    let response = registry
        .sender
        .with_retries(&request.text(), attempt)
        .await?;
    match response.status.as_u16() {
        200 | 202 | 204 | 404 => Ok(()),
        _ => Err(RegistryErrorKind::refused(&response)),
    }
}
