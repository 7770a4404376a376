//! What to do with each tag: the four answers of a registry turned into a step or a conflict.

use std::collections::BTreeMap;

use super::assemble::{Assembly, Resolved};
use super::differences::differences;
use super::likeness::{Likeness, compare, images_of};
use super::vouched::{Standing, Vouched};
use crate::domain::{Digest, FullTag, Manifest, Repository, TagContent};

/// Whether a tag may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// Never changes what it holds.
    Fixed,
    /// May be written over.
    Moving,
}

/// A tag, and what the registry says it holds. What the registry would not say never gets here.
#[derive(Debug, Clone)]
pub struct SeenTag {
    /// The tag.
    pub tag: FullTag,
    /// Whether it may move.
    pub kind: TagKind,
    /// What it holds; `None` is the registry's own word that it holds nothing.
    pub holds: Option<TagContent>,
}

/// What is done with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagStep {
    /// The tag.
    pub tag: FullTag,
    /// Whether it may move.
    pub kind: TagKind,
    /// What it holds before.
    pub before: Option<Digest>,
    /// What it holds after.
    pub after: Digest,
    /// Why a moving tag stays as it is, where going on would be going back.
    pub newer: Option<Newer>,
}

/// Two versions, of which the one that a tag holds is the newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// The one that the tag holds.
    pub holds: String,
    /// The one that it was to get.
    pub wanted: String,
}

/// A tag that holds something else than what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The tag.
    pub tag: FullTag,
    /// The digest that it holds.
    pub holds: Digest,
    /// What that has for which platform; empty when it is no index, or has no platform children.
    pub found: Vec<(String, Digest)>,
    /// What makes it differ.
    pub difference: Difference,
}

impl Conflict {
    /// A fixed tag that stands in the way by what it holds.
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

/// What makes the content of a tag differ from what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Other images, as platforms and digests show.
    Images,
    /// Something that the platforms and digests do not show.
    Odd(String),
    /// The images are the same, something else is not, and nothing vouches for it.
    Unvouched(String),
}

impl Difference {
    /// The difference in words, where platforms and digests do not show it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Images => None,
            Self::Odd(why) => Some(why.clone()),
            Self::Unvouched(what) => Some(format!("nothing vouches for it: {what}")),
        }
    }
}

/// Every tag's step, and the index that they end at.
#[derive(Debug, Clone)]
pub struct TagSteps {
    /// The index that absent and moving tags get: the one that was made, or a vouched one that a tag holds already. One
    /// that nothing vouches for is it only where every tag holds it already, so that nothing gets it.
    pub target: Standing,
    /// The steps, in the order of the inputs, moving tags last.
    pub steps: Vec<TagStep>,
    /// Other indexes with the same images that fixed tags hold and keep.
    pub equivalents: Vec<Equivalent>,
}

/// An index with the same images as the target in other bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivalent {
    /// Where a tag holds it.
    pub repository: Repository,
    /// What it is.
    pub index: Standing,
}

/// The rule by which an index that a fixed tag holds may stay there.
#[derive(Debug, Clone, Copy)]
pub enum Sameness<'a> {
    /// It has the same images: where nothing is signed.
    Images,
    /// It has the entries and annotations that this run would write, an input names it, or it is one of these, which have
    /// a signature that meets the policy: where something is signed.
    Vouched(&'a [Vouched<Manifest>]),
}

impl TagStep {
    /// Whether the tag is written.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    /// What is done with a moving tag that holds this: it gets `target`, unless it holds a `newer` version.
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

/// Decides every tag's step, or names every tag that stands in the way. `newer` says which moving tags hold a newer
/// version. The repository of a tag does not matter: the first vouched index, in the order of the tags, is what absent and
/// moving tags get everywhere.
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

/// The indexes that fixed tags hold and that have the same images as `assembly`, but that only a signature can vouch for.
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

/// How what a fixed tag holds stands to the index that was made, or what keeps it from staying.
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

/// How an index that a fixed tag holds stands to the one that was made; the reason where it may not stay.
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
    let mut given = resolved.iter();
    if let Some(given) = given.find_map(|one| one.input.manifest(holds.clone())) {
        return Ok(Standing::Vouched(given));
    }
    let found = differences(holds, assembly, resolved);
    if found.is_empty() {
        return Ok(Standing::Vouched(Vouched::made(holds.clone())));
    }
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

/// The index that is there already and that absent tags get.
fn target(same: &[Equivalent], seen: &[SeenTag]) -> Option<Standing> {
    let vouched = same.iter().find(|found| found.index.vouched().is_some());
    // What nothing vouches for is given to no tag: it is the result where all of them hold it.
    let kept = || {
        let first = same.first()?;
        let digest = first.index.manifest().digest();
        let holds = |tag: &SeenTag| tag.holds.as_ref().map(TagContent::digest) == Some(digest);
        seen.iter().all(holds).then_some(first)
    };
    vouched.or_else(kept).map(|found| found.index.clone())
}
