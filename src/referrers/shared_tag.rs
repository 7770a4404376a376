//! Reads tags that many clients write: the referrers tag `sha256-…`, and digest tags such as `sha256-….sig`.

use std::borrow::Cow;
use std::cell::RefCell;

use tokio::sync::SemaphorePermit;

use super::ListError;
use super::seen_list::SeenList;
use crate::context::ReadContext;
use crate::domain::{Digest, DigestTag, FullTag, Repository, Tag, TagContent, Unusable};
use crate::outcome::Subject;
use crate::registry::{Entry, RegistryError, Tagged};

/// The length above which only one signature manifest is in memory at a time.
const LONG_MIN_BYTES: usize = 256 * 1024;

/// A tag that belongs to `subject` and has other writers too.
pub(crate) struct SharedTag<'a> {
    pub(crate) context: &'a ReadContext,
    pub(crate) repository: &'a Repository,
    pub(crate) subject: Digest,
    pub(crate) tag: Tag,
    /// The content that it last had.
    pub(super) seen: RefCell<Option<SeenList>>,
}

impl<'a> SharedTag<'a> {
    /// Creates the shared tag `tag`, which was not read yet.
    fn new(
        context: &'a ReadContext,
        repository: &'a Repository,
        subject: &Digest,
        tag: Tag,
    ) -> Self {
        Self {
            context,
            repository,
            subject: subject.clone(),
            tag,
            seen: RefCell::default(),
        }
    }

    /// Creates the referrers tag of `subject`.
    pub(crate) fn of_referrers(
        context: &'a ReadContext,
        repository: &'a Repository,
        subject: &Digest,
    ) -> Self {
        Self::new(context, repository, subject, subject.referrers_tag())
    }

    /// Creates the shared tag for a digest tag.
    pub(crate) fn of_digest_tag(
        context: &'a ReadContext,
        repository: &'a Repository,
        tag: &DigestTag<'_>,
    ) -> Self {
        Self::new(context, repository, tag.subject, tag.tag.clone())
    }

    /// Sets the content that an earlier read found.
    pub(crate) fn seen(self, list: Option<SeenList>) -> Self {
        self.seen.replace(list);
        self
    }

    /// Returns the entries of the list under the tag. The subject itself counts as no list: some registries resolve
    /// such a tag to it.
    pub(crate) async fn list<T: Entry>(&self) -> Result<Option<Tagged<T>>, RegistryError> {
        let registry = &self.context.registry;
        let found = registry.tagged_list(self.repository, &self.tag).await?;
        Ok(found.filter(|list| *list.digest() != self.subject))
    }

    /// Reads the content of the tag, with the permit for long lists if it is long.
    pub(crate) async fn read_with_permit(
        &self,
    ) -> Result<(Option<TagContent>, Option<SemaphorePermit<'a>>), RegistryError> {
        let found = self.read().await?;
        let manifest = found.as_ref().and_then(TagContent::manifest);
        if manifest.is_none_or(|manifest| manifest.bytes().len() <= LONG_MIN_BYTES) {
            return Ok((found, None));
        }
        drop(found);
        let permit = self.context.long_lists.permit().await;
        Ok((self.read().await?, permit))
    }

    /// Reads the content of the tag. The subject itself counts as nothing: some registries resolve such a tag to it.
    pub(crate) async fn read(&self) -> Result<Option<TagContent>, RegistryError> {
        let found = self.read_raw().await?;
        Ok(found.filter(|content| *content.digest() != self.subject))
    }

    /// Returns the error for a tag whose content is no list.
    pub(crate) fn unusable(&self, unusable: &Unusable) -> ListError {
        let (digest, why) = (unusable.digest(), unusable.text());
        self.occupied(format!(
            "points to content other than signatures (`{digest}`: {why})"
        ))
    }

    /// Returns the error for a tag whose content is not what the tag is for.
    pub(crate) fn occupied(&self, why: impl Into<Cow<'static, str>>) -> ListError {
        ListError::Occupied {
            tag: self.full_tag(),
            subject: self.subject.clone(),
            why: why.into(),
        }
    }

    /// Returns the subject of the tag, and its repository.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            repository: self.repository.clone(),
            digest: self.subject.clone(),
        }
    }

    /// Returns the tag with its repository.
    pub(crate) fn full_tag(&self) -> FullTag {
        FullTag {
            repository: self.repository.clone(),
            tag: self.tag.clone(),
        }
    }

    /// Reads the content of the tag, the subject itself included.
    pub(super) async fn read_raw(&self) -> Result<Option<TagContent>, RegistryError> {
        self.context.registry.tag_content(&self.full_tag()).await
    }
}
