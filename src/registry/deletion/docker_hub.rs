//! Docker Hub: the registry does not delete tags (405), but its own API does.
//!
//! Sources: `content/reference/api/hub/latest.yaml` of docker/docs (`/v2/auth/token`, 429). For the deletion, which
//! that reference omits: `pkg/hub/tags.go` of docker/hub-tool and `scheme/reg/tag.go` of regclient/regclient.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use super::api::Call;
use super::checked_tag::{CheckedTag, refuse_all};
use super::undeleted::{DeletionError, TagDeletion, Undeleted, deleted, refused};
use crate::domain::Secret;
use crate::registry::client::Registry;
use crate::registry::credential::Credential;
use crate::registry::error::{LoginError, RegistryErrorKind};
use crate::registry::token::sensitive;

const HOST: &str = "hub.docker.com";
const NEEDS: &str = "a token with the right to delete";

#[derive(Deserialize)]
struct HubTokenResponse {
    access_token: String,
}

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let authorization = match log_in(registry, deletion).await {
        Ok(authorization) => authorization,
        Err(error) => return refuse_all(registry, deletion, &error).await,
    };
    let delete_one = async |tag: CheckedTag<'_>| {
        let (path, name) = (deletion.repository.path(), tag.tag);
        let path = format!("/v2/repositories/{path}/tags/{name}/");
        let mut call = Call::new(Method::DELETE, HOST, path);
        call.authorization = Some(authorization.clone());
        // A later read of the registry decides whether the tag is gone.
        deleted(call.send_for(registry, tag, NEEDS).await?, NEEDS)
    };
    CheckedTag::delete_each(registry, deletion, delete_one).await
}

/// Exchanges the registry's credentials for a token of the API.
async fn log_in(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<HeaderValue, DeletionError> {
    let Some(Credential::Login(login)) = registry.sender.auth().given(deletion.repository) else {
        return Err(DeletionError::Missing("a user name with a token"));
    };
    let mut call = Call::new(Method::POST, HOST, "/v2/auth/token".to_owned());
    call.content = Some(json!({
        "identifier": login.username,
        "secret": login.password.expose(),
    }));
    let response = call.send(registry).await.map_err(DeletionError::Refused)?;
    if response.status != 200 {
        return Err(refused(RegistryErrorKind::refused(&response), NEEDS));
    }
    let no_token = || DeletionError::Refused(LoginError::NoToken.into());
    let given: HubTokenResponse = serde_json::from_slice(&response.body).map_err(|_| no_token())?;
    let token = Secret::new(given.access_token);
    registry.sender.transport().events.mask_sent(&token);
    sensitive(&format!("Bearer {}", token.expose())).ok_or_else(no_token)
}
