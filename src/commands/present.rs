//! Waits for content that other jobs have just pushed.

use std::future::Future;

use super::CommandError;
use crate::context::{ImageError, ReadContext};
use crate::domain::{Digest, ImageReference, Manifest, Reference, Repository};
use crate::registry::RegistryError;

/// Fetches the manifest of a digest, with retries while it is absent. Absence after the last try is an error.
pub(super) async fn manifest_present(
    context: &ReadContext,
    repository: &Repository,
    digest: &Digest,
) -> Result<Manifest, CommandError> {
    let reference = Reference::Digest(digest.clone());
    let read = || context.registry.manifest(repository, &reference);
    present(context, repository.at(digest), read).await
}

/// Checks that a digest exists, with retries while it is absent.
pub(super) async fn check_present(
    context: &ReadContext,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), CommandError> {
    let reference = Reference::Digest(digest.clone());
    let read = || context.registry.manifest_digest(repository, &reference);
    present(context, repository.at(digest), read)
        .await
        .map(drop)
}

async fn present<T, F>(
    context: &ReadContext,
    image: ImageReference,
    read: impl Fn() -> F,
) -> Result<T, CommandError>
where
    F: Future<Output = Result<Option<T>, RegistryError>>,
{
    let found = context.until_present(&image.to_string(), read).await?;
    let missing = || ImageError::MissingChild {
        image: Box::new(image),
    };
    Ok(found.ok_or_else(missing)?)
}
