//! Finds the image that is to be published, and every place that may have parts of it.

use super::source::Source;
use super::subjects::find_image;
use super::{ApplyError, Context};
use crate::domain::{Digest, ImageReference, Manifest, Reference, Repository};
use crate::inputs::Origin;
use crate::layout::Layout;
use crate::record::{Record, RecordFile};

/// An image, and where it is.
pub(super) struct Found {
    pub(super) image: Manifest,
    /// In the order in which they are tried.
    pub(super) sources: Vec<Source>,
}

/// The image at the first origin that has it. The other origins may have what that one lacks of it.
pub(super) async fn find(context: &Context, origins: &[Origin]) -> Result<Found, ApplyError> {
    let mut sources = Vec::new();
    let mut image = None;
    let mut fault = None;
    for origin in origins {
        let is_last = image.is_none() && origins.len() == 1;
        match look(context, origin, is_last, image.is_none()).await {
            Ok((places, found)) => {
                sources.extend(places);
                image = image.or(found);
            }
            Err(error) if image.is_none() && origins.len() > 1 => fault = fault.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    match (image, fault) {
        (Some(image), fault) => {
            if let Some(fault) = fault {
                let why = crate::failure::chain_text(&fault);
                context
                    .events
                    .warn(format!("one `source` is left out: {why}"));
            }
            Ok(Found { image, sources })
        }
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(ApplyError::NoSource(
            sources.iter().map(Source::name).collect(),
        )),
    }
}

/// The places that an origin stands for, and the image, where it is `wanted` and there.
async fn look(
    context: &Context,
    origin: &Origin,
    is_only: bool,
    wanted: bool,
) -> Result<(Vec<Source>, Option<Manifest>), ApplyError> {
    match origin {
        Origin::Image(image) => {
            let place = Source::from(image.repository.clone());
            let found = match &image.reference {
                Some(_) if wanted && is_only => Some(find_image(context, image).await?),
                Some(reference) if wanted => {
                    context
                        .registry
                        .manifest(&image.repository, reference)
                        .await?
                }
                Some(_) | None => None,
            };
            Ok((vec![place], found))
        }
        Origin::Layout { name, path, tag } => {
            let layout = Layout::open(path, name)?;
            let tag = tag.as_ref().map(crate::domain::Tag::as_str);
            let digest = layout.image(tag)?.digest.clone();
            let found = layout.manifest(&digest)?;
            let found = found.ok_or_else(|| ApplyError::NotAtSource {
                digest,
                parent: None,
                places: vec![name.clone()],
            })?;
            Ok((vec![Source::Layout(layout)], Some(found)))
        }
        Origin::Record { name, path } => {
            let record = RecordFile::new(path.clone()).load()?;
            let record = record.ok_or_else(|| ApplyError::NoSuchRecord(name.clone()))?;
            let (digest, repositories) = recorded(&record, name)?;
            let mut found = None;
            for repository in repositories.iter().filter(|_| wanted) {
                let image = ImageReference {
                    repository: repository.clone(),
                    reference: Some(Reference::Digest(digest.clone())),
                };
                let is_only = is_only && repositories.len() == 1;
                let (_, here) =
                    Box::pin(look(context, &Origin::Image(image), is_only, true)).await?;
                found = found.or(here);
                if found.is_some() {
                    break;
                }
            }
            Ok((Source::repositories(repositories), found))
        }
    }
}

/// The one index of a record, and where it is.
fn recorded(record: &Record, name: &str) -> Result<(Digest, Vec<Repository>), ApplyError> {
    let mut digests: Vec<&Digest> = Vec::new();
    let mut repositories = Vec::new();
    for image in &record.images {
        if !digests.contains(&&image.digest) {
            digests.push(&image.digest);
        }
        let repository = image.image.parse();
        repositories.push(repository.map_err(|_| ApplyError::OddRecord(image.image.clone()))?);
    }
    match *digests {
        [digest] => Ok((digest.clone(), repositories)),
        [] => Err(ApplyError::EmptyRecord(name.to_owned(), String::new())),
        _ => Err(ApplyError::ManyRecorded {
            record: name.to_owned(),
            images: record
                .images
                .iter()
                .map(|image| format!("{}@{}", image.image, image.digest))
                .collect(),
        }),
    }
}
