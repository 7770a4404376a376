//! The sources that images are copied from: repositories and folders.

use std::cell::Cell;
use std::rc::Rc;

use super::CopyError;
use crate::context::Context;
use crate::domain::{
    Descriptor, Digest, DigestTag, EMPTY_CONFIG, Manifest, Reference, Repository, TagContent,
    Unusable,
};
use crate::layout::Layout;
use crate::referrers::{AllReferrers, KnownTags, SharedTag, all_referrers};
use crate::registry::{Entries, Operation, ReadPlace, RegistryError, all_tags};

/// A place that images can be copied from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A repository.
    Repository(Repository),
    /// A folder in the OCI layout.
    Layout(Layout),
}

/// A source, and the tags that it is known to have.
#[derive(Debug)]
pub(crate) struct KnownSource {
    /// The source.
    pub(crate) source: Source,
    /// Its tags. A write does not depend on them.
    pub(crate) tags: KnownTags,
    /// The answer of its registry about the referrers API, once there is one.
    has_api: Cell<Option<bool>>,
}

impl KnownSource {
    /// Returns its name in messages.
    pub(crate) fn name(&self) -> String {
        self.source.name()
    }

    /// Reads the list of tags of a source.
    pub(crate) async fn read(context: &Context, source: Source) -> Self {
        let tags = source.list_tags(context).await;
        Self {
            source,
            tags,
            has_api: Cell::default(),
        }
    }

    /// Returns all referrers of `subject`.
    pub(crate) async fn referrers(
        &self,
        context: &Context,
        subject: &Digest,
    ) -> Result<AllReferrers, CopyError> {
        match &self.source {
            Source::Repository(from) => {
                let all = all_referrers(context, from, subject, &self.tags, &self.has_api);
                Ok(all.await?)
            }
            Source::Layout(layout) => Ok(AllReferrers {
                entries: Entries {
                    listed: layout.referrers(subject).to_vec(),
                    ..Entries::default()
                },
                ..AllReferrers::default()
            }),
        }
    }
}

impl Source {
    /// Converts repositories to sources.
    pub(crate) fn repositories(repositories: impl IntoIterator<Item = Repository>) -> Vec<Self> {
        repositories.into_iter().map(Self::from).collect()
    }

    /// Returns its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Repository(repository) => repository.to_string(),
            Self::Layout(layout) => layout.name().to_owned(),
        }
    }

    /// True if content that is absent now may be there at the next try.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self, Self::Repository(_))
    }

    /// Returns the manifest `digest`, or `None` if it is not there.
    pub(crate) async fn manifest(
        &self,
        context: &Context,
        digest: &Digest,
    ) -> Result<Option<Manifest>, CopyError> {
        match self {
            Self::Repository(repository) => {
                let reference = Reference::Digest(digest.clone());
                Ok(context.registry.manifest(repository, &reference).await?)
            }
            Self::Layout(layout) => Ok(layout.manifest(digest)?),
        }
    }

    /// Reads the list of tags.
    pub(crate) async fn list_tags(&self, context: &Context) -> KnownTags {
        match self {
            Self::Repository(repository) => {
                KnownTags(all_tags(&context.registry, repository).await)
            }
            Self::Layout(_) => KnownTags(None),
        }
    }

    /// Returns the content of the blob `digest`, of at most `limit` bytes, or `None` if it is not there.
    pub(crate) async fn content(
        &self,
        context: &Context,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, CopyError> {
        match self {
            Self::Repository(from) => Ok(context.registry.blob(from, digest, limit).await?),
            Self::Layout(layout) => Ok(layout.content(digest, limit)?),
        }
    }

    /// Reads the content of the digest tag `tag`.
    pub(crate) async fn digest_tag(
        &self,
        context: &Context,
        tag: &DigestTag<'_>,
        known: &KnownTags,
    ) -> Result<Option<TagContent>, CopyError> {
        match self {
            Self::Repository(repository) => {
                let shared = SharedTag::of_digest_tag(context, repository, tag);
                if known.may_have(&shared.tag) {
                    Ok(shared.read().await?)
                } else {
                    Ok(None)
                }
            }
            Self::Layout(layout) => {
                let Some(found) = layout.digest_tag(tag) else {
                    return Ok(None);
                };
                match layout.manifest(&found.digest) {
                    Ok(found) => Ok(found.map(TagContent::from)),
                    Err(error) if error.is_about_content() => {
                        let unusable = Unusable::new(found.digest.clone(), &error);
                        Ok(Some(TagContent::Unusable(unusable)))
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Returns the digest of the content of the digest tag `tag`. Does not read the content.
    pub(crate) async fn digest_tag_digest(
        &self,
        context: &Context,
        tag: &DigestTag<'_>,
        known: &KnownTags,
    ) -> Result<Option<Digest>, CopyError> {
        match self {
            Self::Repository(repository) => {
                if !known.may_have(&tag.tag) {
                    return Ok(None);
                }
                let (registry, reference) = (&context.registry, Reference::Tag(tag.tag.clone()));
                let found = registry.manifest_digest(repository, &reference).await?;
                Ok(found.filter(|digest| digest != tag.subject))
            }
            Self::Layout(layout) => {
                let found = layout.digest_tag(tag);
                Ok(found.map(|found| found.digest.clone()))
            }
        }
    }

    /// Copies `blob` to `to`, which lacks it. Returns `false` if this source lacks it too. With a place, it is read
    /// together with other destinations.
    pub(crate) async fn copy_blob(
        &self,
        context: &Context,
        to: &Repository,
        blob: &Descriptor,
        place: Option<ReadPlace<'_>>,
    ) -> Result<bool, CopyError> {
        match self {
            Self::Repository(from) => Ok(copy_blob(context, from, to, blob, place).await?),
            Self::Layout(layout) => {
                // Others must not wait for this destination while it sends the file.
                drop(place);
                let Some(file) = layout.blob(&blob.digest)? else {
                    return Ok(false);
                };
                context.registry.upload_blob(&file, to, blob).await?;
                Ok(true)
            }
        }
    }
}

impl From<Repository> for Source {
    fn from(repository: Repository) -> Self {
        Self::Repository(repository)
    }
}

/// Returns a manifest of the first of these sources that has it. If none has, an error counts: that source may have it.
pub(super) async fn first_manifest(
    context: &Context,
    from: &[&Source],
    digest: &Digest,
) -> Result<Option<Rc<Manifest>>, CopyError> {
    let mut first_error = None;
    for source in from {
        match source.manifest(context, digest).await {
            Ok(Some(manifest)) => return Ok(Some(Rc::new(manifest))),
            Ok(None) => (),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

async fn copy_blob(
    context: &Context,
    from: &Repository,
    to: &Repository,
    blob: &Descriptor,
    place: Option<ReadPlace<'_>>,
) -> Result<bool, RegistryError> {
    let registry = &context.registry;
    // Within one registry it is mounted like any other blob.
    if blob.is_empty_config() && from.host() != to.host() {
        return registry.put_blob(to, EMPTY_CONFIG).await.map(|_| true);
    }
    // Most registries do not have foreign blobs. The check avoids an upload session that would not be used.
    if blob.is_foreign() && !registry.has_blob(from, &blob.digest).await? {
        return Ok(false);
    }
    match registry.copy_blob_together(from, to, blob, place).await {
        Ok(_) => Ok(true),
        // The table of responses decides if this 404 means absence.
        Err(error) if error.operation() == Operation::ReadBlob && error.status() == Some(404) => {
            if registry.has_blob(from, &blob.digest).await? {
                Err(error)
            } else {
                Ok(false)
            }
        }
        Err(error) => Err(error),
    }
}
