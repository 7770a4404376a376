//! Reads the referrers of an image, from the referrers API and from the referrers tag.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::seen_list::SeenList;
use super::shared_tag::SharedTag;
use crate::context::ReadContext;
use crate::domain::{Descriptor, Digest, Manifest, Repository, Tag, Unusable};
use crate::registry::{Entries, Entry, Referrers, RegistryError, Tagged, TaggedList};

/// The order in which the lists of referrers are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOrder {
    /// The referrers tag is requested once the API's list was read. Needs the fewest requests.
    OneByOne,
    /// The referrers tag is requested together with the API's list. Needs the least time.
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

/// One list of referrers, read to its end or to an error.
pub(crate) struct ReferrerList<T> {
    /// The keeper of the list.
    pub(crate) keeper: ListKeeper,
    /// The entries. An entry may be repeated.
    pub(crate) entries: Entries<T>,
    /// The content of the referrers tag, if that is no list.
    pub(crate) unusable: Option<Unusable>,
    /// The error that ended the reading.
    pub(crate) error: Option<RegistryError>,
}

/// The keeper of a list of referrers, who decides what its entries state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKeeper {
    /// The registry. SPEC: it takes the annotations of an entry from the referrer's manifest.
    Registry,
    /// Clients. Anyone with push access can change what an entry states about the referrer of another client.
    Clients,
}

/// The lists of referrers of one subject, read one by one.
pub(crate) struct ReferrerReader<'a, T> {
    shared: SharedTag<'a>,
    order: ReadOrder,
    next: Option<ListKeeper>,
    /// The list under the referrers tag, if it was read before its turn.
    tagged: Option<Result<Option<Tagged<T>>, RegistryError>>,
    seen: SeenReferrers,
}

impl<T> ReferrerList<T> {
    fn of(keeper: ListKeeper) -> Self {
        Self {
            keeper,
            entries: Entries::default(),
            unusable: None,
            error: None,
        }
    }
}

impl<'a, T: Entry> ReferrerReader<'a, T> {
    /// Creates the reader. This call sends nothing.
    pub(crate) fn new(
        context: &'a ReadContext,
        repository: &'a Repository,
        subject: &'a Digest,
        order: ReadOrder,
    ) -> Self {
        Self {
            shared: SharedTag::of_referrers(context, repository, subject),
            order,
            next: Some(ListKeeper::Registry),
            tagged: None,
            seen: SeenReferrers::default(),
        }
    }

    /// Reads the next list: that of the API, then the one under the referrers tag. Some registries answer the API with an
    /// empty list. Entries that were written under the referrers tag for that reason are there.
    pub(crate) async fn next(&mut self) -> Option<ReferrerList<T>> {
        match self.next? {
            ListKeeper::Registry => {
                self.next = Some(ListKeeper::Clients);
                let (list, tagged) = match self.order {
                    ReadOrder::OneByOne => (read_api(&self.shared).await, None),
                    ReadOrder::AtOnce => {
                        let (list, tagged) =
                            tokio::join!(read_api(&self.shared), self.shared.list());
                        (list, Some(tagged))
                    }
                };
                self.tagged = tagged;
                let (list, has_api) = list;
                self.seen.has_api = has_api;
                Some(list)
            }
            ListKeeper::Clients => {
                self.next = None;
                Some(self.read_tag().await)
            }
        }
    }

    /// Ends the reading, and returns what it found of the lists themselves.
    pub(crate) fn into_seen(self) -> SeenReferrers {
        self.seen
    }

    /// Reads the list under the referrers tag.
    async fn read_tag(&mut self) -> ReferrerList<T> {
        let tagged = match self.tagged.take() {
            Some(tagged) => tagged,
            None => self.shared.list().await,
        };
        let mut list = ReferrerList::of(ListKeeper::Clients);
        match tagged {
            Ok(Some(Tagged::List(mut found))) => {
                list.entries = std::mem::take(&mut found.entries);
                self.seen.list = Some(found.into());
            }
            Ok(Some(Tagged::Unusable(unusable))) => {
                self.seen.unusable = Some(unusable.clone());
                list.unusable = Some(unusable);
            }
            Ok(None) => (),
            Err(error) => list.error = Some(error),
        }
        list
    }
}

/// Reads the list of the API, and reports whether the registry has the API.
async fn read_api<T: Entry>(shared: &SharedTag<'_>) -> (ReferrerList<T>, bool) {
    let registry = &shared.context.registry;
    let mut pages = registry.referrer_pages(shared.repository, &shared.subject);
    let (mut list, mut has_api) = (ReferrerList::of(ListKeeper::Registry), false);
    loop {
        match pages.next().await {
            Ok(Some(Referrers::Listed(page))) => {
                has_api = true;
                list.entries.append(page);
            }
            Ok(Some(Referrers::NoApi | Referrers::NoSubject) | None) => break,
            Err(error) => {
                list.error = Some(error);
                break;
            }
        }
    }
    (list, has_api)
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
    match listed {
        Referrers::Listed(_) => has_api.set(Some(true)),
        Referrers::NoApi => has_api.set(Some(false)),
        // Another source has the subject.
        Referrers::NoSubject => (),
    }
    if let Referrers::Listed(listed) = listed {
        all.entries = listed;
    }
    match tagged {
        Some(Tagged::List(TaggedList { entries, short, .. })) => {
            all.entries.append(entries);
            all.original = short;
        }
        Some(Tagged::Unusable(unusable)) => all.unusable = Some(unusable),
        None => (),
    }
    Ok(all)
}
