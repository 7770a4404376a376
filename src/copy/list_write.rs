//! Writes the lists of referrers and the digest tags of copied images, once everything that they list is there.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use super::CopyError;
use super::referrer_filter::ReferrerFilter;
use crate::context::{Context, REQUESTS_PARALLEL};
use crate::domain::{Manifest, ManifestKind, Tag, chain_text};
use crate::referrers::{
    Change, ListError, NewEntries, PendingSettle, SharedTagWriter, TagSnapshot,
};
use crate::signatures::legacy_attach::read_config;
use crate::signatures::legacy_manifest::merge;

/// A list of referrers or a digest tag of the destination that lacks copied content.
pub(crate) struct ListWrite<'a> {
    content: ListContent<'a>,
    /// True if the content contains, or may contain, a signature by the required identity. Then it must be written.
    is_required: bool,
}

enum ListContent<'a> {
    Referrers(Box<NewEntries<'a>>),
    DigestTag(Box<DigestTagWrite<'a>>),
}

/// A digest tag that lacks the content of the tag at the source.
pub(super) struct DigestTagWrite<'a> {
    pub(super) context: &'a Context,
    pub(super) list: SharedTagWriter<'a>,
    /// The content of the tag at the source.
    pub(super) original: Manifest,
    pub(super) snapshot: TagSnapshot,
    /// True if the tag has one document, which is never merged with another.
    pub(super) is_single: bool,
}

/// The lists that were written.
#[derive(Default)]
pub(crate) struct WrittenLists<'a> {
    /// Their tags. A list that the registry keeps has none.
    pub(crate) tags: Vec<Tag>,
    /// The remaining work until they are stable.
    pub(crate) pending_settles: Vec<PendingSettle<'a, CopyError>>,
}

impl<'a> ListWrite<'a> {
    pub(super) fn referrers(new: NewEntries<'a>, is_required: bool) -> Self {
        Self {
            content: ListContent::Referrers(Box::new(new)),
            is_required,
        }
    }

    pub(super) fn digest_tag(write: DigestTagWrite<'a>, is_required: bool) -> Self {
        Self {
            content: ListContent::DigestTag(Box::new(write)),
            is_required,
        }
    }

    /// Returns the tag that is written.
    fn tag(&self) -> Option<&Tag> {
        match &self.content {
            ListContent::Referrers(new) => new.tag(),
            ListContent::DigestTag(write) => Some(&write.list.tag),
        }
    }

    /// Writes the list. Returns the remaining work until it is stable, or `None` if nothing was written.
    async fn write(
        self,
        context: &Context,
        filter: &ReferrerFilter<'_>,
    ) -> Result<PendingSettle<'a, CopyError>, CopyError> {
        let written = match self.content {
            ListContent::Referrers(new) => new.add().await,
            ListContent::DigestTag(write) => write.write().await,
        };
        match written {
            // The run goes on only because nothing vouches for the content that is left out.
            Err(error) if error.is_about_list() && !self.is_required => {
                let why = chain_text(&error);
                let text = format!(
                    "its entries at the source are not copied, and none of them is verified: {why}"
                );
                filter.warn_once(context, text);
                Ok(None)
            }
            written => written,
        }
    }
}

/// Writes lists concurrently, those with the same tag one after another.
pub(crate) async fn write_lists<'a>(
    context: &Context,
    filter: &ReferrerFilter<'_>,
    writes: Vec<ListWrite<'a>>,
) -> Result<WrittenLists<'a>, CopyError> {
    let mut by_tag: BTreeMap<Option<Tag>, Vec<ListWrite<'a>>> = BTreeMap::new();
    for write in writes {
        by_tag.entry(write.tag().cloned()).or_default().push(write);
    }
    let kept_by_registry = by_tag.remove(&None).unwrap_or_default();
    let mut groups: Vec<(Option<Tag>, Vec<ListWrite<'a>>)> = by_tag.into_iter().collect();
    groups.extend(kept_by_registry.into_iter().map(|one| (None, vec![one])));
    let each = groups.into_iter().map(|(tag, group)| async move {
        let mut pending_settles = Vec::new();
        for write in group {
            pending_settles.push(write.write(context, filter).await?);
        }
        let is_written = pending_settles.iter().any(Option::is_some);
        Ok::<_, CopyError>((tag.filter(|_| is_written), pending_settles))
    });
    let ended: Vec<_> = stream::iter(each.collect::<Vec<_>>())
        .buffer_unordered(REQUESTS_PARALLEL)
        .collect()
        .await;
    let mut written = WrittenLists::default();
    for one in ended {
        let (tag, pending_settles) = one?;
        written.tags.extend(tag);
        written.pending_settles.extend(pending_settles);
    }
    Ok(written)
}

/// Waits for all lists concurrently until they are stable.
pub(crate) async fn settle_lists(
    pending_settles: Vec<PendingSettle<'_, CopyError>>,
) -> Result<(), CopyError> {
    let ended = join_all(pending_settles.into_iter().flatten()).await;
    ended.into_iter().collect()
}

impl<'a> DigestTagWrite<'a> {
    /// Writes the tag, or adds the layers that it lacks.
    async fn write(self) -> Result<PendingSettle<'a, CopyError>, CopyError> {
        let Self {
            context,
            list,
            original,
            snapshot,
            is_single,
        } = self;
        let (tag, subject, repository) = (list.full_tag(), list.subject.clone(), list.repository);
        let add = async move |current: Option<&Manifest>| match current {
            None => Ok(Some(Change {
                media_type: original.media_type().clone(),
                bytes: original.bytes().to_vec(),
                parts: Vec::new(),
            })),
            Some(current) if current.digest() == original.digest() => Ok(None),
            Some(current) if is_single || !is_alike(current, &original) => {
                Err(CopyError::from(ListError::Occupied {
                    tag: tag.clone(),
                    subject: subject.clone(),
                    why: "points to other content than at the source".into(),
                }))
            }
            Some(current) => {
                let config = read_config(context, repository, current).await?;
                Ok(merge(current, config, &original)?)
            }
        };
        let (_, pending_settle) = list.update_from(snapshot.for_long_merge(), add).await?;
        Ok(pending_settle)
    }
}

/// Reports whether both manifests are lists of the same kind: images that share a layer type.
fn is_alike(one: &Manifest, other: &Manifest) -> bool {
    match (one.kind(), other.kind()) {
        (ManifestKind::Image { layers: one, .. }, ManifestKind::Image { layers: other, .. }) => {
            one.iter().any(|layer| {
                other
                    .iter()
                    .any(|other| other.media_type == layer.media_type)
            })
        }
        (ManifestKind::Index { .. } | ManifestKind::Image { .. }, _) => false,
    }
}
