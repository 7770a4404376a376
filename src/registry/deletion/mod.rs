//! Deletes tags in each registry's own way. The protocol has one way, but most hosted registries lack it or have
//! others. Each has a file here that names its sources.
//!
//! A deletion may remove more than the tag. Each file removes only the necessary, and keeps the tag if content of
//! others would be removed. Only a later read of the registry confirms that a tag is gone.

mod acr;
mod api;
mod by_placeholder;
mod checked_tag;
mod delete_request;
mod docker_hub;
mod ecr;
mod github;
mod harbor;
mod manual_steps;
mod oci;
mod other_tags;
mod quay;
mod undeleted;

use super::client::Registry;
use super::ecr::Ecr;
use crate::domain::{Repository, Tag};

use checked_tag::unchanged;

pub use manual_steps::manual_steps;
pub use undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted};

/// The ways to delete tags.
enum DeletionMethod {
    /// By the distribution protocol.
    Oci,
    /// By the distribution protocol, with tags to restore afterwards.
    Quay,
    DockerHub,
    Github,
    Ecr(Ecr),
    Acr,
    Harbor,
}

/// Deletes tags without deleting content of others. Returns the tags that were not deleted. For all other tags the
/// deletion is only the registry's claim, which a later read must confirm.
pub async fn delete_tags(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let (tags, mut undeleted) = worth_deleting(registry, deletion).await;
    let deletion = TagDeletion {
        tags: &tags,
        ..deletion
    };
    let method = method(registry, deletion.repository);
    let is_oci = matches!(method, DeletionMethod::Oci | DeletionMethod::Quay);
    if !tags.is_empty() {
        undeleted.extend(match method {
            DeletionMethod::Oci => oci::delete(registry, deletion).await,
            DeletionMethod::Quay => quay::delete(registry, deletion).await,
            DeletionMethod::DockerHub => docker_hub::delete(registry, deletion).await,
            DeletionMethod::Github => github::delete(registry, deletion).await,
            DeletionMethod::Ecr(ecr) => ecr::delete(registry, &ecr, deletion).await,
            DeletionMethod::Acr => acr::delete(registry, deletion).await,
            DeletionMethod::Harbor => harbor::delete(registry, deletion).await,
        });
    }
    if is_oci {
        return by_placeholder::finish(registry, deletion.repository, undeleted).await;
    }
    undeleted
}

/// Returns all tags if the first one has the digest of the deletion: each is read again before its deletion. Otherwise
/// reads all of them, so nothing is sent to a service if a cleanup is repeated.
///
/// The response to a read also tells which service it is, and thus how it deletes.
async fn worth_deleting(registry: &Registry, deletion: TagDeletion<'_>) -> (Vec<Tag>, Undeleted) {
    let Some((_, others)) = deletion.tags.split_first() else {
        return (Vec::new(), Undeleted::new());
    };
    let first = TagDeletion {
        tags: deletion.tags.get(..1).unwrap_or_default(),
        ..deletion
    };
    let (_, mut undeleted) = unchanged(registry, first).await;
    if undeleted.is_empty() {
        return (deletion.tags.to_vec(), undeleted);
    }
    let others = TagDeletion {
        tags: others,
        ..deletion
    };
    let (tags, more) = unchanged(registry, others).await;
    undeleted.extend(more);
    (tags, undeleted)
}

/// Chooses the way by the host's name, or by the service in its challenge.
fn method(registry: &Registry, repository: &Repository) -> DeletionMethod {
    let host = repository.host();
    if let Some(ecr) = Ecr::of(host) {
        return DeletionMethod::Ecr(ecr);
    }
    let service = registry.sender.auth().service(host);
    match host.as_str() {
        "docker.io" => DeletionMethod::DockerHub,
        "ghcr.io" => DeletionMethod::Github,
        "quay.io" => DeletionMethod::Quay,
        name if name.ends_with(".azurecr.io") => DeletionMethod::Acr,
        _ if service.as_deref() == Some(harbor::SERVICE) => DeletionMethod::Harbor,
        _ => DeletionMethod::Oci,
    }
}
