//! Amazon's registries: `BatchDeleteImage` deletes the given tag, and also the image if that was its last tag. There is
//! no other way. Failures are reported with status 200.
//!
//! Source: `API_BatchDeleteImage` and `API_ImageFailure` of ECR and of ECR Public in AWS's documentation.

use serde::Deserialize;
use serde_json::{Value, json};

use super::oci;
use super::unchanged_check::UnchangedCheck;
use super::undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted, all, refused};
use crate::domain::Tag;
use crate::registry::aws::{self, AwsKeys};
use crate::registry::client::Registry;
use crate::registry::ecr::{Action, Ecr, Service};
use crate::registry::error::RegistryErrorKind;
use crate::registry::error_response::{ErrorResponse, printable};

#[derive(Deserialize)]
struct DeleteResponse {
    #[serde(default)]
    failures: Vec<DeleteFailure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteFailure {
    failure_code: String,
    #[serde(default)]
    failure_reason: String,
}

pub(super) async fn delete(registry: &Registry, ecr: &Ecr, deletion: TagDeletion<'_>) -> Undeleted {
    let Some(keys) = registry.sender.auth().aws_keys() else {
        return all(
            deletion,
            &DeletionError::Missing("AWS keys in the environment"),
        );
    };
    let needs = match ecr.service {
        Service::Private => "the permission `ecr:BatchDeleteImage`",
        Service::Public => "the permission `ecr-public:BatchDeleteImage`",
    };
    if deletion.may_delete == MayDelete::Tags
        && let Err(error) = check_another_tag_exists(registry, deletion).await
    {
        return all(deletion, &error);
    }
    let mut undeleted = Undeleted::new();
    // Delete one by one, so that a failure affects only its own tag.
    for (tag, unchanged) in UnchangedCheck::each(registry, deletion) {
        let content = content(ecr, deletion, tag).to_string();
        let check = async || unchanged.check().await;
        if let Err(kind) = delete_one(registry, ecr, keys, &content, check).await {
            undeleted.push((tag.clone(), refused(kind, needs)));
        }
    }
    undeleted
}

/// Checks that another tag keeps the image, which may have existed before the run.
async fn check_another_tag_exists(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<(), DeletionError> {
    let others = oci::others(registry, deletion).await;
    let others = others.map_err(DeletionError::Unlisted)?;
    if others.is_empty() {
        return Err(DeletionError::NotCreated);
    }
    Ok(())
}

/// Returns the content of the request.
fn content(ecr: &Ecr, deletion: TagDeletion<'_>, tag: &Tag) -> Value {
    let path = deletion.repository.path();
    let images = json!([{ "imageTag": tag.as_str() }]);
    match ecr.service {
        Service::Private => {
            let account = deletion.repository.host().as_str().split('.').next();
            json!({"registryId": account, "repositoryName": path, "imageIds": images})
        }
        Service::Public => {
            // The first part is the alias of the account, not a part of the repository's name.
            let name = path.split_once('/').map_or(path, |(_, name)| name);
            json!({"repositoryName": name, "imageIds": images})
        }
    }
}

async fn delete_one(
    registry: &Registry,
    ecr: &Ecr,
    keys: &AwsKeys,
    content: &str,
    check: impl AsyncFn() -> Result<(), RegistryErrorKind>,
) -> Result<(), RegistryErrorKind> {
    let action = Action::BatchDeleteImage;
    let response = aws::send(
        registry.sender.transport(),
        ecr,
        keys,
        action,
        content,
        check,
    )
    .await?;
    let deleted: DeleteResponse = serde_json::from_slice(&response.body)
        .map_err(|_| RegistryErrorKind::Listing("it does not name the deleted tags".to_owned()))?;
    let failure = deleted.failures.into_iter();
    let mut failure = failure.filter(|failure| failure.failure_code != "ImageNotFound");
    match failure.next() {
        None => Ok(()),
        Some(failure) => Err(RegistryErrorKind::Refused {
            host: ecr.endpoint.clone(),
            refusal: ErrorResponse {
                status: response.status.as_u16(),
                codes: vec![printable(&failure.failure_code, 64)],
                message: printable(&failure.failure_reason, 300),
                retry_after: None,
            },
        }),
    }
}
