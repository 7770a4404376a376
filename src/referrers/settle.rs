//! Writes tags that many clients write. Few registries honour conditions on writes, so a write takes these steps:
//!
//! 1. Read the tag.
//! 2. Merge the new entries into its content, and upload the parts.
//! 3. Write the tag, unless it has changed since the read. If it has changed, start again.
//! 4. Wait several times as long as the write took, so that other writers finish theirs. If the registry refuses writes
//!    whose condition does not hold, the wait is short: it is for tools that send no conditions.
//! 5. Read the tag until it is unchanged between two reads. If another writer removed the entries, write them again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, try_join_all};
use tokio::sync::SemaphorePermit;

use super::ListError;
use super::dead_entries::{dead_entries, warn_of_removal};
use super::index::without_entries;
use super::seen_list::SeenList;
use super::shared_tag::SharedTag;
use crate::context::Context;
use crate::domain::{Digest, Manifest, MediaType, TagContent, Unusable};
use crate::registry::{Guard, Probe, RegistryError, Replaced, TagRead, WriteRule};

/// The maximum length of a manifest that every registry accepts.
const LIST_MAX_BYTES: usize = 4 << 20;
/// The shortest wait before such a tag is read again. Measured with 8 concurrent writers: without the wait 63 of 160
/// entries were lost, with it none.
const SETTLE: Duration = Duration::from_millis(300);
/// The number of reads of an absent tag while a list of others may become visible.
const PROPAGATION_READS: u32 = 3;
/// The maximum number of rounds in which an overwritten list is written again.
const ROUNDS_MAX: u32 = 60;

/// The content to write under a tag.
pub(crate) struct Change {
    /// The media type of the manifest.
    pub media_type: MediaType,
    /// The bytes of the manifest.
    pub bytes: Vec<u8>,
    /// The blobs that it points to and that the registry may lack.
    pub parts: Vec<Vec<u8>>,
}

impl Change {
    /// Creates a change that writes exactly this manifest.
    fn of(manifest: &Manifest) -> Self {
        Self {
            media_type: manifest.media_type().clone(),
            bytes: manifest.bytes().to_vec(),
            parts: Vec::new(),
        }
    }
}

/// The content of such a tag, and the time at which it was read.
pub(crate) struct TagSnapshot {
    /// The time of the read, or `None` if other work is done between it and the write.
    read: Option<ReadTime>,
    list: Option<SeenList>,
    /// The content, if it is no manifest.
    unusable: Option<Unusable>,
}

/// The clients that may write such a tag while this run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Other clients may have read the tag before this run writes it.
    Several,
    /// Nobody used the repository before this run. If the tag was absent, one look after the write is enough.
    Alone,
}

/// The age of the subject of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubjectAge {
    /// This run stored it, so nobody else has listed anything for it.
    New,
    /// The subject may have been there before. If the tag was absent at an earlier read, this is the time of that read.
    Unknown(Option<Instant>),
}

/// The time of a read.
#[derive(Clone, Copy)]
struct ReadTime {
    began: Instant,
    ended: Instant,
}

impl TagSnapshot {
    /// Creates the snapshot of a tag that had the content `list` when it was read, before other work.
    pub(crate) fn from_earlier_read(list: Option<SeenList>) -> Self {
        Self {
            read: None,
            list,
            unusable: None,
        }
    }

    /// Returns the snapshot for a merge that takes long.
    pub(crate) fn for_long_merge(self) -> Self {
        Self { read: None, ..self }
    }

    /// Reports whether the tag was absent.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_none() && self.unusable.is_none()
    }

    /// Returns the list that the tag pointed to.
    pub(crate) fn list(&self) -> Option<&SeenList> {
        self.list.as_ref()
    }

    /// Returns the time at which the read began, unless the read is so old that another writer may have read the tag
    /// and written it since then.
    fn recent(&self) -> Option<Instant> {
        let read = self.read?;
        (read.ended.elapsed() <= SETTLE / 3).then_some(read.began)
    }
}

/// The result of one round of read, merge and write.
enum WriteRound {
    /// The tag has the right content, with this digest.
    Unchanged(Option<Digest>),
    /// The tag was written, and must be read again after this wait.
    Written(Digest, Duration),
}

/// The remaining work of a change: waiting until it is stable. `None` if nothing had to be written.
pub(crate) type PendingSettle<'a, E> = Option<LocalBoxFuture<'a, Result<(), E>>>;

/// An error of a merge, which may also be one of the list itself or of the registry.
pub(crate) trait MergeError: From<ListError> + From<RegistryError> {}

impl<E: From<ListError> + From<RegistryError>> MergeError for E {}

/// A tag with other writers, and the means to write it.
pub(crate) struct SharedTagWriter<'a> {
    shared: SharedTag<'a>,
    pub(super) context: &'a Context,
    writers: Writers,
    /// Entries whose manifests are gone, if the registry refuses the list because of them.
    dead: RefCell<BTreeSet<Digest>>,
}

impl<'a> Deref for SharedTagWriter<'a> {
    type Target = SharedTag<'a>;

    fn deref(&self) -> &SharedTag<'a> {
        &self.shared
    }
}

impl<'a> SharedTagWriter<'a> {
    pub(crate) fn new(context: &'a Context, shared: SharedTag<'a>) -> Self {
        Self {
            shared,
            context,
            writers: Writers::Several,
            dead: RefCell::default(),
        }
    }

    /// Sets the clients that may write the tag too.
    pub(crate) fn writers(self, writers: Writers) -> Self {
        Self { writers, ..self }
    }

    /// Merges the tag's content with `merge` and writes the result, unless there is nothing to add. Starts from `snapshot`,
    /// which may have been done during other work. Returns the digest of the tag's content, and the remaining work:
    /// others may be writing content that they read before. The remaining work is mostly waiting, and other work can run
    /// beside it.
    pub(crate) async fn update_from<E, M>(
        self,
        snapshot: TagSnapshot,
        merge: M,
    ) -> Result<(Option<Digest>, PendingSettle<'a, E>), E>
    where
        E: MergeError + 'a,
        M: AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E> + 'a,
    {
        match self.round_at(snapshot, &merge).await? {
            WriteRound::Unchanged(current) => Ok((current, None)),
            WriteRound::Written(digest, wait) => {
                let last = Some(digest.clone());
                let rest = async move { self.wait_until_stable(&merge, last, wait).await };
                Ok((Some(digest), Some(Box::pin(rest))))
            }
        }
    }

    /// Merges, writes, and waits until the change is stable. Returns `true` if the tag was written.
    pub(crate) async fn update_and_wait<E: MergeError>(
        &self,
        snapshot: TagSnapshot,
        merge: impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E>,
    ) -> Result<bool, E> {
        match self.round_at(snapshot, &merge).await? {
            WriteRound::Unchanged(_) => Ok(false),
            WriteRound::Written(digest, wait) => self
                .wait_until_stable(&merge, Some(digest), wait)
                .await
                .map(|()| true),
        }
    }

    /// Reads the tag after `wait`, until it has not changed since the last look at it. Writes it again if `merge` has
    /// something to add.
    async fn wait_until_stable<E: MergeError>(
        &self,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E>,
        mut last: Option<Digest>,
        mut wait: Duration,
    ) -> Result<(), E> {
        // The waits of writers that all have to write again are spread.
        let mut spread = 0.0;
        let mut is_ours_missing = true;
        for _ in 1..ROUNDS_MAX {
            tokio::time::sleep(wait.mul_f64(1.0 + spread * fastrand::f64())).await;
            match self.round(merge).await? {
                WriteRound::Unchanged(current) if current == last => return Ok(()),
                // Others are writing: one that is about to write may have read the tag before this run wrote it.
                WriteRound::Unchanged(current) => (last, is_ours_missing) = (current, false),
                WriteRound::Written(digest, next) => {
                    (last, is_ours_missing) = (Some(digest), true);
                    wait = wait.max(next);
                }
            }
            spread = 1.0;
        }
        if is_ours_missing {
            return Err(self.contended().into());
        }
        Ok(())
    }

    fn contended(&self) -> ListError {
        ListError::Contended {
            subject: self.subject.clone(),
            tag: self.full_tag(),
        }
    }

    async fn round<E: MergeError>(
        &self,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E>,
    ) -> Result<WriteRound, E> {
        let snapshot = self.read_snapshot().await?;
        self.round_at(snapshot, merge).await
    }

    /// Merges and writes. Starts again whenever another writer was faster.
    async fn round_at<E: MergeError>(
        &self,
        mut snapshot: TagSnapshot,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E>,
    ) -> Result<WriteRound, E> {
        for _ in 0..ROUNDS_MAX {
            if let Some(round) = self.try_round(snapshot, merge).await? {
                return Ok(round);
            }
            snapshot = self.read_snapshot().await?;
        }
        Err(self.contended().into())
    }

    /// Merges and writes. Returns `None` if the tag has changed in the meantime.
    async fn try_round<E: MergeError>(
        &self,
        snapshot: TagSnapshot,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, E>,
    ) -> Result<Option<WriteRound>, E> {
        // Content that is no list still belongs to someone: it is never merged, and never overwritten.
        if let Some(unusable) = &snapshot.unusable {
            return Err(self.unusable(unusable).into());
        }
        let (current, _permit) = self.read_current::<E>(snapshot.list.clone()).await?;
        let digest = current.as_ref().map(|current| current.digest().clone());
        if digest.as_ref() == Some(&self.subject) {
            return Err(self.occupied("points to that image itself").into());
        }
        // A list does not vanish suddenly. A writer that believes such an answer and starts a new list loses the
        // entries of others.
        let last_seen = if current.is_none() {
            self.last_seen::<E>().await?
        } else {
            None
        };
        let merged = merge(current.as_ref().or(last_seen.as_ref())).await?;
        let Some(mut change) = merged.or_else(|| last_seen.as_ref().map(Change::of)) else {
            return Ok(Some(WriteRound::Unchanged(digest)));
        };
        let living = without_entries(&change.bytes, &self.dead.borrow());
        if let Some(bytes) = living.map_err(ListError::Unwritable)? {
            change.bytes = bytes;
        }
        // SPEC: registries should accept manifests of 4 megabytes. The answer of some to a longer one looks like an
        // outage.
        if change.bytes.len() > LIST_MAX_BYTES {
            return Err(E::from(ListError::Full {
                tag: self.full_tag(),
                subject: self.subject.clone(),
                bytes: change.bytes.len(),
                limit: LIST_MAX_BYTES,
            }));
        }
        let wait = match self.write(&change, digest.as_ref(), &snapshot).await {
            Err(error)
                if error.lacks_parts() && self.find_dead_entries(current.as_ref()).await? =>
            {
                return Ok(None);
            }
            written => written?,
        };
        let Some(wait) = wait else {
            return Ok(None);
        };
        // Content that does not parse is handled at the next read.
        let written = Manifest::parse(change.bytes.clone(), change.media_type.clone());
        self.seen.replace(written.ok().map(SeenList::of));
        Ok(Some(WriteRound::Written(Digest::of(&change.bytes), wait)))
    }

    /// Finds entries because of which the registry refuses the list. Returns `true` if there are any that were not known.
    async fn find_dead_entries(&self, current: Option<&Manifest>) -> Result<bool, RegistryError> {
        let list = current.filter(|_| self.tag == self.subject.referrers_tag());
        let Some(list) = list else {
            return Ok(false);
        };
        let found = dead_entries(self.context, self.repository, list).await?;
        let new: BTreeSet<Digest> = found.difference(&self.dead.borrow()).cloned().collect();
        warn_of_removal(self.context, self, &new);
        let is_any = !new.is_empty();
        self.dead.borrow_mut().extend(new);
        Ok(is_any)
    }

    /// Reads the tag before it is changed, such as by [`Self::update_from`].
    pub(crate) async fn read_snapshot(&self) -> Result<TagSnapshot, RegistryError> {
        let began = Instant::now();
        let content = self.read_raw().await?;
        let ended = Instant::now();
        let (list, unusable) = match content {
            Some(TagContent::Manifest(manifest)) => (Some(SeenList::of(manifest)), None),
            Some(TagContent::Unusable(unusable)) => (None, Some(unusable)),
            None => (None, None),
        };
        if list
            .as_ref()
            .is_some_and(|current| *current.digest() != self.subject)
        {
            self.seen.replace(list.clone());
        }
        let read = Some(ReadTime { began, ended });
        Ok(TagSnapshot {
            read,
            list,
            unusable,
        })
    }

    /// Reads the tag before it is changed. If the subject may be older than this run, an absent tag is read again until
    /// `propagation` has passed since it was first absent: others may have listed entries for the subject, and the
    /// registry may not show them yet.
    pub(crate) async fn read_snapshot_of(
        &self,
        age: SubjectAge,
    ) -> Result<TagSnapshot, RegistryError> {
        let began = Instant::now();
        let mut snapshot = self.read_snapshot().await?;
        let SubjectAge::Unknown(absent_since) = age else {
            return Ok(snapshot);
        };
        let propagation = self.context.retry_policy.propagation;
        let mut is_reported = false;
        // The first read of this run is never the only one.
        let mut is_known_absent = absent_since.is_some();
        let absent_since = absent_since.unwrap_or(began);
        while snapshot.is_empty() {
            let left = propagation.saturating_sub(absent_since.elapsed());
            if left.is_zero() && is_known_absent {
                break;
            }
            is_known_absent = true;
            if !left.is_zero() && !std::mem::replace(&mut is_reported, true) {
                self.report_wait(left);
            }
            tokio::time::sleep(left.min(propagation / PROPAGATION_READS)).await;
            snapshot = self.read_snapshot().await?;
        }
        Ok(snapshot)
    }

    fn report_wait(&self, left: Duration) {
        self.context.events.info(format!(
            "`{}`: absent; it is read again for {left:.1?}, because another client may have written it a moment ago",
            self.full_tag()
        ));
    }

    /// Returns the whole content that the tag had. A long list is read again, since only one may be in memory at a
    /// time.
    async fn read_current<E: MergeError>(
        &self,
        seen: Option<SeenList>,
    ) -> Result<(Option<Manifest>, Option<SemaphorePermit<'a>>), E> {
        match seen {
            None => Ok((None, None)),
            Some(list) if list.whole().is_some() => Ok((list.whole().cloned(), None)),
            Some(_) => {
                let permit = self.context.long_lists.permit().await;
                match self.read_raw().await? {
                    Some(TagContent::Manifest(manifest)) => Ok((Some(manifest), permit)),
                    Some(TagContent::Unusable(unusable)) => Err(self.unusable(&unusable).into()),
                    None => Ok((None, permit)),
                }
            }
        }
    }

    /// Returns the last content of a tag that is now reported as absent.
    async fn last_seen<E: MergeError>(&self) -> Result<Option<Manifest>, E> {
        let seen = self.seen.borrow().clone();
        let Some(list) = seen else {
            return Ok(None);
        };
        let found = list.read(self.context, self.repository).await?;
        let vanished = || ListError::Vanished {
            tag: self.full_tag(),
            subject: self.subject.clone(),
        };
        Ok(Some(found.ok_or_else(vanished)?))
    }

    /// Uploads the parts of `change`, and writes it if the tag still has the content `current`. Returns the wait for other
    /// writers: a multiple of the time between the last look at the tag and the end of the write. `None` means that the
    /// tag has changed.
    async fn write(
        &self,
        change: &Change,
        current: Option<&Digest>,
        snapshot: &TagSnapshot,
    ) -> Result<Option<Duration>, RegistryError> {
        let registry = &self.context.registry;
        let upload = async || {
            let parts = change.parts.iter();
            try_join_all(parts.map(|part| registry.put_blob(self.repository, part)))
                .await
                .map(drop)
        };
        upload().await?;
        let (read, began) = match snapshot.recent() {
            Some(began) => (TagRead::JustNow, began),
            None => (TagRead::Earlier, Instant::now()),
        };
        let rule = WriteRule {
            held: current,
            read,
            probe: Probe::Conditions,
        };
        let (tag, media_type, bytes) = (self.full_tag(), &change.media_type, &change.bytes);
        let sent = Instant::now();
        let write = self
            .context
            .replace_tag(&tag, rule, media_type, bytes, upload);
        Ok(match write.await? {
            Replaced::HeldOther => None,
            // Other tools send no conditions: one that read the tag before this write may still overwrite it.
            Replaced::Written(Guard::Condition) => Some(SETTLE),
            // As long as a write takes that was sent at the same time.
            Replaced::Written(Guard::Nothing)
                if current.is_none() && self.writers == Writers::Alone =>
            {
                Some(sent.elapsed())
            }
            Replaced::Written(Guard::Nothing) => Some(SETTLE.max(began.elapsed() * 3)),
        })
    }
}
