//! Stores a manifest under a tag that others write too, if the tag still has the content that the caller read.

use std::cell::Cell;

use super::client::Registry;
use super::conditions::{Condition, ConditionKind, Support, is_unmet};
use super::error::{RegistryError, RegistryErrorKind};
use super::manifest_writes::push;
use super::placeholder::is_placeholder;
use super::redirects::write_once;
use super::sender::RegistryRequest;
use crate::domain::{Digest, FullTag, MediaType};
use crate::http::Response;

/// The time at which the caller of [`Registry::replace_tag`] read the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagRead {
    /// A moment ago, so it is read again only before a retry.
    JustNow,
    /// Before other work, so it is read again before the write.
    Earlier,
}

/// The result of [`Registry::replace_tag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The tag has the new content.
    Written(Guard),
    /// The tag has other content than before. Nothing was written.
    HeldOther,
}

/// The protection of a write against writers who read the tag before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The registry refuses a write whose condition does not hold, and this write had one. It overwrote nothing, and a
    /// writer who sends conditions does not overwrite it.
    Condition,
    /// Another writer may have written between the last read of the tag and this write.
    Nothing,
}

/// The decision whether a write finds out if the registry honours conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The write is sent under a condition that cannot hold, if nothing is known yet. A registry that ignores conditions
    /// performs it. A registry that refuses it honours them, and the write is sent again.
    Conditions,
    /// The write finds out nothing.
    Nothing,
}

/// The rule for a write of a tag.
#[derive(Debug, Clone, Copy)]
pub struct WriteRule<'a> {
    /// The content that the tag must still have; `None` if it must not exist.
    pub held: Option<&'a Digest>,
    /// The time at which it was read.
    pub read: TagRead,
    /// The decision whether the write finds out if the registry honours conditions.
    pub probe: Probe,
}

/// The content to write under a tag.
#[derive(Clone, Copy)]
struct Content<'a> {
    digest: &'a Digest,
    media_type: &'a MediaType,
    bytes: &'a [u8],
    probe: Probe,
}

/// The result of one attempt to replace a tag.
enum Attempt {
    /// The registry answered the write.
    Answered(Response, Guard),
    /// Another attempt would change nothing.
    Ended(Result<Replaced, RegistryErrorKind>),
}

impl Registry {
    /// Stores `bytes` under a tag that others write too, if the tag still has the content `held`. Every attempt reads the
    /// digest of the tag just before it writes. The first does not if the tag was read just now.
    ///
    /// If the registry sent an `ETag` for the tag, the write has a condition. At a registry without conditions, what
    /// another client writes between that read and the write is overwritten.
    pub async fn replace_tag(
        &self,
        tag: &FullTag,
        rule: WriteRule<'_>,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Replaced, RegistryError> {
        let WriteRule { held, read, probe } = rule;
        let content = Content {
            digest: &Digest::of(bytes),
            media_type,
            bytes,
            probe,
        };
        let replaced = self.replace(tag, held, read, content).await;
        replaced
            .map_err(|kind| self.write_error(&tag.repository, &tag.reference(), media_type, kind))
    }

    async fn replace(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        read: TagRead,
        content: Content<'_>,
    ) -> Result<Replaced, RegistryErrorKind> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let read = Cell::new(read);
        let attempt = || async {
            if read.replace(TagRead::Earlier) == TagRead::Earlier
                && let Some(end) = self.changed(tag, held, content.digest).await
            {
                return Ok(Attempt::Ended(end));
            }
            self.write_if_unchanged(tag, held, content).await
        };
        let what = push(repository, &reference, content.media_type, content.bytes).text();
        match self.sender.with_retries(&what, attempt).await? {
            Attempt::Ended(result) => result,
            Attempt::Answered(response, guard) => self
                .stored(
                    repository,
                    &reference,
                    (content.digest.clone(), content.bytes),
                    &response,
                )
                .await
                .map(|_| Replaced::Written(guard)),
        }
    }

    /// Reads the tag. Returns the end of the attempts if it has other content than `held`, or cannot be read: these reads
    /// have retries of their own.
    async fn changed(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        wanted: &Digest,
    ) -> Option<Result<Replaced, RegistryErrorKind>> {
        let (repository, reference) = (&tag.repository, tag.reference());
        // A HEAD does not prove absence.
        let found = match held {
            Some(_) => self.look_up(repository, &reference).await,
            None => self.content_digest(repository, &reference).await,
        };
        // A tag that points to the placeholder counts as absent.
        let is_content = |digest: &Digest| held.is_some() || !is_placeholder(digest);
        match found.map(|found| found.filter(is_content)) {
            Err(kind) => Some(Err(kind)),
            // An earlier attempt was successful, but its response was lost.
            Ok(found) if found.as_ref() == Some(wanted) => {
                Some(Ok(Replaced::Written(Guard::Nothing)))
            }
            Ok(found) if found.as_ref() != held => Some(Ok(Replaced::HeldOther)),
            Ok(_) => None,
        }
    }

    /// Writes the tag once, under a condition if there is one.
    async fn write_if_unchanged(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        content: Content<'_>,
    ) -> Result<Attempt, RegistryErrorKind> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let features = self.sender.features();
        let Some(condition) = features.condition(repository, &reference, held) else {
            let response = self.write(tag, content, None).await?;
            return Ok(Attempt::Answered(response, Guard::Nothing));
        };
        if let Some(response) = self.write_to_probe(tag, held, content).await? {
            return Ok(Attempt::Answered(response, Guard::Nothing));
        }
        let response = self.write(tag, content, Some(&condition)).await?;
        if !is_unmet(&response) {
            let guard = self.guard(tag, condition.kind());
            return Ok(Attempt::Answered(response, guard));
        }
        self.after_refusal(tag, held, content, condition.kind())
            .await
    }

    /// Writes the tag under a condition that cannot hold, if nothing is known about it yet. Returns the response, unless the
    /// registry refused the write because of the condition.
    async fn write_to_probe(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        content: Content<'_>,
    ) -> Result<Option<Response>, RegistryErrorKind> {
        let (host, features) = (tag.repository.host(), self.sender.features());
        let kind = match held {
            Some(_) => ConditionKind::NoneMatch,
            None => ConditionKind::Match,
        };
        let is_known = features.support(host, kind) != Support::Unknown;
        if is_known || content.probe == Probe::Nothing {
            return Ok(None);
        }
        features.remember_support(host, kind, Support::Tried);
        let unmet = Condition::unmet(kind);
        let response = self.write(tag, content, Some(&unmet)).await?;
        if is_unmet(&response) {
            features.remember_support(host, kind, Support::Honoured);
            return Ok(None);
        }
        if response.status.is_success() {
            features.remember_support(host, kind, Support::Useless);
        }
        Ok(Some(response))
    }

    /// Reads the tag after a write was refused because of its condition.
    async fn after_refusal(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        content: Content<'_>,
        kind: ConditionKind,
    ) -> Result<Attempt, RegistryErrorKind> {
        let (host, features) = (tag.repository.host(), self.sender.features());
        if let Some(end) = self.changed(tag, held, content.digest).await {
            if matches!(end, Ok(Replaced::HeldOther)) {
                features.remember_support(host, kind, Support::Honoured);
            }
            return Ok(Attempt::Ended(end));
        }
        // The content of another writer may not be visible yet.
        tokio::time::sleep(self.sender.transport().retry_policy.transport_base()).await;
        if let Some(end) = self.changed(tag, held, content.digest).await {
            return Ok(Attempt::Ended(end));
        }
        // The registry refuses a condition that holds, or refuses the write for another reason.
        features.remember_support(host, kind, Support::Useless);
        let response = self.write(tag, content, None).await?;
        Ok(Attempt::Answered(response, Guard::Nothing))
    }

    /// Sends the write once.
    async fn write(
        &self,
        tag: &FullTag,
        content: Content<'_>,
        condition: Option<&Condition>,
    ) -> Result<Response, RegistryErrorKind> {
        let put = RegistryRequest {
            condition: condition.cloned(),
            ..push(
                &tag.repository,
                &tag.reference(),
                content.media_type,
                content.bytes,
            )
        };
        write_once(&self.sender, &put).await
    }

    /// Returns the protection of a write with a condition of this kind.
    fn guard(&self, tag: &FullTag, kind: ConditionKind) -> Guard {
        match self.sender.features().support(tag.repository.host(), kind) {
            Support::Honoured => Guard::Condition,
            Support::Unknown | Support::Tried | Support::Useless => Guard::Nothing,
        }
    }
}
