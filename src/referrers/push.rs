//! Adds entries to the referrers of an image. A registry with the referrers API lists a pushed referrer itself; for any
//! other, the entry is added to the index under the referrers tag.

use std::collections::BTreeSet;
use std::future::Future;

use tokio::sync::OnceCell;

use super::index::{lists_exactly, merge};
use super::read::SeenReferrers;
use super::settle::{Change, MergeError, PendingSettle, SharedTagWriter, SubjectAge, TagSnapshot};
use super::shared_tag::SharedTag;
use crate::context::Context;
use crate::domain::{Descriptor, Digest, Manifest, MediaType, Repository, Tag};
use crate::registry::{Referrer, Referrers, RegistryError, Stored};

/// Pushes a referrer of `subject` with `push`, and adds its entry where the registry does not list it by itself. `seen`
/// is the result of an earlier lookup, and `age` says whether others may have listed entries that it did not find. Returns
/// the entry, and the remaining work until it is stable.
pub(crate) async fn push_referrer<'a, E: MergeError + 'a>(
    context: &'a Context,
    repository: &'a Repository,
    subject: &'a Digest,
    seen: SeenReferrers,
    age: SubjectAge,
    push: impl Future<Output = Result<(Descriptor, Stored), E>>,
) -> Result<(Descriptor, PendingSettle<'a, E>), E> {
    let shared = SharedTag::of_referrers(context, repository, subject).seen(seen.list);
    let shared = SharedTagWriter::new(context, shared);
    // If the entry will be in the index under the referrers tag, that index is read in the meantime.
    let snapshot = async {
        if seen.has_api {
            return Ok::<_, E>(None);
        }
        // The lookup found an entry or none. Only an absent list may be late.
        Ok(Some(shared.read_snapshot_of(age).await?))
    };
    let ((entry, stored), snapshot) = tokio::try_join!(push, snapshot)?;
    let is_promised = seen.has_api && stored.subject.as_ref() == Some(subject);
    if is_promised && is_listed(context, repository, subject, &entry.digest).await? {
        return Ok((entry, None));
    }
    let pending_settle = add_entries(shared, snapshot, vec![entry.clone()], None).await?;
    Ok((entry, pending_settle))
}

/// Reports whether the registry's own list has an entry for `digest` that readers of signatures open. Any other entry is
/// as good as none.
async fn is_listed(
    context: &Context,
    repository: &Repository,
    subject: &Digest,
    digest: &Digest,
) -> Result<bool, RegistryError> {
    let is_it = |entry: &Referrer| entry.digest == *digest && entry.may_be_signature();
    let listed = context.registry.referrers(repository, subject).await?;
    Ok(match listed {
        Referrers::Listed(all) => all.listed.iter().any(is_it),
        Referrers::NoApi => false,
    })
}

/// The lists of referrers in a repository that images are copied to.
pub(crate) struct ReferrerLists<'a> {
    context: &'a Context,
    repository: &'a Repository,
    /// True if the registry keeps the lists itself. Otherwise entries are added under the referrers tag, which is
    /// correct for any registry.
    has_api: OnceCell<bool>,
}

impl<'a> ReferrerLists<'a> {
    /// Creates the lists of `repository`. This call sends nothing.
    pub(crate) fn new(context: &'a Context, repository: &'a Repository) -> Self {
        Self {
            context,
            repository,
            has_api: OnceCell::new(),
        }
    }

    /// Adds entries for referrers of `subject` that were pushed, and waits until they are stable. If no entry is there
    /// and `original` lists exactly these entries, `original` is written. Returns the written tag, if one was.
    pub(crate) async fn add<E: MergeError>(
        &self,
        subject: &Digest,
        age: SubjectAge,
        new: Vec<Descriptor>,
        original: Option<Manifest>,
    ) -> Result<Option<Tag>, E> {
        if self.are_listed(subject, &new).await? {
            return Ok(None);
        }
        let shared = SharedTag::of_referrers(self.context, self.repository, subject);
        let shared = SharedTagWriter::new(self.context, shared);
        let snapshot = shared.read_snapshot_of(age).await?;
        let tag = shared.tag.clone();
        let Some(pending_settle) = add_entries(shared, Some(snapshot), new, original).await? else {
            return Ok(None);
        };
        pending_settle.await.map(|()| Some(tag))
    }

    /// Reports whether the registry's own list contains all of `new`.
    async fn are_listed(
        &self,
        subject: &Digest,
        new: &[Descriptor],
    ) -> Result<bool, RegistryError> {
        let registry = &self.context.registry;
        let list = async || registry.referrers::<Digest>(self.repository, subject).await;
        let mut first = None;
        let read_list = async || {
            let listing = first.insert(list().await?);
            Ok::<_, RegistryError>(*listing != Referrers::NoApi)
        };
        let has_api = *self.has_api.get_or_try_init(read_list).await?;
        let listing = match first {
            Some(listing) => listing,
            None if has_api => list().await?,
            None => Referrers::NoApi,
        };
        Ok(match listing {
            Referrers::Listed(all) => {
                let known: BTreeSet<Digest> = all.listed.into_iter().collect();
                new.iter().all(|entry| known.contains(&entry.digest))
            }
            Referrers::NoApi => false,
        })
    }
}

/// Adds `new` to the index under a referrers tag, which `snapshot` may have read before. If there is none and `original`
/// lists exactly these entries, `original` is written. Returns the remaining work until the entries are stable.
async fn add_entries<'a, E: MergeError + 'a>(
    list: SharedTagWriter<'a>,
    snapshot: Option<TagSnapshot>,
    new: Vec<Descriptor>,
    original: Option<Manifest>,
) -> Result<PendingSettle<'a, E>, E> {
    let of = list.subject();
    let add = async move |current: Option<&Manifest>| {
        let merged = match &original {
            Some(original) if current.is_none() && lists_exactly(original, &new) => {
                Some(original.bytes().to_vec())
            }
            Some(_) | None => merge(current, &of, &new)?,
        };
        Ok::<_, E>(merged.map(|bytes| Change {
            media_type: MediaType::OciIndex,
            bytes,
            parts: Vec::new(),
        }))
    };
    let snapshot = match snapshot {
        Some(snapshot) => snapshot,
        None => list.read_snapshot().await?,
    };
    let (_, pending_settle) = list.update_from(snapshot, add).await?;
    Ok(pending_settle)
}
