//! What is to be done before a build, from what the registries say of its tags.

use super::assemble::{Assembly, PlatformMap, Resolved};
use super::likeness::{Likeness, compare, images_of, platforms_held};
use crate::domain::{Digest, FullTag, Manifest, TagContent};
use crate::inputs::OnExistingTag;

/// What came of looking at a tag.
#[derive(Debug, Clone)]
pub enum Look {
    /// The registry says that there is no such tag.
    Absent,
    /// It holds this.
    Holds(TagContent),
    /// The registry denies the repository to who may push to it: as far as anybody can see nothing was ever pushed there.
    New(String),
    /// The registry did not say, for this reason.
    Unknown(String),
}

/// The four answers and what is known beyond them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagAnswer {
    /// It does not exist.
    Absent,
    /// It exists.
    Present(Held),
    /// It holds the images that were given.
    Same(Held),
    /// It holds others than those that were given, or than the first tag that exists; or what no index of ours can be.
    Different(Held, Option<String>),
    /// It does not exist, as far as can be seen of a repository that nobody has pushed to yet. Never taken for `Absent`:
    /// it is said, and the push will tell.
    New(String),
    /// Nobody knows, for this reason.
    Unknown(String),
}

/// What a tag holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The digest.
    pub digest: Digest,
    /// What that has for which platform; empty when it is no index.
    pub images: Vec<(String, Digest)>,
}

/// A tag and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTag {
    /// The tag.
    pub tag: FullTag,
    /// What is known.
    pub answer: TagAnswer,
}

/// What follows from all tags together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Something is not known, so that nothing follows.
    Unknown,
    /// A tag exists, and none may.
    Taken,
    /// Tags hold different images, so that none of them can be completed from another.
    Differ,
    /// A tag holds something that nothing vouches for, so that nobody may sign it or copy it anywhere.
    Unvouched,
    /// It is published already: nothing is to be built, and this is where the rest can be completed from.
    Skip(FullTag, Digest),
    /// Build.
    Proceed,
}

impl TagAnswer {
    /// The word for it, as the output `states` has it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present(_) => "present",
            Self::Same(_) => "same",
            Self::Different(..) => "different",
            Self::New(_) => "unknown-new",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What the tag holds, if it exists.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Present(held) | Self::Same(held) | Self::Different(held, _) => Some(held),
            Self::Absent | Self::New(_) | Self::Unknown(_) => None,
        }
    }
}

/// Says of each tag what is known of it. Where it is not known what they are to hold, those that exist are measured by
/// the first of them that `seal` could have made: that is the one which the others would be completed from.
#[must_use]
pub fn find_tags(
    looks: &[(FullTag, Look)],
    wanted: Option<(&Assembly, &[Resolved])>,
) -> Vec<FoundTag> {
    let first = looks.iter().find_map(|(_, look)| match look {
        Look::Holds(content) => {
            let manifest = content.manifest()?;
            Some((platforms_held(manifest, &[]).ok()?, manifest))
        }
        Look::Absent | Look::New(_) | Look::Unknown(_) => None,
    });
    let found = |(tag, look): &(FullTag, Look)| FoundTag {
        tag: tag.clone(),
        answer: match look {
            Look::Absent => TagAnswer::Absent,
            Look::New(why) => TagAnswer::New(why.clone()),
            Look::Unknown(why) => TagAnswer::Unknown(why.clone()),
            Look::Holds(TagContent::Manifest(manifest)) => {
                measured(manifest, wanted, first.as_ref())
            }
            Look::Holds(content @ TagContent::Unusable(unusable)) => {
                let held = Held {
                    digest: content.digest().clone(),
                    images: Vec::new(),
                };
                TagAnswer::Different(held, Some(unusable.text()))
            }
        },
    };
    looks.iter().map(found).collect()
}

fn measured(
    manifest: &Manifest,
    wanted: Option<(&Assembly, &[Resolved])>,
    first: Option<&(PlatformMap, &Manifest)>,
) -> TagAnswer {
    let held = Held {
        digest: manifest.digest().clone(),
        images: images_of(manifest),
    };
    let likeness = match (wanted, first) {
        (Some((assembly, resolved)), _) => {
            let Assembly {
                manifest: wanted,
                platforms,
                ..
            } = assembly;
            compare(manifest, platforms, wanted, resolved)
        }
        (None, Some((platforms, first))) => compare(manifest, platforms, first, &[]),
        (None, None) => match platforms_held(manifest, &[]) {
            Ok(_) => Likeness::Same,
            Err(why) => Likeness::Odd(why),
        },
    };
    match likeness {
        Likeness::Same if wanted.is_some() => TagAnswer::Same(held),
        Likeness::Same => TagAnswer::Present(held),
        Likeness::OtherMap => TagAnswer::Different(held, None),
        Likeness::Odd(why) => TagAnswer::Different(held, Some(why)),
    }
}

/// Decides. What is not known stops it whatever else was found, since it could be what the policy is about.
#[must_use]
pub fn decide_preflight(found: &[FoundTag], policy: OnExistingTag) -> Verdict {
    let any = |is: fn(&TagAnswer) -> bool| found.iter().any(|found| is(&found.answer));
    if any(|answer| matches!(answer, TagAnswer::Unknown(_))) {
        return Verdict::Unknown;
    }
    let first = found
        .iter()
        .find_map(|found| Some((&found.tag, found.answer.held()?)));
    match (first, policy) {
        (None, _) | (_, OnExistingTag::Warn) => Verdict::Proceed,
        (Some(_), OnExistingTag::Fail) => Verdict::Taken,
        (Some(_), OnExistingTag::Skip)
            if any(|answer| matches!(answer, TagAnswer::Different(..))) =>
        {
            Verdict::Differ
        }
        (Some((tag, held)), OnExistingTag::Skip) => Verdict::Skip(tag.clone(), held.digest.clone()),
    }
}
