//! Deletes tags in each registry's own way. The protocol has one way, but most hosted registries lack it or have
//! others. Each has a file here that names its sources.
//!
//! A deletion may remove more than the tag. Each file removes only the necessary, and keeps the tag if content of
//! others would be removed. Only a later read of the registry confirms that a tag is gone.

mod acr;
mod api;
mod by_hand;
mod docker_hub;
mod ecr;
mod github;
mod harbor;
mod oci;
mod quay;
mod still_held;
mod undeleted;

use super::client::Registry;
use super::ecr::Ecr;
use crate::domain::Repository;

pub use by_hand::steps_by_hand;
pub use undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted};

/// The ways to delete tags.
enum Way {
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
pub async fn delete_tags(registry: &Registry, doomed: TagDeletion<'_>) -> Undeleted {
    if doomed.tags.is_empty() {
        return Undeleted::new();
    }
    match way(registry, doomed.repository) {
        Way::Oci => oci::delete(registry, doomed).await,
        Way::Quay => quay::delete(registry, doomed).await,
        Way::DockerHub => docker_hub::delete(registry, doomed).await,
        Way::Github => github::delete(registry, doomed).await,
        Way::Ecr(ecr) => ecr::delete(registry, &ecr, doomed).await,
        Way::Acr => acr::delete(registry, doomed).await,
        Way::Harbor => harbor::delete(registry, doomed).await,
    }
}

/// Chooses the way by the host's name, or by the service in its challenge.
fn way(registry: &Registry, repository: &Repository) -> Way {
    let host = repository.host();
    if let Some(ecr) = Ecr::of(host) {
        return Way::Ecr(ecr);
    }
    let service = registry.sender.auth().service(host);
    match host.as_str() {
        "docker.io" => Way::DockerHub,
        "ghcr.io" => Way::Github,
        "quay.io" => Way::Quay,
        name if name.ends_with(".azurecr.io") => Way::Acr,
        _ if service.as_deref() == Some(harbor::SERVICE) => Way::Harbor,
        _ => Way::Oci,
    }
}
