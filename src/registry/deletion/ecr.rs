//! Amazon's registries: `BatchDeleteImage` deletes the given tag, and also the image if that was its last tag. There is
//! no other way. Failures are reported with status 200. `DescribeImages` lists the tags of an image.
//!
//! Sources: `API_BatchDeleteImage`, `API_ImageFailure`, `API_DescribeImages` and `API_ImageDetail` of ECR and of ECR
//! Public in AWS's documentation.

use serde::Deserialize;
use serde_json::{Value, json};

use super::checked_tag::{CheckedTag, refuse_all};
use super::undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted, refused};
use crate::http::Response;
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeResponse {
    image_details: Vec<ImageDetail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageDetail {
    image_digest: String,
    // SECURITY: an image without this field has no tag left, so none of its tags is deleted.
    #[serde(default)]
    image_tags: Vec<String>,
}

/// An account's registry, and the keys for it.
#[derive(Clone, Copy)]
struct Account<'a> {
    registry: &'a Registry,
    ecr: &'a Ecr,
    keys: &'a AwsKeys,
}

pub(super) async fn delete(registry: &Registry, ecr: &Ecr, deletion: TagDeletion<'_>) -> Undeleted {
    let Some(keys) = registry.sender.auth().aws_keys() else {
        let missing = DeletionError::Missing("AWS keys in the environment");
        return refuse_all(registry, deletion, &missing).await;
    };
    let account = Account {
        registry,
        ecr,
        keys,
    };
    if deletion.may_delete == MayDelete::Tags
        && let Err(error) = account.check_another_tag_exists(deletion).await
    {
        return refuse_all(registry, deletion, &error).await;
    }
    // Delete one by one, so that a failure affects only its own tag.
    let delete_one = async |tag: CheckedTag<'_>| account.delete_one(deletion, tag).await;
    CheckedTag::delete_each(registry, deletion, delete_one).await
}

impl Account<'_> {
    /// Checks that another tag keeps the image, which may have existed before the run.
    async fn check_another_tag_exists(
        &self,
        deletion: TagDeletion<'_>,
    ) -> Result<(), DeletionError> {
        let images = json!([{ "imageDigest": deletion.digest }]);
        let content = self.content(deletion, &images);
        let transport = self.registry.sender.transport();
        let action = Action::DescribeImages;
        let sent = aws::send(transport, self.ecr, self.keys, action, &content).await;
        let response = sent.map_err(|kind| {
            let error = refused(kind, self.needs(action));
            if let DeletionError::Refused(kind) = error {
                DeletionError::Unlisted(kind)
            } else {
                error
            }
        })?;
        let described: DescribeResponse = serde_json::from_slice(&response.body).map_err(|_| {
            let why = "it does not describe the image";
            DeletionError::Unlisted(RegistryErrorKind::Listing(why.to_owned()))
        })?;
        let digest = deletion.digest.to_string();
        let images = described.image_details.iter();
        let tags = images
            .filter(|image| image.image_digest == digest)
            .flat_map(|image| &image.image_tags);
        let is_doomed = |tag: &String| deletion.tags.iter().any(|own| own.as_str() == tag);
        let mut others = tags.filter(|tag| !is_doomed(tag));
        others.next().map(drop).ok_or(DeletionError::NotCreated)
    }

    async fn delete_one(
        &self,
        deletion: TagDeletion<'_>,
        tag: CheckedTag<'_>,
    ) -> Result<(), DeletionError> {
        let action = Action::BatchDeleteImage;
        let needs = self.needs(action);
        let content = self.content(deletion, &json!([{ "imageTag": tag.tag.as_str() }]));
        let transport = self.registry.sender.transport();
        let attempt =
            async || aws::send_once(transport, self.ecr, self.keys, action, &content).await;
        let what = aws::text(self.ecr, self.keys, action);
        match tag.send(&what, needs, attempt).await? {
            Some(response) => self
                .check_deleted(&response)
                .map_err(|kind| refused(kind, needs)),
            None => Ok(()),
        }
    }

    /// Returns the permission that an action needs.
    fn needs(&self, action: Action) -> &'static str {
        match (self.ecr.service, action) {
            (Service::Private, Action::DescribeImages) => "the permission `ecr:DescribeImages`",
            (Service::Public, Action::DescribeImages) => {
                "the permission `ecr-public:DescribeImages`"
            }
            (Service::Private, _) => "the permission `ecr:BatchDeleteImage`",
            (Service::Public, _) => "the permission `ecr-public:BatchDeleteImage`",
        }
    }

    /// Returns the content of a request.
    fn content(&self, deletion: TagDeletion<'_>, images: &Value) -> String {
        let path = deletion.repository.path();
        let content = match self.ecr.service {
            Service::Private => {
                let account = deletion.repository.host().as_str().split('.').next();
                json!({"registryId": account, "repositoryName": path, "imageIds": images})
            }
            Service::Public => {
                // The first part is the alias of the account, not a part of the repository's name.
                let name = path.split_once('/').map_or(path, |(_, name)| name);
                json!({"repositoryName": name, "imageIds": images})
            }
        };
        content.to_string()
    }

    /// Reads the response to a deletion, which reports failures with status 200.
    fn check_deleted(&self, response: &Response) -> Result<(), RegistryErrorKind> {
        let deleted: DeleteResponse = serde_json::from_slice(&response.body).map_err(|_| {
            RegistryErrorKind::Listing("it does not name the deleted tags".to_owned())
        })?;
        let failure = deleted.failures.into_iter();
        let mut failure = failure.filter(|failure| failure.failure_code != "ImageNotFound");
        match failure.next() {
            None => Ok(()),
            Some(failure) => Err(RegistryErrorKind::Refused {
                host: self.ecr.endpoint.clone(),
                refusal: Box::new(ErrorResponse {
                    status: response.status.as_u16(),
                    codes: vec![printable(&failure.failure_code, 64)],
                    message: printable(&failure.failure_reason, 300),
                    detail: String::new(),
                    retry_after: None,
                }),
            }),
        }
    }
}
