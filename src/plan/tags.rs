//! Decides the step or the conflict of each tag, from the content that the registry reports.

use std::collections::BTreeMap;

use super::adoption::{adopted, unadopted};
use super::assemble::{Assembly, Resolved};
use super::differences::differences;
use super::image_comparison::{ImageComparison, compare, images_of};
use super::tag_kind::TagKind;
use super::vouched::{Vouched, VouchedOrObserved};
use crate::domain::{Digest, FullTag, Manifest, Repository, TagContent};

/// A tag and its content, as the registry reports it. A tag of unknown state is never passed here.
#[derive(Debug, Clone)]
pub struct SeenTag {
    /// The tag.
    pub tag: FullTag,
    /// Its kind: fixed or moving.
    pub kind: TagKind,
    /// Its content; `None` if the registry reports that the tag does not exist.
    pub existing: Option<TagContent>,
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
    pub current: String,
    /// The version that the tag was to get.
    pub wanted: String,
}

/// A tag whose content differs from the wanted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The tag.
    pub tag: FullTag,
    /// The digest under the tag.
    pub digest: Digest,
    /// The images of that index by platform; empty if it is not an index, or has no platform children.
    pub images: Vec<(String, Digest)>,
    /// The difference from the wanted content.
    pub difference: Difference,
}

impl Conflict {
    /// Makes the conflict of a fixed tag with its content.
    #[must_use]
    pub fn new(tag: &FullTag, existing: &TagContent, difference: Difference) -> Self {
        Self {
            tag: tag.clone(),
            digest: existing.digest().clone(),
            images: existing.manifest().map(images_of).unwrap_or_default(),
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
    pub target: VouchedOrObserved,
    /// The steps, in the order of the inputs, moving tags last.
    pub steps: Vec<TagStep>,
    /// Other indexes with equal images, which stay under fixed tags.
    pub equivalents: Vec<EquivalentIndex>,
}

/// An index with the same images as the target in other bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EquivalentIndex {
    /// The repository whose tag contains it.
    pub repository: Repository,
    /// The index.
    pub index: VouchedOrObserved,
}

/// The rule by which an index under a fixed tag may stay there.
#[derive(Debug, Clone, Copy)]
pub enum KeepRule<'a> {
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
        existing: Option<&TagContent>,
        target: &Digest,
        newer: Option<Newer>,
    ) -> Self {
        let before = existing.map(|existing| existing.digest().clone());
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
    keep_rule: KeepRule<'_>,
    newer: &BTreeMap<FullTag, Newer>,
) -> Result<TagSteps, Vec<Conflict>> {
    let mut conflicts = Vec::new();
    let mut same: Vec<EquivalentIndex> = Vec::new();
    for tag in seen.iter().filter(|tag| tag.kind == TagKind::Fixed) {
        let Some(existing) = &tag.existing else {
            continue;
        };
        match compare_content(existing, assembly, resolved, keep_rule) {
            Ok(index) => {
                let found = EquivalentIndex {
                    repository: tag.tag.repository.clone(),
                    index,
                };
                if !same.contains(&found) {
                    same.push(found);
                }
            }
            Err(difference) => conflicts.push(Conflict::new(&tag.tag, existing, difference)),
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let target = target(&same, seen)
        .unwrap_or_else(|| VouchedOrObserved::Vouched(assembly.manifest.clone()));
    let digest = target.manifest().digest();
    let step = |tag: &SeenTag| {
        let existing = tag.existing.as_ref();
        if tag.kind == TagKind::Moving {
            return TagStep::of_moving(&tag.tag, existing, digest, newer.get(&tag.tag).cloned());
        }
        TagStep {
            tag: tag.tag.clone(),
            kind: tag.kind,
            before: existing.map(|existing| existing.digest().clone()),
            after: existing.map_or(digest, TagContent::digest).clone(),
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
        let existing = tag.existing.as_ref()?.manifest()?;
        let standing = compare_index(existing, assembly, resolved, KeepRule::Images);
        matches!(standing, Ok(VouchedOrObserved::Observed(_)))
            .then_some((&tag.tag.repository, existing))
    })
}

/// Compares the content of a fixed tag with the index that was made, or returns the difference between them.
fn compare_content(
    existing: &TagContent,
    assembly: &Assembly,
    resolved: &[Resolved],
    keep_rule: KeepRule<'_>,
) -> Result<VouchedOrObserved, Difference> {
    match existing {
        TagContent::Manifest(existing) => compare_index(existing, assembly, resolved, keep_rule),
        TagContent::Unusable(unusable) => Err(Difference::Odd(unusable.text())),
    }
}

/// Compares an index under a fixed tag with the one that was made, or returns the reason why it may not stay.
fn compare_index(
    existing: &Manifest,
    assembly: &Assembly,
    resolved: &[Resolved],
    keep_rule: KeepRule<'_>,
) -> Result<VouchedOrObserved, Difference> {
    match compare(existing, &assembly.images, &assembly.manifest, resolved) {
        ImageComparison::Same => (),
        ImageComparison::Other => return Err(Difference::Images),
        ImageComparison::Odd(why) => return Err(Difference::Odd(why)),
    }
    if let Some(adopted) = adopted(existing, assembly, resolved) {
        return Ok(VouchedOrObserved::Vouched(adopted));
    }
    let mut found = differences(existing, assembly, resolved);
    if found.is_empty() {
        return Ok(VouchedOrObserved::Vouched(Vouched::made(existing.clone())));
    }
    found.extend(unadopted(existing, resolved));
    match keep_rule {
        KeepRule::Images => Ok(VouchedOrObserved::Observed(existing.clone())),
        KeepRule::Vouched(signed) => {
            let mut signed = signed.iter();
            signed
                .find(|index| index.digest() == existing.digest())
                .map(|index| VouchedOrObserved::Vouched(index.clone()))
                .ok_or_else(|| Difference::Unvouched(found.join("; ")))
        }
    }
}

/// Returns the existing index that absent tags get.
fn target(same: &[EquivalentIndex], seen: &[SeenTag]) -> Option<VouchedOrObserved> {
    let vouched = same.iter().find(|found| found.index.vouched().is_some());
    // No tag gets an index that nothing vouches for. It is the result only if all tags contain it.
    let kept = || {
        let first = same.first()?;
        let digest = first.index.manifest().digest();
        let existing =
            |tag: &SeenTag| tag.existing.as_ref().map(TagContent::digest) == Some(digest);
        seen.iter().all(existing).then_some(first)
    };
    vouched.or_else(kept).map(|found| found.index.clone())
}
