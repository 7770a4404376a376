//! The step for each tag if an image is published unchanged: only its own digest is accepted.

use std::collections::BTreeMap;

use super::image_comparison::images_of;
use super::tag_kind::TagKind;
use super::tags::{Conflict, Difference, Newer, SeenTag, TagStep};
use super::{Child, PlatformMap};
use crate::domain::{Digest, FullTag, Manifest, Platform, TagContent};

/// Decides the step of every tag, or returns every tag in conflict. `newer` lists the moving tags that contain a newer
/// version.
pub fn decide_published(
    image: &Manifest,
    seen: &[SeenTag],
    newer: &BTreeMap<FullTag, Newer>,
) -> Result<Vec<TagStep>, Vec<Conflict>> {
    // Equal bytes under a wrong media type are other content, too.
    let is_it =
        |existing: &TagContent| existing.manifest().map(Manifest::bytes) == Some(image.bytes());
    // A tag may point to the image under a digest of another algorithm.
    let after = |existing: Option<&TagContent>| match existing.filter(|existing| is_it(existing)) {
        Some(existing) => existing.digest().clone(),
        None => image.digest().clone(),
    };
    // Empty for a single image.
    let images = images_of(image);
    let fixed = seen.iter().filter(|tag| tag.kind == TagKind::Fixed);
    let conflicts: Vec<Conflict> = fixed
        .filter_map(|tag| {
            let other = tag.existing.as_ref().filter(|existing| !is_it(existing))?;
            let difference = match other {
                TagContent::Manifest(other) if !images.is_empty() && images_of(other) == images => {
                    Difference::Odd(format!(
                        "it has the same images as `{}` but other bytes",
                        image.digest()
                    ))
                }
                TagContent::Manifest(_) => Difference::Images,
                TagContent::Unusable(unusable) => Difference::Odd(unusable.text()),
            };
            Some(Conflict::new(&tag.tag, other, difference))
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let step = |tag: &SeenTag| {
        let existing = tag.existing.as_ref();
        if tag.kind == TagKind::Moving {
            return TagStep::of_moving(
                &tag.tag,
                existing,
                &after(existing),
                newer.get(&tag.tag).cloned(),
            );
        }
        TagStep {
            tag: tag.tag.clone(),
            kind: tag.kind,
            before: existing.map(|existing| existing.digest().clone()),
            after: after(existing),
            newer: None,
        }
    };
    Ok(seen.iter().map(step).collect())
}

/// Returns the images of an index by platform, and all its other entries. An index that others made may state anything.
/// The result is reported, and no decision uses it.
#[must_use]
pub fn contents_of(image: &Manifest) -> (PlatformMap, Vec<Digest>) {
    let mut platforms = PlatformMap::new();
    let mut others = Vec::new();
    for child in image.children() {
        let platform = child.platform.clone().filter(Platform::is_usable);
        match platform {
            Some(platform) if child.attests().is_none() && !platforms.contains_key(&platform) => {
                platforms.insert(platform, Child::of(child));
            }
            Some(_) | None => others.push(child.digest.clone()),
        }
    }
    (platforms, others)
}
