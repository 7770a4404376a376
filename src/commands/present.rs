//! Waits for content that other jobs have just pushed.

use super::CommandError;
use crate::context::{Context, ImageError};
use crate::domain::{Digest, Manifest, Reference, Repository};

/// Fetches the manifest of a digest, with retries while it is absent. Absence after the last try is an error.
pub(super) async fn manifest_present(
    context: &Context,
    repository: &Repository,
    digest: &Digest,
) -> Result<Manifest, CommandError> {
    let (reference, image) = (Reference::Digest(digest.clone()), repository.at(digest));
    let look = || context.registry.manifest(repository, &reference);
    let found = context.until_present(&image.to_string(), look).await?;
    let missing = || ImageError::MissingChild {
        image: Box::new(image),
    };
    Ok(found.ok_or_else(missing)?)
}

/// Checks that a digest exists, with retries while it is absent.
pub(super) async fn check_present(
    context: &Context,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), CommandError> {
    let (reference, image) = (Reference::Digest(digest.clone()), repository.at(digest));
    let look = || context.registry.manifest_digest(repository, &reference);
    let found = context.until_present(&image.to_string(), look).await?;
    let missing = || ImageError::MissingChild {
        image: Box::new(image),
    };
    found.map(drop).ok_or_else(missing).map_err(Into::into)
}
