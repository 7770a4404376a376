//! Stores manifests and indexes, under a digest or a tag.

use std::cell::Cell;

use reqwest::Method;

use super::auth::Access;
use super::client::Registry;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::check_stated;
use super::manifests::{check_asked, object};
use super::response::ERROR_MAX_BYTES;
use super::sender::{RegistryRequest, Target};
use crate::domain::{Digest, FullTag, MediaType, Reference, Repository};
use crate::http::Response;

const SUBJECT_HEADER: &str = "oci-subject";

/// A registry's response to a pushed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest of the sent bytes, which the registry did not contradict.
    pub digest: Digest,
    /// The subject that the registry processed (`OCI-Subject`). `None` means that the registry has no referrers API, or
    /// does not report the subject.
    pub subject: Option<Digest>,
}

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
    Written,
    /// The tag has other content than before. Nothing was written.
    HeldOther,
}

impl Registry {
    /// Stores `bytes` under `reference` unchanged. A digest in the response or in the reference must match them.
    ///
    /// A refused tag that already has these bytes counts as stored. A registry with immutable tags refuses a retry
    /// after a lost response in this way.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Stored, RegistryError> {
        let stored = self.store(repository, reference, media_type, bytes).await;
        stored.map_err(|kind| self.write_error(repository, reference, kind))
    }

    /// Stores `bytes` under a tag that others write too, if the tag still has the content `held`. Every attempt reads the
    /// digest of the tag just before it writes. The first does not if the tag was read just now.
    ///
    /// The registry protocol has no compare-and-swap: what another client writes between that read and the write is
    /// overwritten.
    pub async fn replace_tag(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        read: TagRead,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Replaced, RegistryError> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let replaced = self.replace(tag, held, read, media_type, bytes).await;
        replaced.map_err(|kind| self.write_error(repository, &reference, kind))
    }

    fn write_error(
        &self,
        repository: &Repository,
        reference: &Reference,
        kind: RegistryErrorKind,
    ) -> RegistryError {
        let object = object(repository, reference);
        self.sender
            .error(Operation::Write, repository, object, kind)
    }

    async fn store(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Stored, RegistryErrorKind> {
        let digest = match reference {
            Reference::Digest(digest) => digest.algorithm().digest(bytes),
            Reference::Tag(_) => Digest::of(bytes),
        };
        check_asked(&digest, reference, "the digest in the reference")?;
        let put = push(repository, reference, media_type, bytes);
        let response = self.sender.send(&put).await?;
        self.stored(repository, reference, (digest, bytes), &response)
            .await
    }

    async fn replace(
        &self,
        tag: &FullTag,
        held: Option<&Digest>,
        read: TagRead,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Replaced, RegistryErrorKind> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let digest = Digest::of(bytes);
        let put = push(repository, &reference, media_type, bytes);
        let read = Cell::new(read);
        let attempt = || async {
            if read.replace(TagRead::Earlier) == TagRead::Earlier {
                // A HEAD does not prove absence. These reads have retries of their own, so their error ends the attempts.
                let found = match held {
                    Some(_) => self.look_up(repository, &reference).await,
                    None => self.content_digest(repository, &reference).await,
                };
                match found {
                    Err(kind) => return Ok(Attempt::Ended(Err(kind))),
                    // An earlier attempt was successful, but its response was lost.
                    Ok(found) if found.as_ref() == Some(&digest) => {
                        return Ok(Attempt::Ended(Ok(Replaced::Written)));
                    }
                    Ok(found) if found.as_ref() != held => {
                        return Ok(Attempt::Ended(Ok(Replaced::HeldOther)));
                    }
                    Ok(_) => (),
                }
            }
            self.sender.send_once(&put).await.map(Attempt::Answered)
        };
        match self.sender.with_retries(&put.text(), attempt).await? {
            Attempt::Ended(result) => result,
            Attempt::Answered(response) => self
                .stored(repository, &reference, (digest, bytes), &response)
                .await
                .map(|_| Replaced::Written),
        }
    }

    /// Reads the response to a pushed manifest.
    async fn stored(
        &self,
        repository: &Repository,
        reference: &Reference,
        (digest, bytes): (Digest, &[u8]),
        response: &Response,
    ) -> Result<Stored, RegistryErrorKind> {
        match (response.status.as_u16(), reference) {
            (200..=202, _) => {
                check_stated(bytes, &digest, response)?;
                let subject = response.header(SUBJECT_HEADER);
                Ok(Stored {
                    digest,
                    subject: subject.and_then(|subject| subject.parse().ok()),
                })
            }
            (400 | 403 | 409 | 412, Reference::Tag(_)) => {
                let held = self.look_up(repository, reference).await;
                match held {
                    Ok(Some(held)) if held == digest => Ok(Stored {
                        digest,
                        subject: None,
                    }),
                    Ok(_) | Err(_) => Err(RegistryErrorKind::refused(response)),
                }
            }
            _ => Err(RegistryErrorKind::refused(response)),
        }
    }
}

/// The result of one attempt to replace a tag.
enum Attempt {
    /// The registry answered the write.
    Answered(Response),
    /// Nothing was sent, and another attempt would change nothing.
    Ended(Result<Replaced, RegistryErrorKind>),
}

fn push<'a>(
    repository: &'a Repository,
    reference: &Reference,
    media_type: &'a MediaType,
    bytes: &'a [u8],
) -> RegistryRequest<'a> {
    RegistryRequest {
        method: Method::PUT,
        repository,
        target: Target::Path(format!("manifests/{reference}")),
        access: Access::PullPush,
        accept: None,
        content: Some((media_type.as_str(), bytes)),
        limit: ERROR_MAX_BYTES,
    }
}
