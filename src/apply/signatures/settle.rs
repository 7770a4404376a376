//! Tags that many write and nobody can lock: read, merged, written, and read again once everybody else has had time to
//! write what they read before.
//!
//! There is no compare-and-swap in the registry protocol: this is what can be had without one. Between writers who all do
//! so nothing is lost; what a writer who does not wait takes away is written again while this one still looks.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, try_join_all};
use tokio::sync::SemaphorePermit;

use super::seen_list::SeenList;
use crate::apply::receipt::Subject;
use crate::apply::{ApplyError, Context};
use crate::domain::{
    Digest, FullTag, Manifest, MediaType, Reference, Repository, Tag, TagContent, Unusable,
};
use crate::registry::{Entry, RegistryError, Tagged};

/// The longest manifest that every registry takes.
const LIST_MAX_BYTES: usize = 4 << 20;
/// The shortest wait before such a tag is read again. Measured with 8 writers at once: without it 63 of 160 entries were
/// lost, with it none.
const SETTLE: Duration = Duration::from_millis(300);
/// Manifests of signatures that are longer are held one at a time.
const LONG_MIN_BYTES: usize = 256 * 1024;
/// How often something that others wrote over is written again.
const ROUNDS_MAX: u32 = 60;

/// What is to be written under a tag.
pub(in crate::apply) struct Change {
    /// The manifest's type.
    pub media_type: MediaType,
    /// The manifest.
    pub bytes: Vec<u8>,
    /// Blobs that it points to and that the registry may lack.
    pub parts: Vec<Vec<u8>>,
}

impl Change {
    /// Writing just this.
    fn of(manifest: &Manifest) -> Self {
        Self {
            media_type: manifest.media_type().clone(),
            bytes: manifest.bytes().to_vec(),
            parts: Vec::new(),
        }
    }
}

/// A tag that belongs to `subject` and that others write too.
pub(in crate::apply) struct Shared<'a> {
    pub(in crate::apply) context: &'a Context,
    pub(in crate::apply) repository: &'a Repository,
    pub(in crate::apply) subject: &'a Digest,
    pub(in crate::apply) tag: Tag,
    /// What it was last seen to hold.
    seen: RefCell<Option<SeenList>>,
}

/// What such a tag was seen to hold, and when.
pub(in crate::apply) struct Look {
    began: Instant,
    ended: Instant,
    holds: Option<SeenList>,
    /// What it holds instead of a manifest.
    unusable: Option<Unusable>,
}

impl Look {
    /// What it was seen to hold.
    pub(in crate::apply) fn holds(&self) -> Option<&SeenList> {
        self.holds.as_ref()
    }

    /// What it was seen to hold, where that is no manifest.
    pub(in crate::apply) fn unusable(&self) -> Option<&Unusable> {
        self.unusable.as_ref()
    }

    /// Whether others may have been given too little time since then.
    fn is_old(&self) -> bool {
        self.ended.elapsed() > SETTLE / 3
    }
}

/// What one look at a tag came to.
enum Round {
    /// It holds what it is to hold: this.
    Same(Option<Digest>),
    /// It was written, and is to be looked at again after a while.
    Written(Digest, Duration),
}

/// The rest of a change that was made: seeing to it that it stays. `None` where it was there already.
pub(in crate::apply) type Settling<'a> = Option<LocalBoxFuture<'a, Result<(), ApplyError>>>;

impl<'a> Shared<'a> {
    /// `tag`, of which nothing was seen yet.
    pub(in crate::apply) fn new(
        context: &'a Context,
        repository: &'a Repository,
        subject: &'a Digest,
        tag: Tag,
    ) -> Self {
        Self {
            context,
            repository,
            subject,
            tag,
            seen: RefCell::default(),
        }
    }

    /// The same, which held this when it was looked at before.
    pub(in crate::apply) fn seen(self, list: Option<SeenList>) -> Self {
        self.seen.replace(list);
        self
    }

    /// Writes what `merge` makes of the tag's content, unless that has nothing to add to it. Returns the digest of what the
    /// tag holds then, and what is left to do: others may be writing what they read before. That is mostly waiting, which
    /// other work need not stand still for.
    pub(in crate::apply) async fn begin<M>(
        self,
        merge: M,
    ) -> Result<(Option<Digest>, Settling<'a>), ApplyError>
    where
        M: AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError> + 'a,
    {
        let look = self.look().await?;
        self.begin_at(look, merge).await
    }

    /// The same from a look that was taken while other work was done.
    pub(in crate::apply) async fn begin_at<M>(
        self,
        look: Look,
        merge: M,
    ) -> Result<(Option<Digest>, Settling<'a>), ApplyError>
    where
        M: AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError> + 'a,
    {
        match self.round_at(look, &merge).await? {
            Round::Same(held) => Ok((held, None)),
            Round::Written(digest, wait) => {
                let rest = async move { self.stay(&merge, wait).await };
                Ok((Some(digest), Some(Box::pin(rest))))
            }
        }
    }

    /// The same with nothing left to do. Returns whether it was written.
    pub(in crate::apply) async fn settle_at(
        &self,
        look: Look,
        merge: impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError>,
    ) -> Result<bool, ApplyError> {
        match self.round_at(look, &merge).await? {
            Round::Same(_) => Ok(false),
            Round::Written(_, wait) => self.stay(&merge, wait).await.map(|()| true),
        }
    }

    /// Looks after `wait` whether `merge` has anything to add again, until it has not.
    async fn stay(
        &self,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError>,
        mut wait: Duration,
    ) -> Result<(), ApplyError> {
        // Who has to write again parts ways with others who have to.
        let mut spread = 0.0;
        for _ in 1..ROUNDS_MAX {
            tokio::time::sleep(wait.mul_f64(1.0 + spread * fastrand::f64())).await;
            match self.round(merge).await? {
                Round::Same(_) => return Ok(()),
                Round::Written(_, next) => wait = next,
            }
            spread = 1.0;
        }
        Err(ApplyError::FallbackContended {
            subject: self.subject.clone(),
            tag: self.full_tag(),
        })
    }

    async fn round(
        &self,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError>,
    ) -> Result<Round, ApplyError> {
        let look = self.look().await?;
        self.round_at(look, merge).await
    }

    async fn round_at(
        &self,
        mut look: Look,
        merge: &impl AsyncFn(Option<&Manifest>) -> Result<Option<Change>, ApplyError>,
    ) -> Result<Round, ApplyError> {
        if look.is_old() {
            look = self.look().await?;
        }
        let Look {
            began,
            holds,
            unusable,
            ..
        } = look;
        // What reads as no list is still somebody's tag: it is never merged, and never written over.
        if let Some(unusable) = unusable {
            return Err(self.unusable(&unusable));
        }
        let (current, _turn) = self.held(holds).await?;
        if current
            .as_ref()
            .is_some_and(|held| held.digest() == self.subject)
        {
            return Err(self.occupied("holds that itself"));
        }
        // A list does not vanish from one moment to the next: whoever is told so and begins a new one loses what others
        // wrote into it.
        let vanished = if current.is_none() {
            self.vanished().await?
        } else {
            None
        };
        let merged = merge(current.as_ref().or(vanished.as_ref())).await?;
        let Some(change) = merged.or_else(|| vanished.as_ref().map(Change::of)) else {
            return Ok(Round::Same(current.map(|held| held.digest().clone())));
        };
        // SPEC: registries should take manifests of 4 megabytes. What some answer to a longer one looks like an outage.
        if change.bytes.len() > LIST_MAX_BYTES {
            return Err(ApplyError::FallbackFull {
                tag: self.full_tag(),
                subject: self.subject.clone(),
                bytes: change.bytes.len(),
                limit: LIST_MAX_BYTES,
            });
        }
        self.write(&change).await?;
        // What cannot be read is seen to at the next look.
        let written = Manifest::parse(change.bytes.clone(), change.media_type.clone());
        self.seen.replace(written.ok().map(SeenList::of));
        let wait = SETTLE.max(began.elapsed() * 3);
        Ok(Round::Written(Digest::of(&change.bytes), wait))
    }

    /// Looks at the tag before it is changed, such as by [`Self::begin_at`].
    pub(in crate::apply) async fn look(&self) -> Result<Look, RegistryError> {
        let began = Instant::now();
        let content = self.read_raw().await?;
        let ended = Instant::now();
        let (holds, unusable) = match content {
            Some(TagContent::Manifest(manifest)) => (Some(SeenList::of(manifest)), None),
            Some(TagContent::Unusable(unusable)) => (None, Some(unusable)),
            None => (None, None),
        };
        if holds
            .as_ref()
            .is_some_and(|held| held.digest() != self.subject)
        {
            self.seen.replace(holds.clone());
        }
        Ok(Look {
            began,
            ended,
            holds,
            unusable,
        })
    }

    /// All of what was seen under the tag. A long list is read again, as only one may be held at a time.
    async fn held(
        &self,
        seen: Option<SeenList>,
    ) -> Result<(Option<Manifest>, Option<SemaphorePermit<'a>>), ApplyError> {
        match seen {
            None => Ok((None, None)),
            Some(list) if list.whole().is_some() => Ok((list.whole().cloned(), None)),
            Some(_) => {
                let turn = self.context.long_lists.turn().await;
                match self.read_raw().await? {
                    Some(TagContent::Manifest(manifest)) => Ok((Some(manifest), turn)),
                    Some(TagContent::Unusable(unusable)) => Err(self.unusable(&unusable)),
                    None => Ok((None, turn)),
                }
            }
        }
    }

    /// What the tag held when it was last seen, now that it is said to be gone.
    async fn vanished(&self) -> Result<Option<Manifest>, ApplyError> {
        let seen = self.seen.borrow().clone();
        let Some(list) = seen else {
            return Ok(None);
        };
        let found = list.read(self.context, self.repository).await?;
        found.map(Some).ok_or_else(|| ApplyError::FallbackVanished {
            tag: self.full_tag(),
            subject: self.subject.clone(),
        })
    }

    /// The entries of the list under the tag. The subject itself is none: some registries resolve such a tag so.
    pub(in crate::apply) async fn list<T: Entry>(&self) -> Result<Option<Tagged<T>>, ApplyError> {
        let registry = &self.context.registry;
        let found = registry.tagged_list(self.repository, &self.tag).await?;
        Ok(found.filter(|list| list.digest() != self.subject))
    }

    /// What the tag holds, with the right to hold it where it is long.
    pub(in crate::apply) async fn read_in_turn(
        &self,
    ) -> Result<(Option<TagContent>, Option<SemaphorePermit<'a>>), ApplyError> {
        let found = self.read().await?;
        let manifest = found.as_ref().and_then(TagContent::manifest);
        if manifest.is_none_or(|manifest| manifest.bytes().len() <= LONG_MIN_BYTES) {
            return Ok((found, None));
        }
        drop(found);
        let turn = self.context.long_lists.turn().await;
        Ok((self.read().await?, turn))
    }

    /// What the tag holds. The subject itself is nothing: some registries resolve such a tag so.
    pub(in crate::apply) async fn read(&self) -> Result<Option<TagContent>, ApplyError> {
        let found = self.read_raw().await?;
        Ok(found.filter(|content| content.digest() != self.subject))
    }

    /// The error that the tag holds what is no list.
    pub(in crate::apply) fn unusable(&self, unusable: &Unusable) -> ApplyError {
        let (digest, why) = (unusable.digest(), unusable.text());
        self.occupied(format!(
            "holds something else than signatures (`{digest}`: {why})"
        ))
    }

    /// The error that the tag holds something else than it is for.
    pub(in crate::apply) fn occupied(&self, why: impl Into<Cow<'static, str>>) -> ApplyError {
        ApplyError::FallbackOccupied {
            tag: self.full_tag(),
            subject: self.subject.clone(),
            why: why.into(),
        }
    }

    /// What the tag belongs to, and where.
    pub(in crate::apply) fn subject(&self) -> Subject {
        Subject {
            repository: self.repository.clone(),
            digest: self.subject.clone(),
        }
    }

    pub(in crate::apply) fn full_tag(&self) -> FullTag {
        FullTag {
            repository: self.repository.clone(),
            tag: self.tag.clone(),
        }
    }

    async fn read_raw(&self) -> Result<Option<TagContent>, RegistryError> {
        self.context.registry.tag_content(&self.full_tag()).await
    }

    async fn write(&self, change: &Change) -> Result<(), RegistryError> {
        let registry = &self.context.registry;
        let bring = async || {
            let parts = change.parts.iter();
            try_join_all(parts.map(|part| registry.put_blob(self.repository, part)))
                .await
                .map(drop)
        };
        bring().await?;
        let reference = Reference::Tag(self.tag.clone());
        self.context
            .store(
                self.repository,
                &reference,
                &change.media_type,
                &change.bytes,
                bring,
            )
            .await
            .map(drop)
    }
}
