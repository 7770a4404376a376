//! What to do with each tag: the four answers of a registry turned into a step or a conflict.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use super::assemble::{Assembly, Child, Leaf, PlatformMap, Resolved};
use crate::domain::{Descriptor, Digest, FullTag, Manifest, ManifestKind, Platform, Repository};

/// Where an index says which version it is. Source: OCI image specification, `annotations.md`.
const VERSION: &str = "org.opencontainers.image.version";

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
    pub holds: Option<Manifest>,
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
    /// What makes it differ, where the platforms and digests alone do not show it.
    pub why: Option<String>,
}

/// Every tag's step, and the index that they end at.
#[derive(Debug, Clone)]
pub struct TagSteps {
    /// The index that absent and moving tags get: the one that was made, or an equivalent one found under a tag.
    pub target: Manifest,
    /// The steps, in the order of the inputs, moving tags last.
    pub steps: Vec<TagStep>,
    /// Other indexes with the same map that fixed tags hold and keep.
    pub equivalents: Vec<Equivalent>,
}

/// An index with the same map as the target in other bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivalent {
    /// Where a tag holds it.
    pub repository: Repository,
    /// What it is.
    pub manifest: Manifest,
}

impl TagStep {
    /// Whether the tag is written.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    /// What is done with a moving tag that holds this: it gets `target`, unless that would be going back.
    #[must_use]
    pub fn of_moving(tag: &FullTag, holds: Option<&Manifest>, target: &Manifest) -> Self {
        let newer = holds.and_then(|holds| newer(holds, target).map(|newer| (holds, newer)));
        Self {
            tag: tag.clone(),
            kind: TagKind::Moving,
            before: holds.map(|holds| holds.digest().clone()),
            after: newer
                .as_ref()
                .map_or(target, |(holds, _)| holds)
                .digest()
                .clone(),
            newer: newer.map(|(_, newer)| newer),
        }
    }
}

/// Decides every tag's step, or names every tag that stands in the way. It matters not which repository a tag is in: the
/// first index that will do, in the order of the tags, is what absent and moving tags get everywhere.
pub fn decide_tags(
    assembly: &Assembly,
    resolved: &[Resolved],
    seen: &[SeenTag],
) -> Result<TagSteps, Vec<Conflict>> {
    let mut conflicts = Vec::new();
    let mut same: Vec<Equivalent> = Vec::new();
    for tag in seen.iter().filter(|tag| tag.kind == TagKind::Fixed) {
        let Some(holds) = &tag.holds else { continue };
        let conflict = |why| Conflict {
            tag: tag.tag.clone(),
            holds: holds.digest().clone(),
            found: images_of(holds),
            why,
        };
        match compare(holds, assembly, resolved) {
            Likeness::Same => {
                let found = Equivalent {
                    repository: tag.tag.repository.clone(),
                    manifest: holds.clone(),
                };
                if !same.contains(&found) {
                    same.push(found);
                }
            }
            Likeness::OtherMap => conflicts.push(conflict(None)),
            Likeness::Odd(why) => conflicts.push(conflict(Some(why))),
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let target = same.first().map(|found| &found.manifest);
    let target = target.unwrap_or(&assembly.manifest).clone();
    let step = |tag: &SeenTag| {
        let holds = tag.holds.as_ref();
        if tag.kind == TagKind::Moving {
            return TagStep::of_moving(&tag.tag, holds, &target);
        }
        TagStep {
            tag: tag.tag.clone(),
            kind: tag.kind,
            before: holds.map(|manifest| manifest.digest().clone()),
            after: holds.unwrap_or(&target).digest().clone(),
            newer: None,
        }
    };
    let steps = seen.iter().map(step).collect();
    same.retain(|found| found.manifest.digest() != target.digest());
    Ok(TagSteps {
        target,
        steps,
        equivalents: same,
    })
}

/// Whether `holds` is a newer version than `target`, as far as both say which they are. Of what does not say so, or not as
/// a semantic version, nothing follows.
fn newer(holds: &Manifest, target: &Manifest) -> Option<Newer> {
    let (held, wanted) = (holds.annotation(VERSION)?, target.annotation(VERSION)?);
    // As tags have it; what is no version decides nothing.
    let version = |text: &str| Version::parse(text.strip_prefix('v').unwrap_or(text)).ok();
    let order = version(held)?.cmp_precedence(&version(wanted)?);
    order.is_gt().then(|| Newer {
        holds: held.to_owned(),
        wanted: wanted.to_owned(),
    })
}

/// How what a tag holds compares to the index that is wanted.
pub(super) enum Likeness {
    /// The same map of platforms, in whichever bytes.
    Same,
    /// Another map, as its platforms and digests show.
    OtherMap,
    /// Something in it that the platforms and digests do not show.
    Odd(String),
}

pub(super) fn compare(holds: &Manifest, assembly: &Assembly, resolved: &[Resolved]) -> Likeness {
    match platforms_held(holds, resolved) {
        Ok(platforms) if platforms != assembly.platforms => Likeness::OtherMap,
        Ok(_) => wrong_size(holds, assembly).map_or(Likeness::Same, Likeness::Odd),
        Err(why) => Likeness::Odd(why),
    }
}

/// What an index says wrongly of the size of a child. Clients check the size first: nobody could pull it.
fn wrong_size(holds: &Manifest, assembly: &Assembly) -> Option<String> {
    let known = assembly.manifest.children();
    let sizes: BTreeMap<&Digest, u64> = known
        .iter()
        .map(|child| (&child.digest, child.size))
        .collect();
    holds.children().iter().find_map(|child| {
        let size = *sizes.get(&child.digest)?;
        let (digest, said) = (&child.digest, child.size);
        (size != said).then(|| {
            format!("it says that its child `{digest}` has {said} bytes, and it has {size}, so that it cannot be pulled")
        })
    })
}

/// What an index says runs where, or what is in it that no such map shows.
pub(super) fn platforms_held(
    holds: &Manifest,
    resolved: &[Resolved],
) -> Result<PlatformMap, String> {
    let ManifestKind::Index { manifests, .. } = holds.kind() else {
        return Err("it is a single image, not an index".to_owned());
    };
    let mut platforms = PlatformMap::new();
    let mut attestations = Vec::new();
    for child in manifests {
        if !child.urls.is_empty() || child.data.is_some() {
            return Err(format!("its child `{}` has `urls` or `data`", child.digest));
        }
        if let Some(of) = child.attests() {
            attestations.push((child, of));
            continue;
        }
        // SECURITY: a nested index is no exception: what it brings must not cover another image for the same platform.
        for (platform, image) in images_under(child, resolved)? {
            if platforms.insert(platform.clone(), image).is_some() {
                return Err(format!("it has two children for `{platform}`"));
            }
        }
    }
    // SECURITY: what calls itself an attestation is set aside only if it attests an image of this very index, so that
    // no extra image can hide behind the annotations.
    let images: BTreeSet<&Digest> = platforms.values().map(|child| &child.digest).collect();
    let stray = |(child, of): &&(&Descriptor, Digest)| {
        !images.contains(of) || images.contains(&child.digest)
    };
    if let Some((child, _)) = attestations.iter().find(stray) {
        return Err(format!(
            "its child `{}` calls itself an attestation of something that is not there",
            child.digest
        ));
    }
    Ok(platforms)
}

/// The images that a child of an index stands for. Some tools nest an index that was given to them instead of flattening
/// it; if it is one of ours, what is in it is known.
fn images_under(
    child: &Descriptor,
    resolved: &[Resolved],
) -> Result<Vec<(Platform, Child)>, String> {
    let nested = resolved
        .iter()
        .find(|input| input.input == child.digest && child.media_type.is_index());
    if let Some(input) = nested {
        let image = |leaf: &Leaf| (leaf.platform.clone(), Child::of(&leaf.descriptor));
        return Ok(input.leaves.iter().map(image).collect());
    }
    let Some(platform) = child.platform.clone() else {
        return Err(format!("its child `{}` names no platform", child.digest));
    };
    if !platform.is_usable() {
        return Err(format!(
            "its child `{}` names a platform that cannot be",
            child.digest
        ));
    }
    Ok(vec![(platform, Child::of(child))])
}

/// What an index has for which platform, attestations left out, as text to be shown.
#[must_use]
pub fn images_of(holds: &Manifest) -> Vec<(String, Digest)> {
    let ManifestKind::Index { manifests, .. } = holds.kind() else {
        return Vec::new();
    };
    // What somebody else wrote there may be anything.
    let name = |child: &Descriptor| match &child.platform {
        None => "no platform".to_owned(),
        Some(platform) if platform.is_usable() => platform.to_string(),
        Some(platform) if platform.is_unknown() => "unknown/unknown".to_owned(),
        Some(_) => "an odd platform".to_owned(),
    };
    let images = manifests.iter().filter(|child| child.attests().is_none());
    let found: BTreeSet<_> = images
        .map(|child| (name(child), child.digest.clone()))
        .collect();
    found.into_iter().collect()
}
