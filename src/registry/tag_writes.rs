//! Stores a manifest under a tag that others write too, if the tag still has the content that the caller read.

use std::cell::Cell;

use super::client::Registry;
use super::conditions::{Condition, Support, is_unmet};
use super::error::{RegistryError, RegistryErrorKind};
use super::manifest_writes::push;
use super::redirects::{send_write, write_once};
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

/// The content to write under a tag.
#[derive(Clone, Copy)]
struct Content<'a> {
    digest: &'a Digest,
    media_type: &'a MediaType,
    bytes: &'a [u8],
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
        held: Option<&Digest>,
        read: TagRead,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Replaced, RegistryError> {
        let content = Content {
            digest: &Digest::of(bytes),
            media_type,
            bytes,
        };
        let replaced = self.replace(tag, held, read, content).await;
        replaced.map_err(|kind| self.write_error(&tag.repository, &tag.reference(), kind))
    }

    /// Finds out whether the condition of the last write of `tag` counts: sends the write again under a condition that
    /// cannot hold. `held` is the content before that write. Sends nothing if the result is known or somebody else is
    /// finding out.
    ///
    /// The caller waits for other writers afterwards: at a registry that ignores the condition, this is one more write of
    /// the tag.
    pub async fn try_condition(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Guard {
        let (repository, reference) = (&tag.repository, tag.reference());
        let features = self.sender.features();
        let Some(sent) = features.condition(repository, &reference, held) else {
            return Guard::Nothing;
        };
        let (host, kind) = (repository.host(), sent.kind());
        if features.claim_trial(host, kind) {
            let put = RegistryRequest {
                condition: Some(Condition::unmet(kind)),
                ..push(repository, &reference, media_type, bytes)
            };
            match write_once(&self.sender, &put).await {
                Ok(response) if is_unmet(&response) => {
                    features.remember_support(host, kind, Support::Honoured);
                }
                Ok(response) if response.status.is_success() => {
                    features.remember_support(host, kind, Support::Useless);
                }
                // An unclear response proves nothing.
                Ok(_) | Err(_) => (),
            }
        }
        self.guard(tag, Some(&sent))
    }

    /// Writes the content of a tag again, which changes nothing, to find out whether the registry still accepts it. A
    /// refusal is an error, though the tag has this content.
    pub async fn write_again(
        &self,
        tag: &FullTag,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let digest = Digest::of(bytes);
        let features = self.sender.features();
        let put = RegistryRequest {
            condition: features.condition(repository, &reference, Some(&digest)),
            ..push(repository, &reference, media_type, bytes)
        };
        let answered = send_write(&self.sender, &put).await;
        let accepted = answered.and_then(|response| {
            if response.status.is_success() {
                Ok(())
            } else {
                Err(RegistryErrorKind::refused(&response))
            }
        });
        accepted.map_err(|kind| self.write_error(repository, &reference, kind))
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
        match found {
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
        let condition = features.condition(repository, &reference, held);
        let mut put = push(repository, &reference, content.media_type, content.bytes);
        put.condition.clone_from(&condition);
        let response = write_once(&self.sender, &put).await?;
        let Some(sent) = condition.filter(|_| is_unmet(&response)) else {
            let guard = self.guard(tag, put.condition.as_ref());
            return Ok(Attempt::Answered(response, guard));
        };
        let (host, kind) = (repository.host(), sent.kind());
        let changed = self.changed(tag, held, content.digest).await;
        match changed {
            Some(end) => {
                if matches!(end, Ok(Replaced::HeldOther)) {
                    features.remember_support(host, kind, Support::Honoured);
                }
                Ok(Attempt::Ended(end))
            }
            // The content of another writer is not visible yet.
            None if features.support(host, kind) == Support::Honoured => {
                Ok(Attempt::Ended(Ok(Replaced::HeldOther)))
            }
            // The registry refuses a condition that holds.
            None => {
                features.remember_support(host, kind, Support::Useless);
                put.condition = None;
                let response = write_once(&self.sender, &put).await?;
                Ok(Attempt::Answered(response, Guard::Nothing))
            }
        }
    }

    /// Returns the protection of a write with this condition.
    fn guard(&self, tag: &FullTag, sent: Option<&Condition>) -> Guard {
        let host = tag.repository.host();
        let support = sent.map(|sent| self.sender.features().support(host, sent.kind()));
        match support {
            Some(Support::Honoured) => Guard::Condition,
            Some(Support::Unknown | Support::Tried | Support::Useless) | None => Guard::Nothing,
        }
    }
}
