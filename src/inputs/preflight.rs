//! What the command `preflight` takes: tags in any number of repositories, and what it means that one exists.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::repositories::Repositories;
use super::requests::{annotations, given, listed_digests, policy};
use super::{Given, PolicyInputs, Request};
use crate::domain::{FullTag, Repository};

/// The command `preflight`.
#[derive(Debug)]
pub struct Preflight {
    /// The tags to look for, each once; never empty.
    pub tags: Vec<FullTag>,
    /// What they are to hold, where that is known already.
    pub digests: Vec<Given>,
    /// The annotations of the index that they are to hold.
    pub annotations: BTreeMap<String, String>,
    /// Every repository that was named.
    pub sources: Vec<Repository>,
    /// What it means that one of them exists.
    pub on_existing: OnExistingTag,
    /// Whose signature vouches for what exists; nothing where nobody signs.
    pub policy: Option<PolicyInputs>,
}

/// The input `on-existing-tag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExistingTag {
    /// The run is refused: a version is published once.
    Fail,
    /// There is nothing to build: what exists is to be completed.
    Skip,
    /// It is said, and the build goes on.
    Warn,
}

/// `None` where an error was kept that leaves nothing to go on with.
pub(super) fn preflight(fields: &mut Fields<'_>) -> Option<Request> {
    let mut repositories = Repositories::of_image(fields);
    let tags = repositories.entries(fields, "tags");
    let digests = listed_digests(fields, &mut repositories);
    let tags = repositories.placed(fields, "tags", tags);
    // A list of nothing but comments and commas is as good as none; what was refused was given.
    if tags.is_empty() && !fields.is_refused("tags") && !fields.is_refused("image") {
        fields.refuse("tags", "`preflight` must be told which tags to look for");
    }
    if fields.text("digests").is_some() && digests.is_empty() && !fields.is_refused("digests") {
        fields.refuse(
            "digests",
            "it holds no digest; leave it out where none is known yet",
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
    Some(Request::Preflight(Preflight {
        tags,
        annotations,
        digests: given(digests, &home),
        sources: repositories.into_all(),
        on_existing,
        policy: is_signed.then_some(policy),
    }))
}
