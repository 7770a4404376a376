//! Resolves the digests of a `sign` or `verify` run at the registry: an image, its children, or those of a record.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::CommandError;
use super::present::manifest_present;
use crate::context::{DEPTH_MAX, ImageError, REQUESTS_PARALLEL, ReadContext, TOTAL_MAX};
use crate::domain::{Descriptor, Digest, ImageReference, Manifest, Reference, Repository};
use crate::inputs::{Depth, Named};
use crate::plan::Vouched;
use crate::record::{ImageRecord, SelectionError, VouchedImages};

/// Resolves the named image at the registry, and its children if they are wanted.
pub(super) async fn named(
    context: &ReadContext,
    image: &Named<ImageReference>,
    depth: Depth,
) -> Result<(Repository, Vec<Vouched<Descriptor>>), CommandError> {
    let missing = || ImageError::MissingImage(Box::new(ImageReference::clone(image)));
    let manifest = find_image(context, image, TagUse::Approves).await?;
    let manifest = Vouched::named(manifest, image).ok_or_else(missing)?;
    let read = async |child: &Descriptor| {
        manifest_present(context, &image.repository, &child.digest).await
    };
    let nested = nested_by(&manifest, depth, read).await?;
    let mut subjects = vec![manifest.described()];
    if depth == Depth::Children {
        let children = manifest.everything(&nested).into_iter().skip(1);
        let children = children.map(|child| child.target());
        subjects.extend(held(context, &image.repository, children).await?);
    }
    Ok((image.repository.clone(), subjects))
}

/// Reads these digests at the registry. Absent content is not signed. The descriptors come from the registry, not from
/// an index or a record.
async fn held(
    context: &ReadContext,
    repository: &Repository,
    digests: impl Iterator<Item = Vouched<Digest>>,
) -> Result<Vec<Vouched<Descriptor>>, CommandError> {
    let reads = digests.map(|digest| async move {
        let missing = || ImageError::MissingImage(Box::new(repository.at(&digest)));
        let manifest = manifest_present(context, repository, &digest).await?;
        let manifest = digest.manifest(manifest).ok_or_else(missing)?;
        Ok(manifest.described())
    });
    stream::iter(reads)
        .buffered(REQUESTS_PARALLEL)
        .try_collect()
        .await
}

/// The meaning of a tag in the reference of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagUse {
    /// The caller's approval to sign or copy the content that the tag has at this moment.
    Approves,
    /// A tag to inspect.
    Inspects,
}

/// Reads the manifest of an image, by tag or digest. A tag is resolved once, and its digest is reported.
pub(super) async fn find_image(
    context: &ReadContext,
    image: &ImageReference,
    tag: TagUse,
) -> Result<Manifest, CommandError> {
    let missing = || ImageError::MissingImage(Box::new(image.clone()));
    let reference = image.reference.as_ref().ok_or_else(missing)?;
    let read = || context.registry.manifest(&image.repository, reference);
    let manifest = context
        .until_present(&image.to_string(), read)
        .await?
        .ok_or_else(missing)?;
    report_tag(context, image, &manifest, tag)?;
    Ok(manifest)
}

/// Reports the digest of a tag. SECURITY: anyone with push access decides the content of a tag. A caller who approves
/// content by tag is warned, with the digest to use instead. The caller approves the content of the named registry: a tag
/// that another host answers approves nothing.
pub(super) fn report_tag(
    context: &ReadContext,
    image: &ImageReference,
    held: &Manifest,
    tag: TagUse,
) -> Result<(), CommandError> {
    let Some(reference @ Reference::Tag(_)) = &image.reference else {
        return Ok(());
    };
    let digest = held.digest();
    let registry = &context.registry;
    if tag == TagUse::Approves && registry.is_answered_elsewhere(&image.repository, reference) {
        let error = ImageError::AnsweredElsewhere {
            image: Box::new(image.clone()),
            digest: digest.clone(),
        };
        return Err(error.into());
    }
    context
        .events
        .info(format!("`{image}` was resolved to `{digest}`"));
    if tag == TagUse::Approves {
        let by_digest = image.repository.at(digest);
        context.events.warn(format!(
            "`{image}` was resolved to `{digest}`; a tag can move. Use `{by_digest}`"
        ));
    }
    Ok(())
}

/// Returns the manifest itself and, if they are wanted, all manifests in it.
pub(super) async fn with_children(
    context: &ReadContext,
    repository: &Repository,
    manifest: &Manifest,
    depth: Depth,
) -> Result<Vec<Descriptor>, CommandError> {
    let read =
        async |child: &Descriptor| manifest_present(context, repository, &child.digest).await;
    children_by(manifest, depth, read).await
}

/// Returns the manifest itself and, if they are wanted, all manifests in it. `read` reads nested indexes.
pub(super) async fn children_by(
    manifest: &Manifest,
    depth: Depth,
    read: impl AsyncFn(&Descriptor) -> Result<Manifest, CommandError>,
) -> Result<Vec<Descriptor>, CommandError> {
    let nested = nested_by(manifest, depth, read).await?;
    let mut all = vec![manifest.descriptor()];
    if depth == Depth::Children {
        let mut seen = BTreeSet::from([manifest.digest().clone()]);
        let levels = std::iter::once(manifest).chain(&nested);
        let children = levels.flat_map(Manifest::children).cloned();
        // One digest may be listed for several platforms.
        all.extend(children.filter(|child| seen.insert(child.digest.clone())));
    }
    Ok(all)
}

/// Reads the indexes in `manifest`, level by level, if its children are wanted.
async fn nested_by(
    manifest: &Manifest,
    depth: Depth,
    read: impl AsyncFn(&Descriptor) -> Result<Manifest, CommandError>,
) -> Result<Vec<Manifest>, CommandError> {
    let mut all: Vec<Manifest> = Vec::new();
    if depth == Depth::Itself {
        return Ok(all);
    }
    let mut seen = BTreeSet::from([manifest.digest().clone()]);
    let mut level = vec![manifest.clone()];
    for _ in 0..DEPTH_MAX {
        let mut new: Vec<Descriptor> = level.iter().flat_map(Manifest::children).cloned().collect();
        new.retain(|child| seen.insert(child.digest.clone()));
        let count = seen.len() - 1;
        if count > TOTAL_MAX {
            return Err(ImageError::OddIndex {
                digest: manifest.digest().clone(),
                children: count,
            }
            .into());
        }
        let nested = new.iter().filter(|child| child.media_type.is_index());
        let nested: Vec<_> = nested.map(|child| read(child)).collect();
        level = stream::iter(nested)
            .buffered(REQUESTS_PARALLEL)
            .try_collect()
            .await?;
        all.extend(level.iter().cloned());
        if level.is_empty() {
            return Ok(all);
        }
    }
    Err(ImageError::TooDeep {
        digest: manifest.digest().clone(),
        limit: DEPTH_MAX,
    }
    .into())
}

/// Reads every image and index of a record at the registry: absent content is not signed.
pub(super) async fn recorded(
    context: &ReadContext,
    images: &VouchedImages,
    only: Option<&Repository>,
    depth: Depth,
    record_name: &str,
) -> Result<Vec<(Repository, Vec<Vouched<Descriptor>>)>, CommandError> {
    let mut targets = Vec::new();
    let mut seen = BTreeSet::new();
    let name = only.map(Repository::to_string);
    let is_wanted = |image: &ImageRecord| name.as_ref().is_none_or(|name| *name == image.image);
    let selected = images.select(is_wanted, |_| false);
    for image in selected.map_err(|image| observed(image, record_name))? {
        let repository: Repository = image
            .image
            .parse()
            .map_err(|_| SelectionError::OddRepository(image.image.clone()))?;
        let mut digests: Vec<&Digest> = vec![&image.digest];
        digests.extend(image.platforms.iter().map(|platform| &platform.digest));
        if depth == Depth::Children {
            digests.extend(&image.attestations);
        }
        // Two indexes of one record may share children.
        digests.retain(|digest| seen.insert((image.image.as_str(), *digest)));
        let digests = digests.into_iter();
        let digests = digests.filter_map(|digest| Vouched::recorded(digest, images));
        let digests: Vec<Vouched<Digest>> = digests.collect();
        targets.push((repository, digests));
    }
    if targets.is_empty() {
        let of = only.map_or(String::new(), |only| format!(" in `{only}`"));
        return Err(SelectionError::Empty(record_name.to_owned(), of).into());
    }
    let reads = targets.into_iter().map(|(repository, digests)| async move {
        let subjects = held(context, &repository, digests.into_iter()).await?;
        Ok((repository, subjects))
    });
    try_join_all(reads).await
}

/// Returns the error for an image that a record names and nothing vouches for.
pub(super) fn observed(image: &ImageRecord, record_name: &str) -> CommandError {
    SelectionError::Observed {
        name: record_name.to_owned(),
        image: format!("{}@{}", image.image, image.digest),
    }
    .into()
}
