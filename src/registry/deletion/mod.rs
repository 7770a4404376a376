//! Tags, deleted in each registry's own way. The protocol has one; most hosted registries do not have it, or have more:
//! each gets a file here, which says where its ways are written down.
//!
//! What a way can take away beside the tag is the question in each of them: nothing goes that does not have to, and where
//! something of others would go along the tag stays. Whether a tag is gone, only a look at the registry says.

mod acr;
mod api;
mod by_hand;
mod docker_hub;
mod ecr;
mod github;
mod harbor;
mod oci;
mod quay;

use super::client::Registry;
use super::ecr::Ecr;
use super::error::Fault;
use crate::domain::{Digest, Repository, Tag};

pub use by_hand::steps_by_hand;

/// Tags that all hold one digest and are all to go.
#[derive(Debug, Clone, Copy)]
pub struct Doomed<'a> {
    /// Where they are.
    pub repository: &'a Repository,
    /// What they hold.
    pub digest: &'a Digest,
    /// Which. That no other tag goes along is seen to here.
    pub tags: &'a [Tag],
    /// What may go with them.
    pub may_delete: MayDelete,
}

/// What may be deleted where a registry has no way to delete a tag alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MayDelete {
    /// Tags alone: what they hold may have been there before.
    Tags,
    /// What they hold, too.
    Manifest,
}

/// Why a tag stays.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeletionError {
    /// The registry has no way to delete it, or none that is switched on.
    #[error("`{host}` does not delete tags")]
    Unsupported {
        /// The registry.
        host: String,
    },
    /// There is nothing to ask with.
    #[error("to delete it takes {0}, and there is none here")]
    Missing(&'static str),
    /// Who asks may not.
    #[error("to delete it takes {needs}")]
    Denied {
        /// What is missing, most likely.
        needs: &'static str,
        /// What was said.
        #[source]
        fault: Fault,
    },
    /// It said no, or nothing that could be understood.
    #[error(transparent)]
    Refused(Fault),
    /// It would take along what may have been there before.
    #[error(
        "it can only be deleted together with what it holds, and the record does not say that the run created that: it may have been there before"
    )]
    NotCreated,
    /// It would take others along.
    #[error("it can only be deleted together with {}, which hold the same", names(.0))]
    Shared(Vec<String>),
    /// It may take others along.
    #[error(
        "it can only be deleted together with all tags that hold the same, and which these are cannot be known"
    )]
    Unlisted(#[source] Fault),
    /// It takes the tags of signatures along, which have to be seen first to be put back.
    #[error(
        "its deletion would take the tags of its signatures along, and what they hold cannot be seen"
    )]
    Unseen(#[source] Fault),
}

/// A tag that stays, and why. Not said of one that is gone, or that nothing is known of but what a look would show.
pub type Stays = Vec<(Tag, DeletionError)>;

/// The ways there are.
enum Way {
    /// The protocol's own.
    Oci,
    /// The same, with something to put back.
    Quay,
    DockerHub,
    Github,
    Ecr(Ecr),
    Acr,
    Harbor,
}

impl Registry {
    /// Deletes tags, as far as that goes without taking anything of others along. Returns those that stay. That one is not
    /// among them is the registry's word, which a look has to confirm.
    pub async fn delete_tags(&self, doomed: Doomed<'_>) -> Stays {
        if doomed.tags.is_empty() {
            return Stays::new();
        }
        match self.way(doomed.repository) {
            Way::Oci => oci::delete(self, doomed).await,
            Way::Quay => quay::delete(self, doomed).await,
            Way::DockerHub => docker_hub::delete(self, doomed).await,
            Way::Github => github::delete(self, doomed).await,
            Way::Ecr(ecr) => ecr::delete(self, &ecr, doomed).await,
            Way::Acr => acr::delete(self, doomed).await,
            Way::Harbor => harbor::delete(self, doomed).await,
        }
    }

    /// What is known of a host by its name, or by the challenge that it greeted us with.
    fn way(&self, repository: &Repository) -> Way {
        let host = repository.host();
        if let Some(ecr) = Ecr::of(host) {
            return Way::Ecr(ecr);
        }
        let service = self.keyring().service(host);
        match host.as_str() {
            "docker.io" => Way::DockerHub,
            "ghcr.io" => Way::Github,
            "quay.io" => Way::Quay,
            name if name.ends_with(".azurecr.io") => Way::Acr,
            _ if service.as_deref() == Some(harbor::SERVICE) => Way::Harbor,
            _ => Way::Oci,
        }
    }
}

/// A refusal, told apart by whether it is for want of a right.
fn refused(fault: Fault, needs: &'static str) -> DeletionError {
    let refusal = fault.refusal();
    let is_denial = refusal.is_some_and(|refusal| {
        let is_aws = refusal.has_code("AccessDeniedException");
        (matches!(refusal.status, 401 | 403) || is_aws) && !refusal.is_throttling()
    });
    if is_denial {
        DeletionError::Denied { needs, fault }
    } else {
        DeletionError::Refused(fault)
    }
}

/// The same of all tags.
fn all(doomed: Doomed<'_>, error: &DeletionError) -> Stays {
    let tags = doomed.tags.iter();
    tags.map(|tag| (tag.clone(), error.clone())).collect()
}

fn names(tags: &[String]) -> String {
    let names: Vec<String> = tags.iter().take(10).map(|tag| format!("`{tag}`")).collect();
    match tags.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
