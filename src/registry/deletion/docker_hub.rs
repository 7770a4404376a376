//! Docker Hub: the registry does not delete tags (405), but its own API does.
//!
//! Sources: `content/reference/api/hub/latest.yaml` of docker/docs (`/v2/auth/token`, 429). For the deletion, which
//! that reference omits: `pkg/hub/tags.go` of docker/hub-tool and `scheme/reg/tag.go` of regclient/regclient.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use super::api::Call;
use super::unchanged_check::UnchangedCheck;
use super::undeleted::{DeletionError, TagDeletion, Undeleted, all, refused};
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
        Err(error) => return all(deletion, &error),
    };
    let mut undeleted = Undeleted::new();
    for (tag, unchanged) in UnchangedCheck::each(registry, deletion) {
        let path = format!(
            "/v2/repositories/{}/tags/{tag}/",
            deletion.repository.path()
        );
        if let Err(kind) = delete_one(registry, path, &unchanged, &authorization).await {
            undeleted.push((tag.clone(), refused(kind, NEEDS)));
        }
    }
    undeleted
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

async fn delete_one(
    registry: &Registry,
    path: String,
    unchanged: &UnchangedCheck<'_>,
    authorization: &HeaderValue,
) -> Result<(), RegistryErrorKind> {
    let mut call = Call::new(Method::DELETE, HOST, path);
    call.authorization = Some(authorization.clone());
    let response = call.send_if(registry, unchanged).await?;
    match response.status.as_u16() {
        // A later read of the registry decides whether the tag is gone.
        200 | 202 | 204 | 404 => Ok(()),
        _ => Err(RegistryErrorKind::refused(&response)),
    }
}
