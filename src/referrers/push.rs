//! Adds entries to the referrers of an image. A registry with the referrers API lists a pushed referrer itself; for any
//! other, the entry is added to the index under the referrers tag.

use std::collections::BTreeSet;
use std::future::Future;

use tokio::sync::OnceCell;

use super::index::{is_signature, lists_exactly, merge};
use super::read::SeenReferrers;
use super::settle::{
    Change, MergeError, PendingSettle, SharedTagWriter, SubjectAge, TagSnapshot, Writers,
};
use super::shared_tag::SharedTag;
use crate::context::Context;
use crate::domain::{Descriptor, Digest, Manifest, MediaType, Reference, Repository, Tag};
use crate::registry::{Referrer, Referrers, RegistryError, Stored};

/// Entries for stored referrers of one subject, which have to be listed.
pub(crate) struct NewEntries<'a> {
    list: SharedTagWriter<'a>,
    entries: Vec<Descriptor>,
    /// A list of exactly these entries, which is written as it is if the destination has none.
    original: Option<Manifest>,
    keeper: Keeper,
}

/// The side that keeps the list of a subject.
enum Keeper {
    /// The registry, which reported the subject of each referrer when it was pushed.
    Registry,
    /// The clients, under the referrers tag, with this content.
    Clients(Box<TagSnapshot>),
    /// The registry offers the API, and did not report the subject.
    Unclear,
}

/// Pushes a referrer of `subject` with `push`. `seen` is the result of an earlier lookup, and `age` says whether others may
/// have listed entries that it did not find. Returns the entry, which is to be listed.
pub(crate) async fn push_referrer<'a, E: MergeError + 'a>(
    context: &'a Context,
    repository: &'a Repository,
    subject: &Digest,
    seen: SeenReferrers,
    age: SubjectAge,
    push: impl Future<Output = Result<(Descriptor, Stored), E>>,
) -> Result<(Descriptor, NewEntries<'a>), E> {
    let shared = SharedTag::of_referrers(context, repository, subject).seen(seen.list);
    let list = SharedTagWriter::new(context, shared);
    // If the entry will be in the index under the referrers tag, that index is read in the meantime.
    let snapshot = async {
        if seen.has_api {
            return Ok::<_, E>(None);
        }
        // The lookup found an entry or none. Only an absent list may be late.
        Ok(Some(list.read_snapshot_of(age).await?))
    };
    let ((entry, stored), snapshot) = tokio::try_join!(push, snapshot)?;
    let is_promised = stored.subject.as_ref() == Some(subject);
    // A registry that lacked the repository at the lookup may not have told its API, which `stored` does.
    let snapshot = snapshot.filter(|_| !is_promised);
    let new = NewEntries {
        list,
        entries: vec![entry.clone()],
        original: None,
        keeper: match snapshot {
            Some(snapshot) => Keeper::Clients(Box::new(snapshot)),
            None if is_promised => Keeper::Registry,
            None => Keeper::Unclear,
        },
    };
    Ok((entry, new))
}

impl<'a> NewEntries<'a> {
    /// Returns the referrers tag, if clients keep the list.
    pub(crate) fn tag(&self) -> Option<&Tag> {
        matches!(self.keeper, Keeper::Clients(_)).then_some(&self.list.tag)
    }

    /// Adds the entries to the list, if the registry does not do that. Returns the remaining work: until they are stable,
    /// or until it is known that the registry lists them.
    pub(crate) async fn add<E: MergeError + 'a>(self) -> Result<PendingSettle<'a, E>, E> {
        match self.keeper {
            Keeper::Registry => Ok(Some(Box::pin(self.add_unlisted()))),
            Keeper::Unclear => self.add_unlisted().await.map(|()| None),
            Keeper::Clients(snapshot) => {
                add_entries(self.list, *snapshot, self.entries, self.original).await
            }
        }
    }

    /// Adds the entries that the registry does not list under the referrers tag, and waits until they are stable.
    async fn add_unlisted<E: MergeError + 'a>(self) -> Result<(), E> {
        let mut unlisted = self.unlisted().await?;
        if matches!(self.keeper, Keeper::Registry) && !unlisted.is_empty() {
            self.store_again(&unlisted).await?;
            unlisted = self.unlisted().await?;
        }
        if unlisted.is_empty() {
            return Ok(());
        }
        let snapshot = self.list.read_snapshot().await?;
        match add_entries(self.list, snapshot, self.entries, self.original).await? {
            Some(pending_settle) => pending_settle.await,
            None => Ok(()),
        }
    }

    /// Returns the entries that the registry's own list lacks. One for a signature that readers of signatures do not open is
    /// as good as none.
    async fn unlisted(&self) -> Result<Vec<Digest>, RegistryError> {
        let list = &self.list;
        let registry = &list.context.registry;
        let listed = registry.referrers::<Referrer>(list.repository, &list.subject);
        let listed = match listed.await? {
            Referrers::Listed(all) => all.listed,
            Referrers::NoApi | Referrers::NoSubject => Vec::new(),
        };
        let is_listed = |entry: &&Descriptor| {
            listed.iter().any(|listed| {
                listed.digest == entry.digest && (listed.may_be_signature() || !is_signature(entry))
            })
        };
        let unlisted = self.entries.iter().filter(|entry| !is_listed(entry));
        Ok(unlisted.map(|entry| entry.digest.clone()).collect())
    }

    /// Stores referrers again, one by one: some registries, such as olareg 0.2.2, lose entries of those that are stored at
    /// once, and list a referrer whenever it is stored.
    async fn store_again(&self, referrers: &[Digest]) -> Result<(), RegistryError> {
        let list = &self.list;
        let registry = &list.context.registry;
        for digest in referrers {
            let reference = Reference::Digest(digest.clone());
            let held = registry.manifest(list.repository, &reference).await?;
            if let Some(held) = held {
                let (media_type, bytes) = (held.media_type(), held.bytes());
                registry
                    .put_manifest(list.repository, &reference, media_type, bytes)
                    .await?;
            }
        }
        Ok(())
    }
}

/// The lists of referrers in a repository that images are copied to.
pub(crate) struct ReferrerLists<'a> {
    context: &'a Context,
    repository: &'a Repository,
    writers: Writers,
    /// The answer to the question whether the registry keeps the lists itself, asked before it had a subject. `None` if it
    /// gave no answer then.
    early: OnceCell<Option<bool>>,
    /// True if the registry keeps the lists itself. Otherwise entries are added under the referrers tag, which is
    /// correct for any registry.
    has_api: OnceCell<bool>,
}

/// The lists of one subject before entries are added.
pub(crate) enum HeldLists<'a> {
    /// The registry keeps the list, and it has these entries.
    Registry(SharedTagWriter<'a>, BTreeSet<Digest>),
    /// Clients keep the list.
    Clients(SharedTagWriter<'a>, Box<TagSnapshot>),
}

impl<'a> ReferrerLists<'a> {
    /// Creates the lists of `repository`. This call sends nothing.
    pub(crate) fn new(context: &'a Context, repository: &'a Repository, writers: Writers) -> Self {
        Self {
            context,
            repository,
            writers,
            early: OnceCell::new(),
            has_api: OnceCell::new(),
        }
    }

    /// Asks if the registry keeps the lists itself, by the list of `subject`, which may not be there yet. One request of a
    /// run does that.
    pub(crate) async fn ask_early(&self, subject: &Digest) -> Result<Option<bool>, RegistryError> {
        let read = async || self.ask(subject).await;
        self.early.get_or_try_init(read).await.copied()
    }

    /// Finds out if the registry keeps the lists itself, by the list of `subject`, which is there.
    async fn has_api(&self, subject: &Digest) -> Result<bool, RegistryError> {
        if let Some(answer) = self.ask_early(subject).await? {
            return Ok(answer);
        }
        let read = async || Ok(self.ask(subject).await?.unwrap_or(false));
        self.has_api.get_or_try_init(read).await.copied()
    }

    async fn ask(&self, subject: &Digest) -> Result<Option<bool>, RegistryError> {
        let registry = &self.context.registry;
        let listed = registry
            .referrers::<Digest>(self.repository, subject)
            .await?;
        Ok(match listed {
            Referrers::Listed(_) => Some(true),
            Referrers::NoApi => Some(false),
            Referrers::NoSubject => None,
        })
    }

    /// Reads the lists of `subject`, which is there.
    pub(crate) async fn read(
        &self,
        subject: &Digest,
        age: SubjectAge,
    ) -> Result<HeldLists<'a>, RegistryError> {
        let shared = SharedTag::of_referrers(self.context, self.repository, subject);
        let list = SharedTagWriter::new(self.context, shared).writers(self.writers);
        if !self.has_api(subject).await? {
            let snapshot = list.read_snapshot_of(age).await?;
            return Ok(HeldLists::Clients(list, Box::new(snapshot)));
        }
        // What this run stored is not listed yet.
        if age == SubjectAge::New {
            return Ok(HeldLists::Registry(list, BTreeSet::new()));
        }
        let registry = &self.context.registry;
        let listed = match registry.referrers(self.repository, subject).await? {
            Referrers::Listed(all) => all.listed.into_iter().collect(),
            Referrers::NoApi | Referrers::NoSubject => BTreeSet::new(),
        };
        Ok(HeldLists::Registry(list, listed))
    }
}

impl<'a> HeldLists<'a> {
    /// Returns the entries among `entries` that have to be listed, or `None` if the lists have them all. If there is no
    /// list, and `original` lists exactly these entries, `original` will be the list. `is_promised` says whether the
    /// registry reported the subject of the entry when it was pushed.
    pub(crate) fn missing(
        self,
        entries: Vec<Descriptor>,
        original: Option<Manifest>,
        is_promised: impl Fn(&Digest) -> bool,
    ) -> Option<NewEntries<'a>> {
        let (list, entries, keeper) = match self {
            Self::Clients(list, snapshot) => (list, entries, Keeper::Clients(snapshot)),
            Self::Registry(list, listed) => {
                let is_missing = |entry: &Descriptor| !listed.contains(&entry.digest);
                let entries: Vec<_> = entries.into_iter().filter(is_missing).collect();
                let is_kept = entries.iter().all(|entry| is_promised(&entry.digest));
                let keeper = if is_kept {
                    Keeper::Registry
                } else {
                    Keeper::Unclear
                };
                (list, entries, keeper)
            }
        };
        (!entries.is_empty()).then_some(NewEntries {
            list,
            entries,
            original,
            keeper,
        })
    }
}

/// Adds `new` to the index under a referrers tag, which `snapshot` has read before. If there is none and `original` lists
/// exactly these entries, `original` is written. Returns the remaining work until the entries are stable.
async fn add_entries<'a, E: MergeError + 'a>(
    list: SharedTagWriter<'a>,
    snapshot: TagSnapshot,
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
    let (_, pending_settle) = list.update_from(snapshot, add).await?;
    Ok(pending_settle)
}
