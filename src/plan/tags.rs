//! The step for each tag: turns the four possible answers of a registry into a step or a conflict.

use std::collections::BTreeMap;

use super::adoption::{adopted, unadopted};
use super::assemble::{Assembly, Resolved};
use super::differences::differences;
use super::likeness::{Likeness, compare, images_of};
use super::tag_kind::TagKind;
use super::vouched::{Standing, Vouched};
use crate::domain::{Digest, FullTag, Manifest, Repository, TagContent};

/// A tag and its content, as the registry reports it. A tag of unknown state is never passed here.
#[derive(Debug, Clone)]
pub struct SeenTag {
    /// The tag.
    pub tag: FullTag,
    /// Its kind: fixed or moving.
    pub kind: TagKind,
    /// Its content; `None` if the registry reports that the tag does not exist.
    pub holds: Option<TagContent>,
}

/// The step for a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagStep {
    /// The tag.
    pub tag: FullTag,
    /// Its kind: fixed or moving.
    pub kind: TagKind,
    /// The digest under the tag before the step.
    pub before: Option<Digest>,
    /// The digest under the tag after the step.
    pub after: Digest,
    /// The two versions, if a moving tag stays unchanged because its content is newer.
    pub newer: Option<Newer>,
}

/// Two versions: the newer one under a tag, and the one that it was to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// The version under the tag.
    pub holds: String,
    /// The version that the tag was to get.
    pub wanted: String,
}

/// A tag whose content differs from the wanted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The tag.
    pub tag: FullTag,
    /// The digest under the tag.
    pub holds: Digest,
    /// The images of that index by platform; empty if it is not an index, or has no platform children.
    pub found: Vec<(String, Digest)>,
    /// The difference from the wanted content.
    pub difference: Difference,
}

impl Conflict {
    /// Makes the conflict of a fixed tag with its content.
    #[must_use]
    pub fn new(tag: &FullTag, holds: &TagContent, difference: Difference) -> Self {
        Self {
            tag: tag.clone(),
            holds: holds.digest().clone(),
            found: holds.manifest().map(images_of).unwrap_or_default(),
            difference,
        }
    }
}

/// The difference between the content of a tag and the wanted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Other images: platforms or digests differ.
    Images,
    /// A difference that the platforms and digests do not show.
    Odd(String),
    /// Equal images, but something else differs and nothing vouches for it.
    Unvouched(String),
}

impl Difference {
    /// The difference in words, if the platforms and digests do not show it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Images => None,
            Self::Odd(why) => Some(why.clone()),
            Self::Unvouched(what) => Some(format!("it is not verified: {what}")),
        }
    }
}

/// The step of every tag, and the index that results.
#[derive(Debug, Clone)]
pub struct TagSteps {
    /// The index for absent and moving tags: the one that was made, or a vouched one that a tag contains already. An
    /// index that nothing vouches for is the target only if every tag contains it already. Then no tag gets it.
    pub target: Standing,
    /// The steps, in the order of the inputs, moving tags last.
    pub steps: Vec<TagStep>,
    /// Other indexes with equal images, which stay under fixed tags.
    pub equivalents: Vec<Equivalent>,
}

/// An index with the same images as the target in other bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivalent {
    /// The repository whose tag contains it.
    pub repository: Repository,
    /// The index.
    pub index: Standing,
}

/// The rule by which an index under a fixed tag may stay there.
#[derive(Debug, Clone, Copy)]
pub enum Sameness<'a> {
    /// The images are equal. Used if nothing is signed.
    Images,
    /// The index has the entries and annotations that this run would write, or an input names it, or it is listed here.
    /// The listed ones have a signature that meets the policy. Used if something is signed.
    Vouched(&'a [Vouched<Manifest>]),
}

impl TagStep {
    /// True if the tag is written.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    /// The step for a moving tag with this content: it gets `target`, unless its content is a `newer` version.
    #[must_use]
    pub fn of_moving(
        tag: &FullTag,
        holds: Option<&TagContent>,
        target: &Digest,
        newer: Option<Newer>,
    ) -> Self {
        let before = holds.map(|holds| holds.digest().clone());
        let newer = newer.filter(|_| before.as_ref().is_some_and(|before| before != target));
        Self {
            tag: tag.clone(),
            kind: TagKind::Moving,
            after: match (&newer, &before) {
                (Some(_), Some(before)) => before.clone(),
                _ => target.clone(),
            },
            before,
            newer,
        }
    }
}

/// Decides the step of every tag, or returns every tag in conflict. `newer` lists the moving tags that contain a newer
/// version. The repository of a tag does not matter: absent and moving tags get the first vouched index everywhere, in
/// the order of the tags.
pub fn decide_tags(
    assembly: &Assembly,
    resolved: &[Resolved],
    seen: &[SeenTag],
    sameness: Sameness<'_>,
    newer: &BTreeMap<FullTag, Newer>,
) -> Result<TagSteps, Vec<Conflict>> {
    let mut conflicts = Vec::new();
    let mut same: Vec<Equivalent> = Vec::new();
    for tag in seen.iter().filter(|tag| tag.kind == TagKind::Fixed) {
        let Some(holds) = &tag.holds else { continue };
        match stand_of(holds, assembly, resolved, sameness) {
            Ok(index) => {
                let found = Equivalent {
                    repository: tag.tag.repository.clone(),
                    index,
                };
                if !same.contains(&found) {
                    same.push(found);
                }
            }
            Err(difference) => conflicts.push(Conflict::new(&tag.tag, holds, difference)),
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let target =
        target(&same, seen).unwrap_or_else(|| Standing::Vouched(assembly.manifest.clone()));
    let digest = target.manifest().digest();
    let step = |tag: &SeenTag| {
        let holds = tag.holds.as_ref();
        if tag.kind == TagKind::Moving {
            return TagStep::of_moving(&tag.tag, holds, digest, newer.get(&tag.tag).cloned());
        }
        TagStep {
            tag: tag.tag.clone(),
            kind: tag.kind,
            before: holds.map(|holds| holds.digest().clone()),
            after: holds.map_or(digest, TagContent::digest).clone(),
            newer: None,
        }
    };
    let steps = seen.iter().map(step).collect();
    same.retain(|found| found.index.manifest().digest() != digest);
    Ok(TagSteps {
        steps,
        equivalents: same,
        target,
    })
}

/// Returns the indexes under fixed tags with the same images as `assembly` that only a signature can vouch for.
pub fn lacking_vouchers<'a>(
    assembly: &'a Assembly,
    resolved: &'a [Resolved],
    seen: &'a [SeenTag],
) -> impl Iterator<Item = (&'a Repository, &'a Manifest)> {
    let fixed = seen.iter().filter(|tag| tag.kind == TagKind::Fixed);
    fixed.filter_map(|tag| {
        let holds = tag.holds.as_ref()?.manifest()?;
        let standing = stand(holds, assembly, resolved, Sameness::Images);
        matches!(standing, Ok(Standing::Observed(_))).then_some((&tag.tag.repository, holds))
    })
}

/// Compares the content of a fixed tag with the index that was made, or returns the difference between them.
fn stand_of(
    holds: &TagContent,
    assembly: &Assembly,
    resolved: &[Resolved],
    sameness: Sameness<'_>,
) -> Result<Standing, Difference> {
    match holds {
        TagContent::Manifest(holds) => stand(holds, assembly, resolved, sameness),
        TagContent::Unusable(unusable) => Err(Difference::Odd(unusable.text())),
    }
}

/// Compares an index under a fixed tag with the one that was made, or returns the reason why it may not stay.
fn stand(
    holds: &Manifest,
    assembly: &Assembly,
    resolved: &[Resolved],
    sameness: Sameness<'_>,
) -> Result<Standing, Difference> {
    match compare(holds, &assembly.platforms, &assembly.manifest, resolved) {
        Likeness::Same => (),
        Likeness::OtherMap => return Err(Difference::Images),
        Likeness::Odd(why) => return Err(Difference::Odd(why)),
    }
    if let Some(adopted) = adopted(holds, assembly, resolved) {
        return Ok(Standing::Vouched(adopted));
    }
    let mut found = differences(holds, assembly, resolved);
    if found.is_empty() {
        return Ok(Standing::Vouched(Vouched::made(holds.clone())));
    }
    found.extend(unadopted(holds, resolved));
    match sameness {
        Sameness::Images => Ok(Standing::Observed(holds.clone())),
        Sameness::Vouched(signed) => {
            let mut signed = signed.iter();
            signed
                .find(|index| index.digest() == holds.digest())
                .map(|index| Standing::Vouched(index.clone()))
                .ok_or_else(|| Difference::Unvouched(found.join("; ")))
        }
    }
}

/// Returns the existing index that absent tags get.
fn target(same: &[Equivalent], seen: &[SeenTag]) -> Option<Standing> {
    let vouched = same.iter().find(|found| found.index.vouched().is_some());
    // No tag gets an index that nothing vouches for. It is the result only if all tags contain it.
    let kept = || {
        let first = same.first()?;
        let digest = first.index.manifest().digest();
        let holds = |tag: &SeenTag| tag.holds.as_ref().map(TagContent::digest) == Some(digest);
        seen.iter().all(holds).then_some(first)
    };
    vouched.or_else(kept).map(|found| found.index.clone())
}
