//! Stores manifests and indexes, under a digest or a tag.

use reqwest::Method;

use super::auth::Access;
use super::client::Registry;
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::check_stated;
use super::manifests::{check_asked, object};
use super::redirects::send_write;
use super::response::ERROR_MAX_BYTES;
use super::sender::{RegistryRequest, Target};
use crate::domain::{Digest, MediaType, Reference, Repository};
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
        stored.map_err(|kind| self.write_error(repository, reference, media_type, kind))
    }

    pub(super) fn write_error(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        kind: RegistryErrorKind,
    ) -> RegistryError {
        let object = object(repository, reference);
        let error = self
            .sender
            .error(Operation::Write, repository, object, kind);
        RegistryError {
            media_type: Some(media_type.clone()),
            ..error
        }
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
        let response = send_write(&self.sender, &put).await?;
        self.stored(repository, reference, (digest, bytes), &response)
            .await
    }

    /// Reads the response to a pushed manifest.
    pub(super) async fn stored(
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

pub(super) fn push<'a>(
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
        first_byte: 0,
        condition: None,
        limit: ERROR_MAX_BYTES,
    }
}
