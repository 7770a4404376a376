//! Reads and resolves manifests and indexes.

use std::sync::Arc;

use reqwest::Method;

use super::classify::{Presence, presence};
use super::error::{ContentError, Operation, RegistryError, RegistryErrorKind};
use super::integrity::{algorithm_of, check_stated, stated_digest};
use super::reader::RegistryReader;
use super::redirects::{Origin, Reach, ReadResponse, refused_address, send_read};
use super::sender::RegistryRequest;
use crate::domain::{
    Digest, FullTag, ImageReference, Manifest, ManifestKind, MediaType, Reference, Repository,
    TagContent, Unusable,
};
use crate::http::{BodyError, Response};

/// The largest manifest that registries accept (distribution, Harbor, ACR).
const MANIFEST_MAX_BYTES: u64 = 4 * 1024 * 1024;

impl RegistryReader {
    /// Reads a manifest. Returns `None` if it is absent by the table in `classify.rs`; an unclear response is an error.
    /// The bytes match the requested digest and the digest that the registry states.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RegistryError> {
        let read = self.read_manifest(repository, reference).await;
        read.map_err(|kind| {
            self.sender.error(
                Operation::Read,
                repository,
                object(repository, reference),
                kind,
            )
        })
    }

    /// Reads the content of a tag, be it a manifest or not. Returns `None` if the tag does not exist; an unclear
    /// response is an error.
    pub async fn tag_content(&self, tag: &FullTag) -> Result<Option<TagContent>, RegistryError> {
        let (repository, reference) = (&tag.repository, tag.reference());
        let read = self.read_content(repository, &reference).await;
        read.map_err(|kind| {
            self.sender.error(
                Operation::Read,
                repository,
                object(repository, &reference),
                kind,
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
        found.map_err(|kind| {
            self.sender.error(
                Operation::Read,
                repository,
                object(repository, reference),
                kind,
            )
        })
    }

    async fn read_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, RegistryErrorKind> {
        Ok(match self.read(repository, reference).await? {
            Some((response, digest)) => Some(parsed(response, &digest)?),
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
        let response = match self.read(repository, reference).await {
            Err(kind) if is_too_long(&kind) => {
                let long = self.long_content(repository, reference, kind).await?;
                return Ok(Some(TagContent::Unusable(long)));
            }
            response => response?,
        };
        let Some((response, digest)) = response else {
            return Ok(None);
        };
        let stated = stated_digest(&response).filter(|_| !is_misnamed(&response));
        let content = match (parsed(response, &digest), stated) {
            (Err(RegistryErrorKind::Content(ContentError::Manifest(error))), Some(_)) => {
                TagContent::Unusable(Unusable::new(digest, &*error))
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
        kind: RegistryErrorKind,
    ) -> Result<Unusable, RegistryErrorKind> {
        let accept = accept();
        let head = RegistryRequest {
            method: Method::HEAD,
            ..manifest_request(repository, reference, &accept)
        };
        let ReadResponse { response, .. } = send_read(&self.sender, &head, Reach::AnyHost).await?;
        let length = response.header("content-length");
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        let is_long =
            response.status == 200 && length.is_some_and(|length| length > MANIFEST_MAX_BYTES);
        match stated_digest(&response).filter(|_| is_long) {
            Some(digest) => Ok(Unusable::new(digest, &kind)),
            // Another client is moving the tag, or the registry does not state a digest.
            None => Err(kind),
        }
    }

    /// Reads the response with the manifest, and checks its digest before any use. The digest is the requested one. That
    /// of a tag's content is the one that the registry states, else its SHA-256.
    pub(super) async fn read(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<(Response, Digest)>, RegistryErrorKind> {
        let accept = accept();
        let request = manifest_request(repository, reference, &accept);
        let ReadResponse { response, origin } =
            send_read(&self.sender, &request, Reach::AnyHost).await?;
        match presence(&response) {
            Presence::Absent if origin == Origin::Direct => Ok(None),
            Presence::Absent | Presence::Unknown => Err(RegistryErrorKind::refused(&response)),
            Presence::Present => {
                check_type_after_redirect(&response, origin)?;
                let digest = algorithm_of(reference).digest(&response.body);
                check_asked(&digest, reference, "the requested digest")?;
                check_stated(&response.body, &digest, &response)?;
                self.observe_tag(repository, reference, &digest, &response, origin);
                Ok(Some((response, digest)))
            }
        }
    }

    pub(super) async fn look_up(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryErrorKind> {
        let accept = accept();
        let head = RegistryRequest {
            method: Method::HEAD,
            ..manifest_request(repository, reference, &accept)
        };
        let ReadResponse { response, origin } =
            send_read(&self.sender, &head, Reach::AnyHost).await?;
        match (response.status.as_u16(), reference) {
            (404, Reference::Digest(_)) if origin == Origin::Direct => return Ok(None),
            (200, _) if check_type_after_redirect(&response, origin).is_ok() => {
                let algorithm = algorithm_of(reference);
                let is_comparable = |digest: &Digest| digest.algorithm() == algorithm;
                // A digest of the other algorithm confirms nothing without the content.
                if let Some(digest) = stated_digest(&response).filter(is_comparable) {
                    check_asked(&digest, reference, "the requested digest")?;
                    self.observe_tag(repository, reference, &digest, &response, origin);
                    return Ok(Some(digest));
                }
            }
            _ => (),
        }
        self.content_digest(repository, reference).await
    }

    /// Keeps the `ETag` of a tag for the condition of a later write.
    fn observe_tag(
        &self,
        repository: &Repository,
        reference: &Reference,
        digest: &Digest,
        response: &Response,
        origin: Origin,
    ) {
        let Reference::Tag(_) = reference else {
            return;
        };
        let features = self.sender.features();
        if origin == Origin::OtherHost {
            features.note_answered_elsewhere(repository, reference);
        } else {
            features.observe_tag(repository, reference, digest, response);
        }
    }

    /// Reports whether another host answered a read of this tag, to which the registry redirected it. Such content is
    /// observed: it vouches for nothing.
    pub fn is_answered_elsewhere(&self, repository: &Repository, reference: &Reference) -> bool {
        let features = self.sender.features();
        features.is_answered_elsewhere(repository, reference)
    }

    pub(super) async fn content_digest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Digest>, RegistryErrorKind> {
        let content = self.read_content(repository, reference).await?;
        Ok(content.map(|content| content.digest().clone()))
    }
}

/// Checks that the response after a redirect is a manifest. It may be a login page.
fn check_type_after_redirect(response: &Response, origin: Origin) -> Result<(), RegistryErrorKind> {
    let served = MediaType::from(response.header("content-type").unwrap_or_default());
    if origin == Origin::Direct || MediaType::MANIFESTS.contains(&served) {
        return Ok(());
    }
    let reason = "answers with content that is not a manifest, such as a login page";
    Err(refused_address(&response.url, reason))
}

/// Returns the `Accept` header. Without the full list, GHCR answers 404 for an existing index, and Quay converts it.
fn accept() -> String {
    MediaType::MANIFESTS.map(String::from).join(", ")
}

fn manifest_request<'a>(
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

/// Parses the manifest in a response, whose digest is `digest`.
pub(super) fn parsed(response: Response, digest: &Digest) -> Result<Manifest, RegistryErrorKind> {
    let media_type = MediaType::from(response.header("content-type").unwrap_or_default());
    Manifest::parse_as(response.body, media_type, digest.algorithm())
        .map_err(|error| ContentError::Manifest(Arc::new(error)).into())
}

/// True if the bytes are a manifest that lists content, but the `Content-Type` is not that of a manifest.
fn is_misnamed(response: &Response) -> bool {
    let served = MediaType::from(response.header("content-type").unwrap_or_default());
    let is = |media_type| {
        let manifest = Manifest::parse(response.body.clone(), media_type);
        manifest.is_ok_and(|manifest| match manifest.kind() {
            ManifestKind::Index { manifests, .. } => !manifests.is_empty(),
            ManifestKind::Image { .. } => true,
        })
    };
    !MediaType::MANIFESTS.contains(&served) && MediaType::MANIFESTS.into_iter().any(is)
}

pub(super) fn is_too_long(kind: &RegistryErrorKind) -> bool {
    matches!(
        kind,
        RegistryErrorKind::Body {
            source: BodyError::TooLong { .. },
            ..
        }
    )
}

pub(super) fn check_asked(
    computed: &Digest,
    reference: &Reference,
    claimant: &'static str,
) -> Result<(), ContentError> {
    match reference {
        Reference::Digest(asked) if asked != computed => Err(ContentError::Digest {
            computed: computed.clone(),
            claimed: asked.to_string(),
            claimant,
        }),
        Reference::Digest(_) | Reference::Tag(_) => Ok(()),
    }
}
