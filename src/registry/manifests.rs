//! Reads, resolves and stores manifests and indexes.

use std::cell::Cell;
use std::sync::Arc;

use reqwest::Method;

use super::auth::Access;
use super::classify::{Presence, presence};
use super::client::{Registry, RegistryRequest, Target};
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::response::ERROR_MAX_BYTES;
use super::{Replaced, Stored, TagRead};
use crate::domain::{
    Digest, FullTag, ImageReference, Manifest, ManifestKind, MediaType, Reference, Repository,
    TagContent, Unusable,
};
use crate::http::{BodyError, Response};

/// The largest manifest that registries accept (distribution, Harbor, ACR).
const MANIFEST_MAX_BYTES: u64 = 4 * 1024 * 1024;
const DIGEST_HEADER: &str = "docker-content-digest";
const SUBJECT_HEADER: &str = "oci-subject";

impl Registry {
    /// Reads a manifest. Returns `None` if it is absent by the table in `classify.rs`; an unclear response is an error.
    /// The bytes match the requested digest and the digest that the registry states.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RegistryError> {
        let read = self.read_manifest(repository, reference).await;
        read.map_err(|fault| {
            self.error(
                Operation::Read,
                repository,
                object(repository, reference),
                fault,
            )
        })
    }

    /// Reads the content of a tag, be it a manifest or not. Returns `None` if the tag does not exist; an unclear
    /// response is an error.
    pub async fn tag_content(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let read = self.read_content(repository, &reference).await;
        read.map_err(|fault| {
            self.error(
                Operation::Read,
                repository,
                object(repository, &reference),
                fault,
            )
        })
    }

    /// Resolves `reference` to a digest, with one HEAD if the registry states the digest. A refused HEAD has no body
    /// with a reason, so a GET follows. Only a 404 for a digest is final.
    pub async fn manifest_digest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryError> {
        let found = self.look_up(repository, reference).await;
        found.map_err(|fault| {
            self.error(
                Operation::Read,
                repository,
                object(repository, reference),
                fault,
            )
        })
    }

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
        stored.map_err(|fault| {
            self.error(
                Operation::Write,
                repository,
                object(repository, reference),
                fault,
            )
        })
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
        replaced.map_err(|fault| {
            self.error(
                Operation::Write,
                repository,
                object(repository, &reference),
                fault,
            )
        })
    }

    async fn read_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RegistryErrorKind> {
        Ok(match self.read(repository, reference).await? {
            Some(answer) => Some(parsed(answer)?),
            None => None,
        })
    }

    /// Reads the content of a tag.
    ///
    /// SECURITY: anyone with push access can put any content under a tag. If that counted as unknown, it would make
    /// every run fail. It counts as read only with a digest stated by the registry: responses of proxies and login
    /// pages have none. A manifest with only a wrong `Content-Type` stays unknown, because an intermediary may have
    /// changed it.
    async fn read_content(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<TagContent>, RegistryErrorKind> {
        let answer = match self.read(repository, reference).await {
            Err(fault) if is_too_long(&fault) => {
                let long = self.long_content(repository, reference, fault).await?;
                return Ok(Some(TagContent::Unusable(long)));
            }
            answer => answer?,
        };
        let Some(answer) = answer else {
            return Ok(None);
        };
        let stated = stated_digest(&answer).filter(|_| !is_misnamed(&answer));
        let content = match (parsed(answer), stated) {
            (Err(RegistryErrorKind::Manifest(error)), Some(stated)) => {
                TagContent::Unusable(Unusable::new(stated, &*error))
            }
            (manifest, _) => TagContent::Manifest(manifest?),
        };
        Ok(Some(content))
    }

    /// Describes content that is longer than any manifest and was not read to its end. Only the headers of the registry
    /// are available.
    pub(super) async fn long_content(
        &self,
        repository: &Repository,
        reference: &Reference,
        fault: RegistryErrorKind,
    ) -> Result<Unusable, RegistryErrorKind> {
        let accept = accept();
        let head = RegistryRequest {
            method: Method::HEAD,
            ..question(repository, reference, &accept)
        };
        let answer = self.ask(&head).await?;
        let length = answer.header("content-length");
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        let is_long =
            answer.status == 200 && length.is_some_and(|length| length > MANIFEST_MAX_BYTES);
        match stated_digest(&answer).filter(|_| is_long) {
            Some(digest) => Ok(Unusable::new(digest, &fault)),
            // Another client is moving the tag, or the registry does not state a digest.
            None => Err(fault),
        }
    }

    /// Reads the response with the manifest, and checks its digest before any use.
    pub(super) async fn read(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Response>, RegistryErrorKind> {
        let accept = accept();
        let answer = self.ask(&question(repository, reference, &accept)).await?;
        match presence(&answer) {
            Presence::Absent => Ok(None),
            Presence::Unknown => Err(RegistryErrorKind::refused(&answer)),
            Presence::Present => {
                let digest = Digest::of(&answer.body);
                check_asked(&digest, reference, "what was asked for")?;
                check_stated(&digest, &answer)?;
                Ok(Some(answer))
            }
        }
    }

    async fn look_up(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryErrorKind> {
        let accept = accept();
        let head = RegistryRequest {
            method: Method::HEAD,
            ..question(repository, reference, &accept)
        };
        let answer = self.ask(&head).await?;
        match (answer.status.as_u16(), reference) {
            (404, Reference::Digest(_)) => return Ok(None),
            (200, _) => {
                if let Some(digest) = stated_digest(&answer) {
                    check_asked(&digest, reference, "what the registry has")?;
                    return Ok(Some(digest));
                }
            }
            _ => (),
        }
        self.content_digest(repository, reference).await
    }

    async fn content_digest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryErrorKind> {
        let content = self.read_content(repository, reference).await?;
        Ok(content.map(|content| content.digest().clone()))
    }

    async fn store(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Stored, RegistryErrorKind> {
        let digest = Digest::of(bytes);
        check_asked(&digest, reference, "what it is to be stored under")?;
        let put = push(repository, reference, media_type, bytes);
        let answer = self.ask(&put).await?;
        self.stored(repository, reference, digest, &answer).await
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
                    Err(fault) => return Ok(Attempt::Ended(Err(fault))),
                    // An earlier attempt was successful, but its response was lost.
                    Ok(found) if found.as_ref() == Some(&digest) => {
                        return Ok(Attempt::Ended(Ok(Replaced::Written)));
                    }
                    Ok(found) if found.as_ref() != held => {
                        return Ok(Attempt::Ended(Ok(Replaced::Changed)));
                    }
                    Ok(_) => (),
                }
            }
            self.ask_once(&put).await.map(Attempt::Answered)
        };
        match self.with_retries(&put.text(), attempt).await? {
            Attempt::Ended(result) => result,
            Attempt::Answered(answer) => self
                .stored(repository, &reference, digest, &answer)
                .await
                .map(|_| Replaced::Written),
        }
    }

    /// Reads the response to a pushed manifest.
    async fn stored(
        &self,
        repository: &Repository,
        reference: &Reference,
        digest: Digest,
        answer: &Response,
    ) -> Result<Stored, RegistryErrorKind> {
        match (answer.status.as_u16(), reference) {
            (200..=202, _) => {
                check_stated(&digest, answer)?;
                let subject = answer.header(SUBJECT_HEADER);
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
                    Ok(_) | Err(_) => Err(RegistryErrorKind::refused(answer)),
                }
            }
            _ => Err(RegistryErrorKind::refused(answer)),
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

/// Returns the `Accept` header. Without the full list, GHCR answers 404 for an existing index, and Quay converts it.
fn accept() -> String {
    MediaType::MANIFESTS.map(String::from).join(", ")
}

fn question<'a>(
    repository: &'a Repository,
    reference: &Reference,
    accept: &'a str,
) -> RegistryRequest<'a> {
    RegistryRequest {
        accept: Some(accept),
        ..RegistryRequest::get(
            repository,
            format!("manifests/{reference}"),
            MANIFEST_MAX_BYTES,
        )
    }
}

pub(super) fn object(repository: &Repository, reference: &Reference) -> String {
    let image = ImageReference {
        repository: repository.clone(),
        reference: Some(reference.clone()),
    };
    image.to_string()
}

/// Parses the manifest in a response.
pub(super) fn parsed(answer: Response) -> Result<Manifest, RegistryErrorKind> {
    let media_type = MediaType::from(answer.header("content-type").unwrap_or_default());
    Manifest::parse(answer.body, media_type)
        .map_err(|error| RegistryErrorKind::Manifest(Arc::new(error)))
}

/// True if the bytes are a manifest that lists content, but the `Content-Type` is not that of a manifest.
fn is_misnamed(answer: &Response) -> bool {
    let served = MediaType::from(answer.header("content-type").unwrap_or_default());
    let is = |media_type| {
        let manifest = Manifest::parse(answer.body.clone(), media_type);
        manifest.is_ok_and(|manifest| match manifest.kind() {
            ManifestKind::Index { manifests, .. } => !manifests.is_empty(),
            ManifestKind::Image { .. } => true,
        })
    };
    !MediaType::MANIFESTS.contains(&served) && MediaType::MANIFESTS.into_iter().any(is)
}

pub(super) fn is_too_long(fault: &RegistryErrorKind) -> bool {
    matches!(
        fault,
        RegistryErrorKind::Body {
            source: BodyError::TooLong { .. },
            ..
        }
    )
}

fn check_asked(
    computed: &Digest,
    reference: &Reference,
    claimant: &'static str,
) -> Result<(), RegistryErrorKind> {
    match reference {
        Reference::Digest(asked) if asked != computed => Err(RegistryErrorKind::Digest {
            computed: computed.clone(),
            claimed: asked.to_string(),
            claimant,
        }),
        Reference::Digest(_) | Reference::Tag(_) => Ok(()),
    }
}

/// Compares a digest with `Docker-Content-Digest`, which not every registry sends. A digest of another algorithm, or an
/// invalid one, counts as a mismatch: it does not confirm the computed digest.
pub(super) fn check_stated(computed: &Digest, answer: &Response) -> Result<(), RegistryErrorKind> {
    match answer.header(DIGEST_HEADER) {
        Some(stated) if *stated != computed.to_string() => Err(RegistryErrorKind::Digest {
            computed: computed.clone(),
            claimed: super::error_response::printable(stated, 200),
            claimant: "the registry's `Docker-Content-Digest`",
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn stated_digest(answer: &Response) -> Option<Digest> {
    answer.header(DIGEST_HEADER)?.parse().ok()
}
