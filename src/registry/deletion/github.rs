//! GitHub's container registry: it does not delete tags. GitHub's API deletes a version of a package, which is a
//! manifest with all its tags.
//!
//! Sources: GitHub's REST reference, "REST API endpoints for packages"; for lists that lag behind,
//! `src/package-repo.ts` of dataaxiom/ghcr-cleanup-action.

use backon::{ConstantBuilder, Retryable as _};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::api::{Call, escaped};
use super::checked_tag::unchanged;
use super::undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted, all, refused};
use crate::domain::Reference;
use crate::http::Response;
use crate::registry::client::Registry;
use crate::registry::credential::Credential;
use crate::registry::error::RegistryErrorKind;
use crate::registry::token::sensitive;

const HOST: &str = "api.github.com";
const PAGE: usize = 100;
const PAGES_MAX: usize = 100;
const LAGS: &str = "the list of the package's versions does not match the registry";
const NEEDS: &str = "`packages: write` and the Admin role of this repository in the package's settings (Manage Actions access), or a classic token with `delete:packages`";

#[derive(Deserialize)]
struct Owner {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Version {
    id: u64,
    name: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    container: Container,
}

#[derive(Deserialize, Default)]
struct Container {
    #[serde(default)]
    tags: Vec<String>,
}

/// The reason why the list has no version to delete.
enum VersionError {
    /// The list lags behind the registry. A retry may help.
    Lagging,
    Failed(DeletionError),
}

impl From<DeletionError> for VersionError {
    fn from(error: DeletionError) -> Self {
        Self::Failed(error)
    }
}

impl From<VersionError> for DeletionError {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::Lagging => Self::Unlisted(RegistryErrorKind::Listing(LAGS.to_owned())),
            VersionError::Failed(error) => error,
        }
    }
}

/// A package, and the authorization for it.
struct Package<'a> {
    registry: &'a Registry,
    authorization: HeaderValue,
    /// The path in the API: `/orgs/octo-org/packages/container/app`.
    path: String,
}

pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let (tags, mut undeleted) = unchanged(registry, deletion).await;
    let deletion = TagDeletion {
        tags: &tags,
        ..deletion
    };
    if !tags.is_empty()
        && let Err(error) = delete_version(registry, deletion).await
    {
        undeleted.extend(all(&tags, &error));
    }
    undeleted
}

async fn delete_version(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<(), DeletionError> {
    if deletion.may_delete == MayDelete::Tags {
        return Err(DeletionError::NotCreated);
    }
    let package = Package::find(registry, deletion).await?;
    let id = package.settled(deletion).await?;
    let path = format!("{}/versions/{id}", package.path);
    let response = package.send(Method::DELETE, path).await?;
    match response.status.as_u16() {
        204 | 404 => Ok(()),
        // The last version with a tag (400), or one with more than 5000 pulls (400, 422), cannot be deleted.
        _ => Err(refused(RegistryErrorKind::refused(&response), NEEDS)),
    }
}

impl<'a> Package<'a> {
    async fn find(
        registry: &'a Registry,
        deletion: TagDeletion<'_>,
    ) -> Result<Self, DeletionError> {
        let missing = || DeletionError::Missing("a token of GitHub's");
        let Some(Credential::Login(login)) = registry.sender.auth().given(deletion.repository)
        else {
            return Err(missing());
        };
        let bearer = format!("Bearer {}", login.password.expose());
        let mut package = Self {
            registry,
            authorization: sensitive(&bearer).ok_or_else(missing)?,
            path: String::new(),
        };
        let path = deletion.repository.path();
        let (owner, name) = path.split_once('/').unwrap_or((path, path));
        let response = package.send(Method::GET, format!("/users/{owner}")).await?;
        let kind: Owner = read(&response)?;
        let place = match kind.kind.as_str() {
            "Organization" => "orgs",
            _ => "users",
        };
        package.path = format!("/{place}/{owner}/packages/container/{}", escaped(name));
        Ok(package)
    }

    async fn send(&self, method: Method, path: String) -> Result<Response, DeletionError> {
        let call = Call {
            authorization: Some(self.authorization.clone()),
            accept: "application/vnd.github+json",
            headers: &[("x-github-api-version", "2022-11-28")],
            ..Call::new(method, HOST, path)
        };
        call.send(self.registry)
            .await
            .map_err(DeletionError::Refused)
    }

    /// Returns the version with the digest, once the list has exactly the tags to delete for it. The list lags behind
    /// recent writes.
    async fn settled(&self, deletion: TagDeletion<'_>) -> Result<u64, DeletionError> {
        let transport = self.registry.sender.transport();
        let (policy, events) = (transport.retry_policy, &transport.events);
        let attempts = usize::try_from(policy.max_attempts).unwrap_or(usize::MAX);
        let waits = ConstantBuilder::new()
            .with_delay(policy.delay.min(policy.max_delay))
            .with_max_times(attempts.saturating_sub(1));
        (|| self.listed(deletion))
            .retry(waits)
            .when(|failed| matches!(failed, VersionError::Lagging))
            .notify(|_, wait| events.retry(self.path.clone(), LAGS, wait))
            .await
            .map_err(DeletionError::from)
    }

    /// Reads the list once and returns the version with the digest, if the list has exactly the tags to delete for it.
    ///
    /// SECURITY: deleting a version deletes all its tags.
    async fn listed(&self, deletion: TagDeletion<'_>) -> Result<u64, VersionError> {
        let found = self.version(deletion).await?;
        let mut others = Vec::new();
        if let Some(version) = &found {
            let tags = &version.metadata.container.tags;
            let is_doomed = |tag: &String| deletion.tags.iter().any(|own| own.as_str() == tag);
            others = tags.iter().filter(|tag| !is_doomed(tag)).cloned().collect();
            let is_listed = |tag: &&str| tags.iter().any(|listed| listed == tag);
            if others.is_empty() && deletion.tags.iter().all(|tag| is_listed(&tag.as_str())) {
                return Ok(version.id);
            }
        }
        if self.any_holds_digest(deletion, &others).await? {
            return Err(DeletionError::Shared(others).into());
        }
        Err(VersionError::Lagging)
    }

    /// True if one of `tags` has the digest that is to be deleted.
    async fn any_holds_digest(
        &self,
        deletion: TagDeletion<'_>,
        tags: &[String],
    ) -> Result<bool, DeletionError> {
        for tag in tags.iter().filter_map(|tag| tag.parse().ok()) {
            let reference = Reference::Tag(tag);
            let current = self
                .registry
                .manifest_digest(deletion.repository, &reference);
            let current = current
                .await
                .map_err(|error| DeletionError::Unlisted(error.kind))?;
            if current.as_ref() == Some(deletion.digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the version with the digest. There is no query for it, so the list is read until the version appears.
    async fn version(&self, deletion: TagDeletion<'_>) -> Result<Option<Version>, DeletionError> {
        let digest = deletion.digest.to_string();
        for page in 1..=PAGES_MAX {
            let query = format!("versions?per_page={PAGE}&state=active&page={page}");
            let response = self
                .send(Method::GET, format!("{}/{query}", self.path))
                .await?;
            let versions: Vec<Version> = read(&response)?;
            let is_last = versions.len() < PAGE;
            let mut versions = versions.into_iter();
            if let Some(found) = versions.find(|version| version.name == digest) {
                return Ok(Some(found));
            }
            if is_last {
                break;
            }
        }
        Ok(None)
    }
}

fn read<T: for<'de> Deserialize<'de>>(response: &Response) -> Result<T, DeletionError> {
    if response.status != 200 {
        return Err(refused(RegistryErrorKind::refused(response), NEEDS));
    }
    serde_json::from_slice(&response.body).map_err(|_| {
        let why = "the response of GitHub does not have the documented form";
        DeletionError::Refused(RegistryErrorKind::Listing(why.to_owned()))
    })
}
