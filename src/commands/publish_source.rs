//! Finds the images to publish, and every place that may have parts of them.

use std::iter;

use futures_util::future::{join_all, try_join_all};

use super::CommandError;
use super::subjects::{TagUse, find_image, observed, report_tag};
use crate::context::{Context, ImageError, RecordReader};
use crate::copy::source::{KnownSource, Source};
use crate::domain::{Digest, ImageReference, Manifest, Reference, Repository};
use crate::inputs::{Named, PublishSource};
use crate::layout::Layout;
use crate::plan::Vouched;
use crate::record::{ImageRecord, SelectionError};

/// The images to publish, and their sources.
pub(crate) struct FoundImages {
    /// The image for the tags: the first index, or else the first image.
    pub(crate) image: Vouched<Manifest>,
    /// All images, including `image`.
    pub(crate) images: Vec<Vouched<Manifest>>,
    /// The sources, in the order in which they are tried.
    pub(crate) sources: Vec<KnownSource>,
}

impl FoundImages {
    fn new(images: Vec<Vouched<Manifest>>, sources: Vec<KnownSource>) -> Option<Self> {
        let is_index = |image: &&Vouched<Manifest>| image.media_type().is_index();
        let image = images.iter().find(is_index).or(images.first())?.clone();
        Some(Self {
            image,
            images,
            sources,
        })
    }

    /// Returns the copies of the images in these repositories.
    pub(crate) fn at<'a>(
        &'a self,
        repositories: &'a [Repository],
    ) -> Vec<(&'a Repository, &'a Manifest)> {
        let images = || self.images.iter().map(|image| &**image);
        let copies = repositories
            .iter()
            .flat_map(|repository| images().map(move |image| (repository, image)));
        copies.collect()
    }

    /// Replaces the error for content that no source has, if a folder has an index without that part. The new error names
    /// everything that the folder lacks.
    pub(crate) fn name_missing_images(&self, error: CommandError) -> CommandError {
        let CommandError::Image(ImageError::NotAtSource { digest, parent, .. }) = &error else {
            return error;
        };
        let folders = self.sources.iter().filter_map(|known| match &known.source {
            Source::Layout(layout) => Some(layout),
            Source::Repository(_) => None,
        });
        let mut incomplete = folders.flat_map(|layout| {
            let images = self.images.iter();
            images.filter_map(move |image| layout.incomplete(image, digest, parent.as_ref()))
        });
        match incomplete.next() {
            Some(incomplete) => incomplete.into(),
            None => error,
        }
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

/// Finds the images at the first input that has them. The sources of the other inputs may have parts that it lacks.
///
/// SECURITY: if the first input names a digest, only that image counts, in any source. If an input cannot be read, its
/// image is unknown. Another image then counts only if an input names its digest.
pub(crate) async fn find_images(
    context: &Context,
    inputs: &[Named<PublishSource>],
    record: &RecordReader,
) -> Result<FoundImages, CommandError> {
    let mut sources = Vec::new();
    let mut images = Vec::new();
    let mut first_error = None;
    let bare_repositories: Vec<&Repository> = inputs
        .iter()
        .filter_map(|input| bare_repository(input))
        .collect();
    let pinned_digest = pinned_digest(inputs);
    for input in inputs {
        let wanted = images.is_empty();
        match read_source(context, input, &bare_repositories, inputs, record, wanted).await {
            Ok((own, found)) => {
                let names: Vec<String> = own.iter().map(KnownSource::name).collect();
                sources.extend(own);
                let is_right = |image: &Digest| match pinned_digest {
                    Some(pinned_digest) => image == pinned_digest,
                    None => {
                        first_error.is_none() || named_digests(inputs).any(|named| named == image)
                    }
                };
                let (right, others): (Vec<_>, Vec<_>) = found
                    .into_iter()
                    .partition(|image| is_right(image.digest()));
                if !wanted {
                    continue;
                }
                if let (true, Some(other)) = (right.is_empty(), others.first()) {
                    warn_of_other_image(context, &names.join(", "), other.digest(), pinned_digest);
                }
                images = right;
            }
            // SECURITY: of a record that nothing vouches for, not even the repositories are used.
            Err(error @ CommandError::Selection(SelectionError::Unvouched { .. })) => {
                if named_digests(inputs).next().is_none() {
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
            Err(error) if wanted && inputs.len() > 1 => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let names = sources.iter().map(KnownSource::name).collect();
    match (FoundImages::new(images, sources), first_error) {
        (Some(found), first_error) => {
            if let Some(error) = first_error {
                let why = crate::domain::chain_text(&error);
                context
                    .events
                    .warn(format!("one `source` is not used: {why}"));
            }
            Ok(found)
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(ImageError::NoSource(names).into()),
    }
}

/// Returns the digest of the first origin that names an image, if it names it by digest.
fn pinned_digest(inputs: &[Named<PublishSource>]) -> Option<&Digest> {
    let first = inputs
        .iter()
        .find(|input| bare_repository(input).is_none())?;
    named_digests(std::slice::from_ref(first)).next()
}

/// Reports that the image of an origin does not count.
fn warn_of_other_image(
    context: &Context,
    name: &str,
    other: &Digest,
    pinned_digest: Option<&Digest>,
) {
    let why = match pinned_digest {
        Some(pinned_digest) => format!("the first `source` names `{pinned_digest}`"),
        None => "an earlier `source` could not be read and may have another digest".to_owned(),
    };
    context.events.warn(format!(
        "`{other}` in the `source` `{name}` is ignored: {why}"
    ));
}

/// Returns every digest that an origin names itself.
fn named_digests(inputs: &[Named<PublishSource>]) -> impl Iterator<Item = &Digest> {
    inputs.iter().filter_map(|input| match &**input {
        PublishSource::Image(ImageReference {
            reference: Some(Reference::Digest(digest)),
            ..
        }) => Some(digest),
        PublishSource::Image(_) | PublishSource::Layout { .. } | PublishSource::Record { .. } => {
            None
        }
    })
}

/// Returns the repository of an origin that names no image. It is only a source for parts that others lack.
fn bare_repository(input: &PublishSource) -> Option<&Repository> {
    match input {
        PublishSource::Image(image) if image.reference.is_none() => Some(&image.repository),
        PublishSource::Image(_) | PublishSource::Layout { .. } | PublishSource::Record { .. } => {
            None
        }
    }
}

/// Returns the sources of an origin, and its images if they are `wanted` and all there. An image named by digest may be
/// in a `bare_repository` repository. The tags of the sources are listed meanwhile.
async fn read_source(
    context: &Context,
    input: &Named<PublishSource>,
    bare_repositories: &[&Repository],
    inputs: &[Named<PublishSource>],
    record: &RecordReader,
    wanted: bool,
) -> Result<(Vec<KnownSource>, Vec<Vouched<Manifest>>), CommandError> {
    let is_only = inputs.len() == 1;
    match &**input {
        PublishSource::Image(image) => {
            let source = KnownSource::read(context, image.repository.clone().into());
            let found = async {
                match &image.reference {
                    Some(Reference::Digest(digest)) if wanted => {
                        let sources =
                            iter::once(&image.repository).chain(bare_repositories.iter().copied());
                        first_with_image(context, digest, sources, is_only).await
                    }
                    Some(Reference::Tag(_)) if wanted => read_image(context, image, is_only).await,
                    Some(_) | None => Ok(None),
                }
            };
            let (source, found) = tokio::join!(source, found);
            let found = found?.and_then(|found| Vouched::at_source(found, input));
            Ok((vec![source], found.into_iter().collect()))
        }
        PublishSource::Layout { name, path, tag } => {
            let layout = Layout::open(path, name)?;
            let tag = tag.as_ref().map(crate::domain::Tag::as_str);
            let digest = layout.image(tag)?.digest.clone();
            let found = layout.manifest(&digest)?;
            let found = found.ok_or_else(|| ImageError::NotAtSource {
                digest,
                parent: None,
                sources: vec![name.clone()],
            })?;
            let found = Vouched::at_source(found, input);
            let source = KnownSource::read(context, Source::Layout(layout)).await;
            Ok((vec![source], found.into_iter().collect()))
        }
        PublishSource::Record { name, path } => {
            let images = record.images_of(name, path)?;
            let images = images.ok_or_else(|| SelectionError::NoSuchRecord(name.clone()))?;
            let is_named = |digest: &Digest| named_digests(inputs).any(|named| named == digest);
            let selected = images.select(|_| true, is_named);
            let recorded_images =
                recorded_images(&selected.map_err(|image| observed(image, name))?, name)?;
            let mut repositories: Vec<&Repository> = Vec::new();
            for repository in recorded_images.iter().flat_map(|(_, sources)| sources) {
                if !repositories.contains(&repository) {
                    repositories.push(repository);
                }
            }
            let sources = Source::repositories(repositories.into_iter().cloned()).into_iter();
            let sources = join_all(sources.map(|source| KnownSource::read(context, source)));
            if !wanted {
                return Ok((sources.await, Vec::new()));
            }
            let reads = recorded_images.iter().map(|(digest, sources)| {
                let is_only = is_only && sources.len() == 1;
                let sources = sources.iter().chain(bare_repositories.iter().copied());
                first_with_image(context, digest, sources, is_only)
            });
            let (sources, found) = tokio::join!(sources, try_join_all(reads));
            let vouched = found?.into_iter().map(|found| {
                let found = found?;
                Vouched::recorded(found.digest(), &images)?.manifest(found)
            });
            let found: Option<Vec<Vouched<Manifest>>> = vouched.collect();
            Ok((sources, found.unwrap_or_default()))
        }
    }
}

/// Returns the image `digest` from the first of `sources` that has it. Its bytes are the same in each, so errors of
/// other places do not matter then.
async fn first_with_image(
    context: &Context,
    digest: &Digest,
    sources: impl Iterator<Item = &Repository>,
    is_only: bool,
) -> Result<Option<Manifest>, CommandError> {
    let mut first_error = None;
    for repository in sources {
        let image = ImageReference {
            repository: repository.clone(),
            reference: Some(Reference::Digest(digest.clone())),
        };
        match read_image(context, &image, is_only).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => (),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

/// Reads the named image, if it exists. At the only named place, an absent image is requested again, as the retry
/// policy says.
async fn read_image(
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
        report_tag(context, image, found, TagUse::Approves)?;
    }
    Ok(found)
}

/// Returns the images of a record, each with its repositories.
fn recorded_images(
    images: &[&ImageRecord],
    name: &str,
) -> Result<Vec<(Digest, Vec<Repository>)>, CommandError> {
    let mut recorded_images: Vec<(Digest, Vec<Repository>)> = Vec::new();
    for image in images {
        let repository = image.image.parse();
        let repository =
            repository.map_err(|_| SelectionError::OddRepository(image.image.clone()))?;
        match recorded_images
            .iter_mut()
            .find(|(digest, _)| *digest == image.digest)
        {
            Some((_, sources)) => sources.push(repository),
            None => recorded_images.push((image.digest.clone(), vec![repository])),
        }
    }
    if recorded_images.is_empty() {
        return Err(SelectionError::Empty(name.to_owned(), String::new()).into());
    }
    Ok(recorded_images)
}
