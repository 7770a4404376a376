//! The inputs of the command `preflight`: tags in any number of repositories, and the reaction to existing ones.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::parts::{annotations, given, listed_digests, policy};
use super::repositories::Repositories;
use super::values::{Given, PolicyInputs};
use crate::domain::{FullTag, Repository};

/// The command `preflight`.
#[derive(Debug)]
pub struct Preflight {
    /// The tags to check, each once; never empty.
    pub tags: Vec<FullTag>,
    /// The parts of the index that the tags must get, if already known.
    pub digests: Vec<Given>,
    /// The annotations of the index that the tags must get.
    pub annotations: BTreeMap<String, String>,
    /// Every repository that was named.
    pub sources: Vec<Repository>,
    /// The reaction to an existing tag.
    pub on_existing: OnExistingTag,
    /// The policy by which a signature vouches for existing content; `None` if nothing is signed.
    pub policy: Option<PolicyInputs>,
}

/// The input `on-existing-tag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExistingTag {
    /// The run is refused: a version is published once.
    Fail,
    /// Nothing is built: the existing image is to be completed.
    Skip,
    /// A warning is printed, and the build continues.
    Warn,
}

/// Reads the inputs of `preflight`. Returns `None` if an error leaves no request.
pub(super) fn preflight(fields: &mut Fields<'_>) -> Option<Preflight> {
    let mut repositories = Repositories::of_image(fields);
    let tags = repositories.entries(fields, "tags");
    let digests = listed_digests(fields, &mut repositories);
    let tags = repositories.placed(fields, "tags", tags);
    // A list of only comments and commas counts as empty. A refused input counts as given.
    if tags.is_empty() && !fields.is_refused("tags") && !fields.is_refused("image") {
        fields.refuse("tags", "`preflight` requires the tags to check");
    }
    if fields.text("digests").is_some() && digests.is_empty() && !fields.is_refused("digests") {
        fields.refuse(
            "digests",
            "it contains no digest; omit it if no digest is known yet",
        );
    }
    let words = [
        ("fail", OnExistingTag::Fail),
        ("skip", OnExistingTag::Skip),
        ("warn", OnExistingTag::Warn),
    ];
    let on_existing = fields.word("on-existing-tag", &words, OnExistingTag::Fail);
    let is_signed = fields.boolean("sign", true);
    let policy = policy(fields);
    let annotations = annotations(fields);
    let home = repositories.home(fields)?;
    Some(Preflight {
        tags,
        annotations,
        digests: given(digests, &home),
        sources: repositories.into_all(),
        on_existing,
        policy: is_signed.then_some(policy),
    })
}
