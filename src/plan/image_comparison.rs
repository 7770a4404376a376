//! The comparison of the images of an index under a tag with those of the index that this run makes.

use std::collections::{BTreeMap, BTreeSet};

use super::assemble::{IndexImage, IndexImages, Resolved};
use super::differences::shown;
use super::listed::platform_as_wanted;
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind};

/// The result of comparing the content of a tag with the wanted index.
pub(super) enum ImageComparison {
    /// An equal map of platforms; the bytes may differ.
    Same,
    /// Another map: platforms or digests differ.
    Other,
    /// A difference that the platforms and digests do not show.
    Odd(String),
}

/// Compares the images of `existing` with `images`, which are the images of `wanted`.
pub(super) fn compare(
    existing: &Manifest,
    images: &IndexImages,
    wanted: &Manifest,
    resolved: &[Resolved],
) -> ImageComparison {
    match images_in(existing, resolved) {
        Ok(held) => {
            let held = held.into_iter().map(|image| {
                let platform = platform_as_wanted(&image.digest, image.platform, resolved);
                IndexImage { platform, ..image }
            });
            if held.collect::<IndexImages>() == *images {
                wrong_size(existing, wanted).map_or(ImageComparison::Same, ImageComparison::Odd)
            } else {
                ImageComparison::Other
            }
        }
        Err(why) => ImageComparison::Odd(why),
    }
}

/// Returns a message if an index states a wrong size for a child. Clients check the size first, so nobody could pull
/// it.
fn wrong_size(existing: &Manifest, wanted: &Manifest) -> Option<String> {
    let known = wanted.children();
    let sizes: BTreeMap<&Digest, u64> = known
        .iter()
        .map(|child| (&child.digest, child.size))
        .collect();
    existing.children().iter().find_map(|child| {
        let size = *sizes.get(&child.digest)?;
        let (digest, said) = (&child.digest, child.size);
        (size != said).then(|| {
            format!("its child `{digest}` is stated to have {said} bytes and has {size}, so it cannot be pulled")
        })
    })
}

/// Returns the images of an index, or names the content that such a set cannot show.
pub(super) fn images_in(existing: &Manifest, resolved: &[Resolved]) -> Result<IndexImages, String> {
    let ManifestKind::Index { manifests, .. } = existing.kind() else {
        return Err("it is a single image, not an index".to_owned());
    };
    if manifests.is_empty() {
        return Err("it is an index without images".to_owned());
    }
    // The content of an index that was given is known.
    let mut inputs = resolved.iter();
    if let Some(given) = inputs.find(|input| *input.input == *existing.digest()) {
        return Ok(given.images().collect());
    }
    let (mut images, mut platforms) = (IndexImages::new(), BTreeMap::new());
    let mut attestations = Vec::new();
    for child in manifests {
        let fields = [
            ("urls", !child.urls.is_empty()),
            ("data", child.data.is_some()),
        ];
        let fields = fields.iter().filter(|(_, is_there)| *is_there);
        let fields: Vec<String> = fields.map(|(name, _)| format!("`{name}`")).collect();
        if !fields.is_empty() {
            let (digest, fields) = (&child.digest, fields.join(" and "));
            return Err(format!("its child `{digest}` has {fields}"));
        }
        if let Some(of) = child.attests() {
            attestations.push((child, of));
            continue;
        }
        let media_type = &child.media_type;
        if !media_type.is_index() && !media_type.is_image() {
            let digest = &child.digest;
            return Err(format!(
                "its child `{digest}` is not an image but a `{}`",
                shown(&media_type.to_string())
            ));
        }
        // SECURITY: a nested index is no exception: its images must not replace another image for the same platform.
        for image in images_under(child, resolved)? {
            if let Some(platform) = &image.platform {
                let known = platforms.entry(platform.clone());
                if *known.or_insert_with(|| image.digest.clone()) != image.digest {
                    return Err(format!("it has two children for `{platform}`"));
                }
            }
            images.insert(image);
        }
    }
    // SECURITY: a child marked as an attestation is set aside only if it attests an image of this very index. Otherwise
    // the annotations could hide an extra image.
    let digests: BTreeSet<&Digest> = images.iter().map(|image| &image.digest).collect();
    let stray = |(child, of): &&(&Descriptor, Digest)| {
        !digests.contains(of) || digests.contains(&child.digest)
    };
    if let Some((child, _)) = attestations.iter().find(stray) {
        return Err(format!(
            "its child `{}` is marked as an attestation of an image that is not in the index",
            child.digest
        ));
    }
    Ok(images)
}

/// Returns the images that a child of an index stands for. Some tools nest an index that was given to them instead of
/// flattening it. If it is one of the inputs, its content is known.
fn images_under(child: &Descriptor, resolved: &[Resolved]) -> Result<Vec<IndexImage>, String> {
    let nested = resolved
        .iter()
        .find(|input| *input.input == child.digest && child.media_type.is_index());
    if let Some(input) = nested {
        return Ok(input.images().collect());
    }
    let platform = child.platform.clone();
    if platform
        .as_ref()
        .is_some_and(|platform| !platform.is_usable())
    {
        let digest = &child.digest;
        return Err(format!("its child `{digest}` names an invalid platform"));
    }
    Ok(vec![IndexImage::of(child, platform)])
}

/// Lists the images of an index by platform, without attestations, as text to print.
#[must_use]
pub fn images_of(existing: &Manifest) -> Vec<(String, Digest)> {
    let ManifestKind::Index { manifests, .. } = existing.kind() else {
        return Vec::new();
    };
    // Others may have written any text there.
    let name = |child: &Descriptor| match &child.platform {
        None => "no platform".to_owned(),
        Some(platform) if platform.is_usable() => platform.to_string(),
        Some(platform) if platform.is_unknown() => "unknown/unknown".to_owned(),
        Some(_) => "an invalid platform".to_owned(),
    };
    let images = manifests.iter().filter(|child| child.attests().is_none());
    let found: BTreeSet<_> = images
        .map(|child| (name(child), child.digest.clone()))
        .collect();
    found.into_iter().collect()
}
