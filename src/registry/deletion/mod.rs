//! Deletes tags in each registry's own way. The protocol has one way, but most hosted registries lack it or have
//! others. Each has a file here that names its sources.
//!
//! A deletion may remove more than the tag. Each file removes only the necessary, and keeps the tag if content of
//! others would be removed. Only a later read of the registry confirms that a tag is gone.

mod acr;
mod api;
mod docker_hub;
mod ecr;
mod github;
mod harbor;
mod manual_steps;
mod oci;
mod quay;
mod unchanged_check;
mod undeleted;

use super::client::Registry;
use super::ecr::Ecr;
use crate::domain::Repository;

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
    if deletion.tags.is_empty() {
        return Undeleted::new();
    }
    match method(registry, deletion.repository) {
        DeletionMethod::Oci => oci::delete(registry, deletion).await,
        DeletionMethod::Quay => quay::delete(registry, deletion).await,
        DeletionMethod::DockerHub => docker_hub::delete(registry, deletion).await,
        DeletionMethod::Github => github::delete(registry, deletion).await,
        DeletionMethod::Ecr(ecr) => ecr::delete(registry, &ecr, deletion).await,
        DeletionMethod::Acr => acr::delete(registry, deletion).await,
        DeletionMethod::Harbor => harbor::delete(registry, deletion).await,
    }
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
