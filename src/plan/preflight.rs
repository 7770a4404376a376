//! The decision before a build, from what the registries report of its tags.

use super::assemble::{Assembly, IndexImages, Resolved};
use super::image_comparison::{ImageComparison, compare, images_in, images_of};
use crate::domain::{Digest, FullTag, Manifest, TagContent};
use crate::inputs::OnExistingTag;

/// The result of reading a tag.
#[derive(Debug, Clone)]
pub enum TagResponse {
    /// The registry reports that the tag does not exist.
    Absent,
    /// The tag contains this.
    Content(TagContent),
    /// The registry denies the repository to credentials that may push to it. Apparently nothing was ever pushed there.
    New(String),
    /// The registry did not report the content, for this reason.
    Unknown(String),
}

/// The state of a tag: the four possible answers, and the result of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreflightState {
    /// The tag does not exist.
    Absent,
    /// The tag exists.
    Present(TagContents),
    /// The tag contains the images that were given.
    Same(TagContents),
    /// The tag contains other images than those that were given, or than the first existing tag. Or it contains
    /// something that cannot be an index of this program.
    Different(TagContents, Option<String>),
    /// Apparently the tag does not exist, since nobody has pushed to the repository yet. Never treated as `Absent`: it
    /// is reported, and the push decides.
    New(String),
    /// The state is unknown, for this reason.
    Unknown(String),
}

/// The content of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagContents {
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
    pub state: PreflightState,
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

impl PreflightState {
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
    pub fn contents(&self) -> Option<&TagContents> {
        match self {
            Self::Present(contents) | Self::Same(contents) | Self::Different(contents, _) => {
                Some(contents)
            }
            Self::Absent | Self::New(_) | Self::Unknown(_) => None,
        }
    }
}

/// Determines the state of each tag. If the wanted images are not given, existing tags are compared to the first of
/// them that `seal` could have made. The others would be completed from that one.
#[must_use]
pub fn find_tags(
    responses: &[(FullTag, TagResponse)],
    wanted: Option<(&Assembly, &[Resolved])>,
) -> Vec<FoundTag> {
    let first = responses.iter().find_map(|(_, response)| match response {
        TagResponse::Content(content) => {
            let manifest = content.manifest()?;
            Some((images_in(manifest, &[]).ok()?, manifest))
        }
        TagResponse::Absent | TagResponse::New(_) | TagResponse::Unknown(_) => None,
    });
    let found = |(tag, response): &(FullTag, TagResponse)| FoundTag {
        tag: tag.clone(),
        state: match response {
            TagResponse::Absent => PreflightState::Absent,
            TagResponse::New(why) => PreflightState::New(why.clone()),
            TagResponse::Unknown(why) => PreflightState::Unknown(why.clone()),
            TagResponse::Content(TagContent::Manifest(manifest)) => {
                compared_state(manifest, wanted, first.as_ref())
            }
            TagResponse::Content(content @ TagContent::Unusable(unusable)) => {
                let contents = TagContents {
                    digest: content.digest().clone(),
                    images: Vec::new(),
                };
                PreflightState::Different(contents, Some(unusable.text()))
            }
        },
    };
    responses.iter().map(found).collect()
}

fn compared_state(
    manifest: &Manifest,
    wanted: Option<(&Assembly, &[Resolved])>,
    first: Option<&(IndexImages, &Manifest)>,
) -> PreflightState {
    let contents = TagContents {
        digest: manifest.digest().clone(),
        images: images_of(manifest),
    };
    let comparison = match (wanted, first) {
        (Some((assembly, resolved)), _) => {
            let Assembly {
                manifest: wanted,
                images,
                ..
            } = assembly;
            compare(manifest, images, wanted, resolved)
        }
        (None, Some((images, first))) => compare(manifest, images, first, &[]),
        (None, None) => match images_in(manifest, &[]) {
            Ok(_) => ImageComparison::Same,
            Err(why) => ImageComparison::Odd(why),
        },
    };
    match comparison {
        ImageComparison::Same if wanted.is_some() => PreflightState::Same(contents),
        ImageComparison::Same => PreflightState::Present(contents),
        ImageComparison::Other => PreflightState::Different(contents, None),
        ImageComparison::Odd(why) => PreflightState::Different(contents, Some(why)),
    }
}

/// Decides what follows for the build. An unknown state stops it, whatever else was found: it could be the state that
/// the policy forbids.
#[must_use]
pub fn decide_preflight(found: &[FoundTag], policy: OnExistingTag) -> Verdict {
    let any = |is: fn(&PreflightState) -> bool| found.iter().any(|found| is(&found.state));
    if any(|state| matches!(state, PreflightState::Unknown(_))) {
        return Verdict::Unknown;
    }
    let first = found
        .iter()
        .find_map(|found| Some((&found.tag, found.state.contents()?)));
    match (first, policy) {
        (None, _) | (_, OnExistingTag::Warn) => Verdict::Proceed,
        (Some(_), OnExistingTag::Fail) => Verdict::Taken,
        (Some(_), OnExistingTag::Skip)
            if any(|state| matches!(state, PreflightState::Different(..))) =>
        {
            Verdict::Differ
        }
        (Some((tag, contents)), OnExistingTag::Skip) => {
            Verdict::Skip(tag.clone(), contents.digest.clone())
        }
    }
}
