//! How a blob is stored: an upload begins with a POST, which may be all of it, and ends with a PUT to the place that the
//! registry names.

use std::time::Duration;

use futures_util::future::join;
use reqwest::{Method, Url};

use super::auth::Access;
use super::client::{Question, Registry, Target};
use super::downloads::{location, refused_address};
use super::error::Fault;
use super::manifests::check_stated;
use super::parts::PART_BYTES;
use super::wire::{Answer, ERROR_MAX_BYTES, authority};
use crate::domain::{Digest, Repository};

/// Content up to this is sent along with the POST. Go's servers close the connection of a request that they answer with
/// more than 256 KiB of it unread, and what a registry does not take at once is sent twice.
pub(super) const SMALL_MAX_BYTES: u64 = 64 * 1024;
const OCTETS: &str = "application/octet-stream";
/// Whether an upload could be cancelled is not worth a long wait.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An upload that has begun.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) repository: Repository,
    pub(super) access: Access,
    pub(super) place: Url,
    /// SECURITY: whether the place is on the registry; if not, our credentials stay away from it.
    pub(super) is_own: bool,
    /// How long a part is, where the blob is uploaded in parts.
    pub(super) part_bytes: u64,
}

/// A place for a small blob that is still to come.
#[derive(Debug)]
pub struct Reserved(Upload);

/// What came of a POST.
#[derive(Debug)]
pub(super) enum Begun {
    /// It says that the blob is there.
    Created(Answer),
    /// There is a place for it.
    Place(Upload),
    /// The registry does not do this.
    Refused(Fault),
}

impl Registry {
    /// One upload of `bytes` from its beginning.
    pub(super) async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        if let Some(upload) = self.begin_with(repository, digest, bytes).await? {
            self.finish(&upload, digest, bytes).await?;
        }
        Ok(())
    }

    /// One upload of `bytes` from its beginning, and where that takes two requests a place for a blob that is still to come:
    /// see [`Self::reserve`]. Whether there is a place says nothing of `bytes`.
    pub async fn upload_and_reserve(
        &self,
        repository: &Repository,
        bytes: &[u8],
    ) -> Result<Option<Reserved>, Fault> {
        let digest = &Digest::of(bytes);
        let Some(upload) = self.begin_with(repository, digest, bytes).await? else {
            return Ok(None);
        };
        let finished = self.finish(&upload, digest, bytes);
        let (finished, begun) = join(finished, self.begin(repository)).await;
        finished.map(|()| begun.ok().map(Reserved))
    }

    /// Uploads `bytes` into `place`, where there is one.
    pub(super) async fn upload_into(
        &self,
        place: Option<Reserved>,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        if let Some(Reserved(upload)) = place {
            match self.finish(&upload, digest, bytes).await {
                Err(fault) if may_be_about_place(&fault) => (),
                finished => return finished,
            }
        }
        self.upload(repository, digest, bytes).await
    }

    /// A place for a small blob that is still to come, so that storing it takes one request. `None` where it takes no more
    /// as far as is known, or where there is none to be had now: nothing may rest on it, so it is asked for once. A place
    /// that is not used is taken back by [`Self::cancel_uploads`].
    pub async fn reserve(&self, repository: &Repository) -> Option<Reserved> {
        if self.limits().may_post_whole(repository.host()) {
            return None;
        }
        self.begin(repository).await.ok().map(Reserved)
    }

    /// Begins an upload, of what need not be known yet.
    pub(super) async fn begin(&self, repository: &Repository) -> Result<Upload, Fault> {
        let begun = self.post(repository, Access::PullPush, "", &[]);
        match begun.await? {
            Begun::Place(upload) => Ok(upload),
            // Of what, it was not told.
            Begun::Created(answer) => Err(answer.fault()),
            Begun::Refused(fault) => Err(fault),
        }
    }

    /// Begins an upload by asking that the blob be mounted from `from`, on the same registry. The upload that a registry
    /// offers in place of that is to be used, or it is left open.
    pub(super) async fn begin_with_mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<Begun, Fault> {
        let query = format!("?mount={digest}&from={}", from.path());
        let access = Access::Mount(from.clone());
        match self.post(repository, access, &query, &[]).await {
            Ok(Begun::Created(answer)) => {
                check_stated(digest, &answer).map(|()| Begun::Created(answer))
            }
            // A right to read `from` that we do not have is the token server's to refuse.
            Err(fault @ Fault::Token { .. }) => Ok(Begun::Refused(fault)),
            begun => begun,
        }
    }

    /// Ends `upload` with `bytes`, or takes it back.
    pub(super) async fn finish(
        &self,
        upload: &Upload,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let question = upload.last_question(digest, bytes);
        let answer = self.ask_at(upload, &question).await;
        let finished = answer.and_then(|answer| check_stored(&answer, digest));
        self.end(upload, &finished).await;
        finished
    }

    /// Takes `upload` back if it did not come to its end.
    pub(super) async fn end<T, E>(&self, upload: &Upload, ended: &Result<T, E>) {
        if ended.is_ok() {
            self.left_open().remove(upload);
        } else {
            self.cancel(upload).await;
        }
    }

    /// Takes `upload` back, if the registry can do that; otherwise it forgets it by itself one day.
    pub(super) async fn cancel(&self, upload: &Upload) {
        let question = upload.question(Method::DELETE);
        let cancelled = self.ask_at(upload, &question);
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancelled).await;
        self.left_open().remove(upload);
    }

    /// Takes the place, which may be another with each part, where `answer` names one.
    pub(super) fn go_on(&self, upload: &mut Upload, answer: &Answer) -> Result<(), Fault> {
        if answer.header("location").is_some() {
            let (place, is_own) = self.place(answer)?;
            self.left_open().remove(upload);
            upload.place = place;
            upload.is_own = is_own && upload.is_own;
            self.left_open().add(upload);
        }
        Ok(())
    }

    pub(super) async fn ask_at(
        &self,
        upload: &Upload,
        question: &Question<'_>,
    ) -> Result<Answer, Fault> {
        if upload.is_own {
            self.ask_once(question).await
        } else {
            self.open_elsewhere(question)
                .await?
                .read(question.limit)
                .await
        }
    }

    /// Begins an upload, with all of `bytes` if they are few and the registry is not known to refuse that.
    ///
    /// SPEC: "Single POST"; a registry that does not support it should answer 202 with a place, as to a plain POST.
    async fn begin_with(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Option<Upload>, Fault> {
        let limits = self.limits();
        let is_small = u64::try_from(bytes.len()).is_ok_and(|length| length <= SMALL_MAX_BYTES);
        if !is_small || !limits.may_post_whole(repository.host()) {
            return self.begin(repository).await.map(Some);
        }
        let query = format!("?digest={digest}");
        let begun = self.post(repository, Access::PullPush, &query, bytes).await;
        if !matches!(begun, Ok(Begun::Created(_))) {
            limits.remember_no_whole(repository.host());
        }
        match begun? {
            Begun::Created(answer) => check_stated(digest, &answer).map(|()| None),
            Begun::Place(upload) => Ok(Some(upload)),
            Begun::Refused(fault) if may_be_about_form(&fault) => {
                self.begin(repository).await.map(Some)
            }
            Begun::Refused(fault) => Err(fault),
        }
    }

    /// Puts the POST. It is not cut short with the run: nobody could take back what it opens then.
    async fn post(
        &self,
        repository: &Repository,
        access: Access,
        query: &str,
        bytes: &[u8],
    ) -> Result<Begun, Fault> {
        let (registry, repository) = (self.clone(), repository.clone());
        let (query, bytes) = (query.to_owned(), bytes.to_vec());
        let post = async move {
            let posted = registry.post_now(repository, access, &query, &bytes);
            posted.await
        };
        self.left_open().beyond(post).await
    }

    async fn post_now(
        &self,
        repository: Repository,
        access: Access,
        query: &str,
        bytes: &[u8],
    ) -> Result<Begun, Fault> {
        let start = Question {
            method: Method::POST,
            repository: &repository,
            target: Target::Path(format!("blobs/uploads/{query}")),
            access: access.clone(),
            accept: None,
            content: Some((OCTETS, bytes)),
            limit: ERROR_MAX_BYTES,
        };
        let answer = self.ask_once(&start).await?;
        match answer.status.as_u16() {
            201 => Ok(Begun::Created(answer)),
            202 => {
                let (place, is_own) = self.place(&answer)?;
                // SPEC: no part but the last one may be shorter.
                let least = answer.header("oci-chunk-min-length");
                let least = least.and_then(|least| least.parse().ok()).unwrap_or(0);
                let upload = Upload {
                    repository,
                    access,
                    place,
                    is_own,
                    part_bytes: PART_BYTES.max(least),
                };
                self.left_open().add(&upload);
                Ok(Begun::Place(upload))
            }
            _ => Ok(Begun::Refused(answer.fault())),
        }
    }

    /// The place that an answer names, and whether it is on the registry itself.
    fn place(&self, answer: &Answer) -> Result<(Url, bool), Fault> {
        let place = location(answer)?;
        let is_own = authority(&place) == authority(&answer.url);
        if is_own && place.scheme() != answer.url.scheme() && place.scheme() != "https" {
            return Err(refused_address(
                &place,
                "is not HTTPS, though the registry is",
            ));
        }
        if let Err(reason) = self.wire().check_hop(&answer.url, &place) {
            return Err(refused_address(&place, reason));
        }
        Ok((place, is_own))
    }
}

impl Upload {
    /// A question to the place of this upload: PATCH to add to it, DELETE to take it back.
    pub(super) fn question(&self, method: Method) -> Question<'_> {
        self.ask(method, self.place.clone(), &[])
    }

    /// The PUT that ends it: all of the blob, or what is left of it.
    pub(super) fn last_question<'b>(&'b self, digest: &Digest, bytes: &'b [u8]) -> Question<'b> {
        let mut place = self.place.clone();
        // The place may have a query of its own, which must stay as it is.
        place
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        self.ask(Method::PUT, place, bytes)
    }

    fn ask<'b>(&'b self, method: Method, place: Url, bytes: &'b [u8]) -> Question<'b> {
        let has_content = method != Method::DELETE;
        Question {
            method,
            repository: &self.repository,
            target: Target::Address(place),
            access: self.access.clone(),
            accept: None,
            content: has_content.then_some((OCTETS, bytes)),
            limit: ERROR_MAX_BYTES,
        }
    }
}

/// Reads the answer to the PUT of a blob.
pub(super) fn check_stored(answer: &Answer, digest: &Digest) -> Result<(), Fault> {
    match answer.status.as_u16() {
        200 | 201 | 204 => check_stated(digest, answer),
        _ => Err(answer.fault()),
    }
}

/// Whether a refused PUT may have been refused for a place that the registry knows no longer, so that a new one may do.
fn may_be_about_place(fault: &Fault) -> bool {
    let status = fault.refusal().map(|refusal| refusal.status);
    status.is_some_and(|status| (400..500).contains(&status) && !matches!(status, 408 | 429))
}

/// Whether a refused POST may have been refused for the blob that came with it, so that a plain one may be taken.
fn may_be_about_form(fault: &Fault) -> bool {
    let status = fault.refusal().map(|refusal| refusal.status);
    matches!(status, Some(400 | 404 | 405 | 411 | 413 | 415 | 416 | 501))
}
