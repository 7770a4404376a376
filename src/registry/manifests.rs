//! Manifests and indexes: read, looked up, stored.

use std::sync::Arc;

use reqwest::Method;

use super::Stored;
use super::answers::{Presence, presence};
use super::auth::Access;
use super::client::{Question, Registry, Target};
use super::error::{Fault, Operation, RegistryError};
use super::wire::{Answer, ERROR_MAX_BYTES};
use crate::domain::{
    Digest, FullTag, ImageReference, Manifest, ManifestKind, MediaType, Reference, Repository,
    TagContent, Unusable,
};
use crate::http::HttpError;

/// What registries take at most (distribution, Harbor, ACR).
const MANIFEST_MAX_BYTES: u64 = 4 * 1024 * 1024;
const DIGEST_HEADER: &str = "docker-content-digest";
const SUBJECT_HEADER: &str = "oci-subject";

impl Registry {
    /// Reads a manifest. `None` says that it is not there, as the table in `answers.rs` has it; everything that leaves
    /// that open is an error. The bytes have the digest that was asked for and the one that the registry states.
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

    /// Reads what a tag holds, be it a manifest or not. `None` says that there is no such tag; everything that leaves open what
    /// it holds is an error.
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

    /// Looks up the digest under `reference`, with no more than a HEAD where the registry states it. A HEAD that is
    /// refused has no body to say why: it is asked again by GET, except that 404 for a digest is an answer.
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

    /// Stores `bytes` under `reference` as they are. A digest in the answer, or as the reference, must be theirs.
    ///
    /// A tag that is refused though it holds these very bytes is stored: that is what a registry with immutable tags
    /// answers to a second try whose first answer was lost.
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

    async fn read_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, Fault> {
        Ok(match self.read(repository, reference).await? {
            Some(answer) => Some(parsed(answer)?),
            None => None,
        })
    }

    /// Reads what a tag holds.
    ///
    /// SECURITY: whoever may push can put anything under a tag. Where that counted as unknown it would stop every run for good.
    /// It counts as read only with the digest that the registry states: what a proxy or a login page answers has none. A manifest
    /// whose `Content-Type` alone is wrong stays unknown: somebody on the way may have changed that.
    async fn read_content(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<TagContent>, Fault> {
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
            (Err(Fault::Manifest(error)), Some(stated)) => {
                TagContent::Unusable(Unusable::new(stated, &*error))
            }
            (manifest, _) => TagContent::Manifest(manifest?),
        };
        Ok(Some(content))
    }

    /// What is longer than any manifest, and was not read to its end. What the registry states of it is all that there is.
    pub(super) async fn long_content(
        &self,
        repository: &Repository,
        reference: &Reference,
        fault: Fault,
    ) -> Result<Unusable, Fault> {
        let accept = accept();
        let head = Question {
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
            // Somebody moves it right now, or the registry does not say what it is.
            None => Err(fault),
        }
    }

    /// The answer that has the manifest, its digest checked before anything of it is used.
    pub(super) async fn read(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Answer>, Fault> {
        let accept = accept();
        let answer = self.ask(&question(repository, reference, &accept)).await?;
        match presence(&answer) {
            Presence::Absent => Ok(None),
            Presence::Unknown => Err(answer.fault()),
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
    ) -> Result<Option<Digest>, Fault> {
        let accept = accept();
        let head = Question {
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
        let content = self.read_content(repository, reference).await?;
        Ok(content.map(|content| content.digest().clone()))
    }

    async fn store(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Stored, Fault> {
        let digest = Digest::of(bytes);
        check_asked(&digest, reference, "what it is to be stored under")?;
        let put = Question {
            method: Method::PUT,
            repository,
            target: Target::Path(format!("manifests/{reference}")),
            access: Access::PullPush,
            accept: None,
            content: Some((media_type.as_str(), bytes)),
            limit: ERROR_MAX_BYTES,
        };
        let answer = self.ask(&put).await?;
        match (answer.status.as_u16(), reference) {
            (200..=202, _) => {
                check_stated(&digest, &answer)?;
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
                    Ok(_) | Err(_) => Err(answer.fault()),
                }
            }
            _ => Err(answer.fault()),
        }
    }
}

/// Without the full list GHCR answers 404 for an index that is there, and Quay converts it.
fn accept() -> String {
    MediaType::MANIFESTS.map(String::from).join(", ")
}

fn question<'a>(
    repository: &'a Repository,
    reference: &Reference,
    accept: &'a str,
) -> Question<'a> {
    Question {
        accept: Some(accept),
        ..Question::get(
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

/// The manifest in an answer.
pub(super) fn parsed(answer: Answer) -> Result<Manifest, Fault> {
    let media_type = MediaType::from(answer.header("content-type").unwrap_or_default());
    Manifest::parse(answer.body, media_type).map_err(|error| Fault::Manifest(Arc::new(error)))
}

/// Whether what came is a manifest that lists anything, by its bytes, under a `Content-Type` that is none of a manifest.
fn is_misnamed(answer: &Answer) -> bool {
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

pub(super) fn is_too_long(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Body {
            source: HttpError::TooLong { .. },
            ..
        }
    )
}

fn check_asked(
    computed: &Digest,
    reference: &Reference,
    claimant: &'static str,
) -> Result<(), Fault> {
    match reference {
        Reference::Digest(asked) if asked != computed => Err(Fault::Digest {
            computed: computed.clone(),
            claimed: asked.to_string(),
            claimant,
        }),
        Reference::Digest(_) | Reference::Tag(_) => Ok(()),
    }
}

/// Compares with `Docker-Content-Digest`, which not every registry sends. A digest of another algorithm, or no digest
/// at all, is as good as a wrong one: it does not say what we know.
pub(super) fn check_stated(computed: &Digest, answer: &Answer) -> Result<(), Fault> {
    match answer.header(DIGEST_HEADER) {
        Some(stated) if *stated != computed.to_string() => Err(Fault::Digest {
            computed: computed.clone(),
            claimed: super::refusal::printable(stated, 200),
            claimant: "the registry's `Docker-Content-Digest`",
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn stated_digest(answer: &Answer) -> Option<Digest> {
    answer.header(DIGEST_HEADER)?.parse().ok()
}
