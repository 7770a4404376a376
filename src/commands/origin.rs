//! Finds the images to publish, and every place that may have parts of them.

use std::iter;

use futures_util::future::try_join_all;

use super::CommandError;
use super::subjects::{TagUse, find_image, observed, report_tag};
use crate::context::{Context, ImageError, RecordReader};
use crate::copy::source::Source;
use crate::domain::{Digest, ImageReference, Manifest, Reference, Repository};
use crate::inputs::{ImageOrigin, Named};
use crate::layout::Layout;
use crate::plan::Vouched;
use crate::record::{ImageRecord, SelectionError};

/// The images to publish, and their sources.
pub(crate) struct Found {
    /// The image for the tags: the first index, or else the first image.
    pub(crate) image: Vouched<Manifest>,
    /// All images, including `image`.
    pub(crate) images: Vec<Vouched<Manifest>>,
    /// The sources, in the order in which they are tried.
    pub(crate) sources: Vec<Source>,
}

impl Found {
    fn new(images: Vec<Vouched<Manifest>>, sources: Vec<Source>) -> Option<Self> {
        let is_index = |image: &&Vouched<Manifest>| image.media_type().is_index();
        let image = images.iter().find(is_index).or(images.first())?.clone();
        Some(Self {
            image,
            images,
            sources,
        })
    }

    /// Checks that it is clear which image gets the tags: the only image, or the only index.
    pub(crate) fn check_taggable(&self) -> Result<(), CommandError> {
        let is_index = |image: &&Vouched<Manifest>| image.media_type().is_index();
        if self.images.len() == 1 || self.images.iter().filter(is_index).count() == 1 {
            return Ok(());
        }
        let digests = self.images.iter().map(|image| image.digest().clone());
        Err(SelectionError::Several(digests.collect()).into())
    }
}

/// Finds the images at the first origin that has them. The other origins may have parts that this one lacks.
///
/// SECURITY: a digest that the first origin names is the only image, wherever it is found. An origin that could not be
/// read may have any image, so only one that an input names by digest takes its place.
pub(crate) async fn find(
    context: &Context,
    origins: &[Named<ImageOrigin>],
    record: &RecordReader,
) -> Result<Found, CommandError> {
    let mut sources = Vec::new();
    let mut images = Vec::new();
    let mut fault = None;
    let spare: Vec<&Repository> = origins.iter().filter_map(|origin| spare(origin)).collect();
    let fixed = fixed(origins);
    for origin in origins {
        let wanted = images.is_empty();
        match look(context, origin, &spare, origins, record, wanted).await {
            Ok((places, found)) => {
                let names: Vec<String> = places.iter().map(Source::name).collect();
                sources.extend(places);
                let is_right = |image: &Digest| match fixed {
                    Some(fixed) => image == fixed,
                    None => fault.is_none() || named(origins).any(|named| named == image),
                };
                let (right, others): (Vec<_>, Vec<_>) = found
                    .into_iter()
                    .partition(|image| is_right(image.digest()));
                if !wanted {
                    continue;
                }
                if let (true, Some(other)) = (right.is_empty(), others.first()) {
                    report_other(context, &names.join(", "), other.digest(), fixed);
                }
                images = right;
            }
            // SECURITY: of a record that nothing vouches for, not even the repositories are used.
            Err(error @ CommandError::Selection(SelectionError::Unvouched { .. })) => {
                if named(origins).next().is_none() {
                    return Err(error);
                }
                let why = crate::domain::chain_text(&error);
                context
                    .events
                    .warn(format!("one `source` is skipped: {why}"));
            }
            Err(error @ CommandError::Selection(SelectionError::Observed { .. })) => {
                return Err(error);
            }
            Err(error) if wanted && origins.len() > 1 => fault = fault.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let names = sources.iter().map(Source::name).collect();
    match (Found::new(images, sources), fault) {
        (Some(found), fault) => {
            if let Some(fault) = fault {
                let why = crate::domain::chain_text(&fault);
                context
                    .events
                    .warn(format!("one `source` is not used: {why}"));
            }
            Ok(found)
        }
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(ImageError::NoSource(names).into()),
    }
}

/// Returns the digest of the first origin that names an image, if it names it by digest.
fn fixed(origins: &[Named<ImageOrigin>]) -> Option<&Digest> {
    let first = origins.iter().find(|origin| spare(origin).is_none())?;
    named(std::slice::from_ref(first)).next()
}

/// Reports that the image of an origin does not count.
fn report_other(context: &Context, name: &str, other: &Digest, fixed: Option<&Digest>) {
    let why = match fixed {
        Some(fixed) => format!("the first `source` names `{fixed}`"),
        None => "an earlier `source` could not be read and may have another digest".to_owned(),
    };
    context.events.warn(format!(
        "`{other}` in the `source` `{name}` is ignored: {why}"
    ));
}

/// Returns every digest that an origin names itself.
fn named(origins: &[Named<ImageOrigin>]) -> impl Iterator<Item = &Digest> {
    origins.iter().filter_map(|origin| match &**origin {
        ImageOrigin::Image(ImageReference {
            reference: Some(Reference::Digest(digest)),
            ..
        }) => Some(digest),
        ImageOrigin::Image(_) | ImageOrigin::Layout { .. } | ImageOrigin::Record { .. } => None,
    })
}

/// Returns the repository of an origin that names no image. It is only a source for parts that others lack.
fn spare(origin: &ImageOrigin) -> Option<&Repository> {
    match origin {
        ImageOrigin::Image(image) if image.reference.is_none() => Some(&image.repository),
        ImageOrigin::Image(_) | ImageOrigin::Layout { .. } | ImageOrigin::Record { .. } => None,
    }
}

/// Returns the sources of an origin, and its images if they are `wanted` and all there. An image named by digest may be
/// in a `spare` repository.
async fn look(
    context: &Context,
    origin: &Named<ImageOrigin>,
    spare: &[&Repository],
    origins: &[Named<ImageOrigin>],
    record: &RecordReader,
    wanted: bool,
) -> Result<(Vec<Source>, Vec<Vouched<Manifest>>), CommandError> {
    let is_only = origins.len() == 1;
    match &**origin {
        ImageOrigin::Image(image) => {
            let place = Source::from(image.repository.clone());
            let found = match &image.reference {
                Some(Reference::Digest(digest)) if wanted => {
                    let places = iter::once(&image.repository).chain(spare.iter().copied());
                    first_held(context, digest, places, is_only).await?
                }
                Some(Reference::Tag(_)) if wanted => held(context, image, is_only).await?,
                Some(_) | None => None,
            };
            let found = found.and_then(|found| Vouched::at_source(found, origin));
            Ok((vec![place], found.into_iter().collect()))
        }
        ImageOrigin::Layout { name, path, tag } => {
            let layout = Layout::open(path, name)?;
            let tag = tag.as_ref().map(crate::domain::Tag::as_str);
            let digest = layout.image(tag)?.digest.clone();
            let found = layout.manifest(&digest)?;
            let found = found.ok_or_else(|| ImageError::NotAtSource {
                digest,
                parent: None,
                places: vec![name.clone()],
            })?;
            let found = Vouched::at_source(found, origin);
            Ok((vec![Source::Layout(layout)], found.into_iter().collect()))
        }
        ImageOrigin::Record { name, path } => {
            let images = record.images_of(name, path)?;
            let images = images.ok_or_else(|| SelectionError::NoSuchRecord(name.clone()))?;
            let is_named = |digest: &Digest| named(origins).any(|named| named == digest);
            let selected = images.select(|_| true, is_named);
            let recorded = recorded(&selected.map_err(|image| observed(image, name))?, name)?;
            let mut repositories: Vec<&Repository> = Vec::new();
            for repository in recorded.iter().flat_map(|(_, places)| places) {
                if !repositories.contains(&repository) {
                    repositories.push(repository);
                }
            }
            let places = Source::repositories(repositories.into_iter().cloned());
            if !wanted {
                return Ok((places, Vec::new()));
            }
            let looks = recorded.iter().map(|(digest, places)| {
                let is_only = is_only && places.len() == 1;
                let places = places.iter().chain(spare.iter().copied());
                first_held(context, digest, places, is_only)
            });
            let found = try_join_all(looks).await?.into_iter();
            let vouched = found.map(|found| {
                let found = found?;
                Vouched::recorded(found.digest(), &images)?.manifest(found)
            });
            let found: Option<Vec<Vouched<Manifest>>> = vouched.collect();
            Ok((places, found.unwrap_or_default()))
        }
    }
}

/// Returns the image `digest` from the first of `places` that has it. Its bytes are the same in each, so errors of
/// other places do not matter then.
async fn first_held(
    context: &Context,
    digest: &Digest,
    places: impl Iterator<Item = &Repository>,
    is_only: bool,
) -> Result<Option<Manifest>, CommandError> {
    let mut fault = None;
    for repository in places {
        let image = ImageReference {
            repository: repository.clone(),
            reference: Some(Reference::Digest(digest.clone())),
        };
        match held(context, &image, is_only).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => (),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// Reads the named image, if it exists. At the only named place, an absent image is requested again, as the retry
/// policy says.
async fn held(
    context: &Context,
    image: &ImageReference,
    is_only: bool,
) -> Result<Option<Manifest>, CommandError> {
    let Some(reference) = &image.reference else {
        return Ok(None);
    };
    if is_only {
        return find_image(context, image, TagUse::Approves).await.map(Some);
    }
    let registry = &context.registry;
    let found = registry.manifest(&image.repository, reference).await?;
    if let Some(found) = &found {
        report_tag(context, image, found, TagUse::Approves);
    }
    Ok(found)
}

/// Returns the images of a record, each with its repositories.
fn recorded(
    images: &[&ImageRecord],
    name: &str,
) -> Result<Vec<(Digest, Vec<Repository>)>, CommandError> {
    let mut recorded: Vec<(Digest, Vec<Repository>)> = Vec::new();
    for image in images {
        let repository = image.image.parse();
        let repository =
            repository.map_err(|_| SelectionError::OddRepository(image.image.clone()))?;
        match recorded
            .iter_mut()
            .find(|(digest, _)| *digest == image.digest)
        {
            Some((_, places)) => places.push(repository),
            None => recorded.push((image.digest.clone(), vec![repository])),
        }
    }
    if recorded.is_empty() {
        return Err(SelectionError::Empty(name.to_owned(), String::new()).into());
    }
    Ok(recorded)
}
