//! Reads the referrers of an image, from the referrers API and from the referrers tag.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::seen_list::SeenList;
use super::shared_tag::SharedTag;
use crate::context::ReadContext;
use crate::domain::{Descriptor, Digest, Manifest, Repository, Tag, Unusable};
use crate::registry::{Entries, Entry, Pages, Referrers, RegistryError, Tagged, TaggedList};

/// The order in which the lists of referrers are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOrder {
    /// The referrers tag is requested once the API has listed all. Needs the fewest requests.
    OneByOne,
    /// The referrers tag is requested together with the first page of the API. Needs the least time.
    AtOnce,
}

/// The lists of referrers as a lookup found them. A later push starts from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenReferrers {
    /// True if the registry keeps the list itself.
    pub(super) has_api: bool,
    /// The list under the referrers tag, if it was read.
    pub(super) list: Option<SeenList>,
    /// The content of the referrers tag, if that is no list.
    unusable: Option<Unusable>,
}

impl SeenReferrers {
    /// Returns the content that prevents a further entry. If the registry keeps the list itself, there is none.
    pub(crate) fn obstacle(&self) -> Option<&Unusable> {
        self.unusable.as_ref().filter(|_| !self.has_api)
    }
}

/// A part of the lists of referrers.
pub(crate) enum ReferrerBatch<T> {
    /// Some entries.
    Entries(Entries<T>),
    /// Content of the referrers tag that is no list.
    Unusable(Unusable),
}

/// The lists of referrers of one subject, read part by part. Entries may be repeated.
pub(crate) struct ReferrerBatches<'a, T> {
    shared: SharedTag<'a>,
    /// The pages of the API, until the last one was read.
    pages: Option<Pages<'a>>,
    order: ReadOrder,
    /// The list under the referrers tag, if it was read before its turn.
    tagged: Option<Result<Option<Tagged<T>>, RegistryError>>,
    is_tag_read: bool,
    seen: SeenReferrers,
}

impl<'a, T: Entry> ReferrerBatches<'a, T> {
    /// Creates the reader. This call sends nothing.
    pub(crate) fn new(
        context: &'a ReadContext,
        repository: &'a Repository,
        subject: &'a Digest,
        order: ReadOrder,
    ) -> Self {
        Self {
            shared: SharedTag::of_referrers(context, repository, subject),
            pages: Some(context.registry.referrer_pages(repository, subject)),
            order,
            tagged: None,
            is_tag_read: false,
            seen: SeenReferrers::default(),
        }
    }

    /// Reads the next part. Returns `None` after the last one. After an error of the API, the referrers tag is still
    /// read.
    pub(crate) async fn next(&mut self) -> Option<Result<ReferrerBatch<T>, RegistryError>> {
        match self.next_page().await {
            Ok(Some(entries)) => return Some(Ok(ReferrerBatch::Entries(entries))),
            Err(error) => return Some(Err(error)),
            Ok(None) => (),
        }
        // Some registries answer the API with an empty list. Entries that were written under the referrers tag for that
        // reason are there.
        self.read_tag().await
    }

    /// Ends the reading, and returns what it found of the lists themselves.
    pub(crate) fn into_seen(self) -> SeenReferrers {
        self.seen
    }

    /// Reads the next page of the API, if there is one.
    async fn next_page(&mut self) -> Result<Option<Entries<T>>, RegistryError> {
        let Some(pages) = &mut self.pages else {
            return Ok(None);
        };
        let page = if self.order == ReadOrder::AtOnce && self.tagged.is_none() {
            let (page, tagged) = tokio::join!(pages.next(), self.shared.list());
            self.tagged = Some(tagged);
            page
        } else {
            pages.next().await
        };
        match page {
            Ok(Some(Referrers::Listed(entries))) => {
                self.seen.has_api = true;
                Ok(Some(entries))
            }
            Ok(Some(Referrers::NoApi) | None) => {
                self.pages = None;
                Ok(None)
            }
            Err(error) => {
                self.pages = None;
                Err(error)
            }
        }
    }

    async fn read_tag(&mut self) -> Option<Result<ReferrerBatch<T>, RegistryError>> {
        if std::mem::replace(&mut self.is_tag_read, true) {
            return None;
        }
        let tagged = match self.tagged.take() {
            Some(tagged) => tagged,
            None => self.shared.list().await,
        };
        match tagged.transpose()? {
            Ok(Tagged::List(mut list)) => {
                let entries = std::mem::take(&mut list.entries);
                self.seen.list = Some(list.into());
                Some(Ok(ReferrerBatch::Entries(entries)))
            }
            Ok(Tagged::Unusable(unusable)) => {
                self.seen.unusable = Some(unusable.clone());
                Some(Ok(ReferrerBatch::Unusable(unusable)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// The tags of a repository, if all of them are known. Then other tags need not be requested.
#[derive(Debug)]
pub(crate) struct KnownTags(pub(crate) Option<BTreeSet<String>>);

impl KnownTags {
    /// Reports whether the repository may have this tag.
    pub(crate) fn may_have(&self, tag: &Tag) -> bool {
        self.0
            .as_ref()
            .is_none_or(|tags| tags.contains(tag.as_str()))
    }
}

/// All referrers of a subject, as a repository lists them.
#[derive(Default)]
pub(crate) struct AllReferrers {
    /// The entries. An entry may be repeated.
    pub(crate) entries: Entries<Descriptor>,
    /// The index that clients keep, if they do and it is short.
    pub(crate) original: Option<Manifest>,
    /// The content of the referrers tag, if that is no list.
    pub(crate) unusable: Option<Unusable>,
}

/// Reads all referrers of `subject`, which the repository has. `has_api` says whether its registry keeps the lists itself,
/// once that is known.
pub(crate) async fn all_referrers(
    context: &ReadContext,
    repository: &Repository,
    subject: &Digest,
    known: &KnownTags,
    has_api: &Cell<Option<bool>>,
) -> Result<AllReferrers, RegistryError> {
    let mut all = AllReferrers::default();
    let shared = SharedTag::of_referrers(context, repository, subject);
    let tagged = async {
        if known.may_have(&shared.tag) {
            shared.list().await
        } else {
            Ok(None)
        }
    };
    let listed = async {
        if has_api.get() == Some(false) {
            return Ok(Referrers::NoApi);
        }
        context.registry.referrers(repository, subject).await
    };
    let (listed, tagged) = tokio::try_join!(listed, tagged)?;
    has_api.set(Some(listed != Referrers::NoApi));
    if let Referrers::Listed(listed) = listed {
        all.entries = listed;
    }
    match tagged {
        Some(Tagged::List(TaggedList { entries, short, .. })) => {
            all.entries.listed.extend(entries.listed);
            all.entries.broken += entries.broken;
            all.original = short;
        }
        Some(Tagged::Unusable(unusable)) => all.unusable = Some(unusable),
        None => (),
    }
    Ok(all)
}
