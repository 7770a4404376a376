//! Blobs: configs and signatures, small enough to be held in memory.

use reqwest::header::LOCATION;
use reqwest::{Method, Url};

use super::answers::{Presence, presence};
use super::auth::Access;
use super::client::{Question, Registry, Target};
use super::error::{Fault, Operation, RegistryError};
use super::manifests::check_stated;
use super::refusal::printable;
use super::wire::{Answer, ERROR_MAX_BYTES, authority, shown};
use crate::domain::{Digest, Repository};

const REDIRECTS_MAX: usize = 5;

impl Registry {
    /// Reads the blob `digest`, of at most `limit` bytes. `None` says that it is not there.
    ///
    /// Most registries redirect to a storage: that is followed, without our credentials unless it is the registry
    /// itself, and whatever comes back must have the digest.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let question = Question::get(repository, format!("blobs/{digest}"), limit);
        let read = self
            .patiently(&question.text(), || self.fetch(&question))
            .await
            .and_then(|body| body.map(|body| checked(body, digest)).transpose());
        read.map_err(|fault| {
            let object = repository.at(digest).to_string();
            self.error(Operation::ReadBlob, repository, object, fault)
        })
    }

    /// Stores `bytes`. It is not asked first whether they are there: for small blobs that takes as long as storing them.
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let what = format!("upload of {repository}@{digest}");
        // Each try is a new upload, as nothing is known of what the registry made of the one before.
        let stored = self
            .patiently(&what, || self.upload(repository, &digest, bytes))
            .await;
        match stored {
            Ok(()) => Ok(digest),
            Err(fault) => {
                let object = repository.at(&digest).to_string();
                Err(self.error(Operation::WriteBlob, repository, object, fault))
            }
        }
    }

    async fn fetch(&self, question: &Question<'_>) -> Result<Option<Vec<u8>>, Fault> {
        let mut answer = self.ask_once(question).await?;
        if !is_redirect(&answer) {
            return match presence(&answer) {
                Presence::Present => Ok(Some(answer.body)),
                Presence::Absent => Ok(None),
                Presence::Unknown => Err(answer.fault()),
            };
        }
        let registry = answer.url.origin();
        for _ in 0..REDIRECTS_MAX {
            let next = location(&answer)?;
            if let Err(reason) = self.wire().check_speakable(&next) {
                return Err(refused_address(&next, reason));
            }
            // SECURITY: our credentials are the registry's and nobody else's.
            answer = if next.origin() == registry {
                let question = Question {
                    target: Target::Address(next),
                    ..Question::get(question.repository, String::new(), question.limit)
                };
                self.ask_once(&question).await?
            } else {
                self.fetch_elsewhere(next, question.limit).await?
            };
            if answer.status == 200 {
                return Ok(Some(answer.body));
            }
            if !is_redirect(&answer) {
                return Err(answer.fault());
            }
        }
        Err(refused_address(
            &answer.url,
            "sends us on once more, after five times",
        ))
    }

    async fn fetch_elsewhere(&self, url: Url, limit: u64) -> Result<Answer, Fault> {
        let request = self.wire().request(Method::GET, url.clone()).build();
        let request = request.map_err(|_| refused_address(&url, "is no web address"))?;
        let answer = self.wire().send(request, limit).await?;
        if !answer.status.is_success() && answer.refusal().is_transient() {
            return Err(answer.fault());
        }
        Ok(answer)
    }

    /// One upload from its beginning: POST for a place, PUT to it. Some registries have the blob after the POST.
    async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let start = Question {
            method: Method::POST,
            repository,
            target: Target::Path("blobs/uploads/".to_owned()),
            access: Access::PullPush,
            accept: None,
            content: Some(("application/octet-stream", &[])),
            limit: ERROR_MAX_BYTES,
        };
        let answer = self.ask_once(&start).await?;
        match answer.status.as_u16() {
            201 => return check_stated(digest, &answer),
            202 => (),
            _ => return Err(answer.fault()),
        }
        let mut place = location(&answer)?;
        let is_own = authority(&place) == authority(&answer.url);
        if is_own && place.scheme() != answer.url.scheme() && place.scheme() != "https" {
            return Err(refused_address(
                &place,
                "is not HTTPS, though the registry is",
            ));
        }
        if let Err(reason) = self.wire().check_speakable(&place) {
            return Err(refused_address(&place, reason));
        }
        // The place may have a query of its own, which must stay as it is.
        place
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let answer = if is_own {
            let finish = Question {
                method: Method::PUT,
                target: Target::Address(place),
                content: Some(("application/octet-stream", bytes)),
                ..start
            };
            self.ask_once(&finish).await?
        } else {
            self.send_elsewhere(place, bytes).await?
        };
        match answer.status.as_u16() {
            200 | 201 | 204 => check_stated(digest, &answer),
            _ => Err(answer.fault()),
        }
    }

    /// SECURITY: an upload place on another host gets the bytes and not our credentials.
    async fn send_elsewhere(&self, url: Url, bytes: &[u8]) -> Result<Answer, Fault> {
        let request = self
            .wire()
            .request(Method::PUT, url.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(bytes.to_vec())
            .build();
        let request = request.map_err(|_| refused_address(&url, "is no web address"))?;
        self.wire().send(request, ERROR_MAX_BYTES).await
    }
}

fn is_redirect(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The `Location` of an answer, which may be relative to what was asked.
fn location(answer: &Answer) -> Result<Url, Fault> {
    let text = answer.header(LOCATION.as_str()).unwrap_or_default();
    if text.is_empty() {
        return Err(refused_address(
            &answer.url,
            "names no place to go (`Location`)",
        ));
    }
    let mut url = answer.url.join(text).map_err(|_| Fault::Address {
        address: printable(text.split('?').next().unwrap_or_default(), 200),
        reason: "is no web address",
    })?;
    url.set_fragment(None);
    Ok(url)
}

fn refused_address(url: &Url, reason: &'static str) -> Fault {
    Fault::Address {
        address: shown(url),
        reason,
    }
}

fn checked(body: Vec<u8>, digest: &Digest) -> Result<Vec<u8>, Fault> {
    let computed = Digest::of(&body);
    if computed == *digest {
        Ok(body)
    } else {
        Err(Fault::Digest {
            computed,
            claimed: digest.to_string(),
            claimant: "what was asked for",
        })
    }
}
