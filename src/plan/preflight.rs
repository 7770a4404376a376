//! The decision before a build, from what the registries report of its tags.

use super::assemble::{Assembly, PlatformMap, Resolved};
use super::likeness::{Likeness, compare, images_of, platforms_held};
use crate::domain::{Digest, FullTag, Manifest, TagContent};
use crate::inputs::OnExistingTag;

/// The result of reading a tag.
#[derive(Debug, Clone)]
pub enum Look {
    /// The registry reports that the tag does not exist.
    Absent,
    /// The tag contains this.
    Holds(TagContent),
    /// The registry denies the repository to credentials that may push to it. Apparently nothing was ever pushed there.
    New(String),
    /// The registry did not report the content, for this reason.
    Unknown(String),
}

/// The state of a tag: the four possible answers, and the result of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagAnswer {
    /// The tag does not exist.
    Absent,
    /// The tag exists.
    Present(Held),
    /// The tag contains the images that were given.
    Same(Held),
    /// The tag contains other images than those that were given, or than the first existing tag. Or it contains
    /// something that cannot be an index of this program.
    Different(Held, Option<String>),
    /// Apparently the tag does not exist, since nobody has pushed to the repository yet. Never treated as `Absent`: it
    /// is reported, and the push decides.
    New(String),
    /// The state is unknown, for this reason.
    Unknown(String),
}

/// The content of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The digest.
    pub digest: Digest,
    /// Its images by platform; empty if it is not an index.
    pub images: Vec<(String, Digest)>,
}

/// A tag and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTag {
    /// The tag.
    pub tag: FullTag,
    /// The state.
    pub answer: TagAnswer,
}

/// The decision from the states of all tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The state of a tag is unknown, so nothing is decided.
    Unknown,
    /// A tag exists, and none may exist.
    Taken,
    /// The tags contain different images, so none of them can be completed from another.
    Differ,
    /// A tag contains something that nothing vouches for, so it must not be signed or copied.
    Unvouched,
    /// The image is published already, so no build is needed. The other tags can be completed from this one.
    Skip(FullTag, Digest),
    /// The build can proceed.
    Proceed,
}

impl TagAnswer {
    /// The word for it in the output `states`.
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

    /// The content of the tag, if it exists.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Present(held) | Self::Same(held) | Self::Different(held, _) => Some(held),
            Self::Absent | Self::New(_) | Self::Unknown(_) => None,
        }
    }
}

/// Determines the state of each tag. If the wanted images are not given, existing tags are compared to the first of
/// them that `seal` could have made. The others would be completed from that one.
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

/// Decides what follows for the build. An unknown state stops it, whatever else was found: it could be the state that
/// the policy forbids.
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
