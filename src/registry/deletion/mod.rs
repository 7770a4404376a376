//! Tags, deleted in each registry's own way. The protocol has one; most hosted registries do not have it, or have more:
//! each gets a file here, which says where its ways are written down.
//!
//! What a way can take away beside the tag is the question in each of them: nothing goes that does not have to, and where
//! something of others would go along the tag stays. Whether a tag is gone, only a look at the registry says.

mod by_hand;
mod oci;

use super::client::Registry;
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
    /// It said no, or nothing that could be understood.
    #[error(transparent)]
    Refused(Fault),
    /// It would take others along.
    #[error("it can only be deleted together with {}, which hold the same", names(.0))]
    Shared(Vec<String>),
    /// It may take others along.
    #[error(
        "it can only be deleted together with all tags that hold the same, and which these are cannot be known"
    )]
    Unlisted(#[source] Fault),
}

/// A tag that stays, and why. Not said of one that is gone, or that nothing is known of but what a look would show.
pub type Stays = Vec<(Tag, DeletionError)>;

/// The ways there are.
enum Way {
    /// The protocol's own.
    Oci,
}

impl Registry {
    /// Deletes tags, as far as that goes without taking anything of others along. Returns those that stay. That one is not
    /// among them is the registry's word, which a look has to confirm.
    pub async fn delete_tags(&self, doomed: Doomed<'_>) -> Stays {
        match Way::of(doomed.repository) {
            Way::Oci => oci::delete(self, doomed).await,
        }
    }
}

impl Way {
    fn of(_repository: &Repository) -> Self {
        Self::Oci
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
