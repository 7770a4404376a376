//! How a blob is stored: an upload begins with a POST, which may be all of it, and ends with a PUT to the place that the
//! registry names. What each host and repository was found not to do is remembered, and not tried again.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Method, Url};

use super::auth::Access;
use super::client::{Question, Registry, Target};
use super::downloads::{location, refused_address};
use super::error::Fault;
use super::manifests::check_stated;
use super::parts::PART_BYTES;
use super::wire::{Answer, ERROR_MAX_BYTES, authority};
use crate::domain::{Digest, Host, Repository};

/// Content up to this is sent along with the POST. Go's servers close the connection of a request that they answer with
/// more than 256 KiB of it unread, and what a registry does not take at once is sent twice.
pub(super) const SMALL_MAX_BYTES: u64 = 64 * 1024;
const OCTETS: &str = "application/octet-stream";
/// Whether an upload could be cancelled is not worth a long wait.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What was found not to work.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Hosts that do not take a blob with the POST.
    whole: Mutex<BTreeSet<Host>>,
    /// Hosts that take no large blob in one request.
    parts: Mutex<BTreeSet<Host>>,
    /// Repositories that nothing can be mounted into, each with the one that it was to come from.
    mount: Mutex<BTreeSet<(Repository, Repository)>>,
}

/// An upload that has begun.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    pub(super) access: Access,
    pub(super) place: Url,
    /// SECURITY: whether the place is on the registry; if not, our credentials stay away from it.
    pub(super) is_own: bool,
    /// How long a part is, where the blob is uploaded in parts.
    pub(super) part_bytes: u64,
}

/// What came of a POST.
#[derive(Debug)]
pub(super) enum Begun {
    /// The blob is there.
    Stored,
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
            self.finish(&upload, bytes).await?;
        }
        Ok(())
    }

    /// Begins an upload; `None` says that the registry has the blob already, as some do after the POST.
    pub(super) async fn begin(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Upload>, Fault> {
        let begun = self.post(repository, digest, Access::PullPush, "", &[]);
        begun.await?.expected()
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
        let begun = self.post(repository, digest, access, &query, &[]).await;
        match begun {
            // A right to read `from` that we do not have is the token server's to refuse.
            Err(fault @ Fault::Token { .. }) => Ok(Begun::Refused(fault)),
            begun => begun,
        }
    }

    /// Ends `upload` with `bytes`, or takes it back.
    pub(super) async fn finish(&self, upload: &Upload, bytes: &[u8]) -> Result<(), Fault> {
        let question = upload.question(Method::PUT, bytes);
        let answer = self.ask_at(upload, &question).await;
        let finished = answer.and_then(|answer| upload.check_stored(&answer));
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
        let question = upload.question(Method::DELETE, &[]);
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
            return self.begin(repository, digest).await;
        }
        let query = format!("?digest={digest}");
        let begun = self.post(repository, digest, Access::PullPush, &query, bytes);
        let begun = begun.await;
        if !matches!(begun, Ok(Begun::Stored)) {
            limits.remember_no_whole(repository.host());
        }
        match begun? {
            Begun::Refused(fault) if may_be_about_form(&fault) => {
                self.begin(repository, digest).await
            }
            begun @ (Begun::Stored | Begun::Place(_) | Begun::Refused(_)) => begun.expected(),
        }
    }

    /// Puts the POST. It is not cut short with the run: nobody could take back what it opens then.
    async fn post(
        &self,
        repository: &Repository,
        digest: &Digest,
        access: Access,
        query: &str,
        bytes: &[u8],
    ) -> Result<Begun, Fault> {
        let (registry, repository) = (self.clone(), repository.clone());
        let (digest, query, bytes) = (digest.clone(), query.to_owned(), bytes.to_vec());
        let post = async move {
            let posted = registry.post_now(repository, digest, access, &query, &bytes);
            posted.await
        };
        self.left_open().beyond(post).await
    }

    async fn post_now(
        &self,
        repository: Repository,
        digest: Digest,
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
            201 => check_stated(&digest, &answer).map(|()| Begun::Stored),
            202 => {
                let (place, is_own) = self.place(&answer)?;
                // SPEC: no part but the last one may be shorter.
                let least = answer.header("oci-chunk-min-length");
                let least = least.and_then(|least| least.parse().ok()).unwrap_or(0);
                let upload = Upload {
                    repository,
                    digest,
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
    /// A question to the place of this upload: PATCH to add to it, PUT to end it, DELETE to take it back.
    pub(super) fn question<'b>(&'b self, method: Method, bytes: &'b [u8]) -> Question<'b> {
        let mut place = self.place.clone();
        let mut content = None;
        if method == Method::PUT || method == Method::PATCH {
            content = Some((OCTETS, bytes));
        }
        if method == Method::PUT {
            // The place may have a query of its own, which must stay as it is.
            place
                .query_pairs_mut()
                .append_pair("digest", &self.digest.to_string());
        }
        Question {
            method,
            repository: &self.repository,
            target: Target::Address(place),
            access: self.access.clone(),
            accept: None,
            content,
            limit: ERROR_MAX_BYTES,
        }
    }

    /// Reads the answer to the PUT.
    pub(super) fn check_stored(&self, answer: &Answer) -> Result<(), Fault> {
        match answer.status.as_u16() {
            200 | 201 | 204 => check_stated(&self.digest, answer),
            _ => Err(answer.fault()),
        }
    }
}

impl Begun {
    fn expected(self) -> Result<Option<Upload>, Fault> {
        match self {
            Self::Stored => Ok(None),
            Self::Place(upload) => Ok(Some(upload)),
            Self::Refused(fault) => Err(fault),
        }
    }
}

impl Limits {
    pub(super) fn may_mount(&self, repository: &Repository, from: &Repository) -> bool {
        let pair = (repository.clone(), from.clone());
        let refused = self.mount.lock();
        refused.is_ok_and(|refused| !refused.contains(&pair))
    }

    pub(super) fn remember_no_mount(&self, repository: &Repository, from: &Repository) {
        if let Ok(mut refused) = self.mount.lock() {
            refused.insert((repository.clone(), from.clone()));
        }
    }

    pub(super) fn wants_parts(&self, host: &Host) -> bool {
        let hosts = self.parts.lock();
        hosts.is_ok_and(|hosts| hosts.contains(host))
    }

    pub(super) fn remember_parts(&self, host: &Host) {
        if let Ok(mut hosts) = self.parts.lock() {
            hosts.insert(host.clone());
        }
    }

    fn may_post_whole(&self, host: &Host) -> bool {
        let refused = self.whole.lock();
        refused.is_ok_and(|refused| !refused.contains(host))
    }

    fn remember_no_whole(&self, host: &Host) {
        if let Ok(mut refused) = self.whole.lock() {
            refused.insert(host.clone());
        }
    }
}

/// Whether a refused POST may have been refused for the blob that came with it, so that a plain one may be taken.
fn may_be_about_form(fault: &Fault) -> bool {
    let status = fault.refusal().map(|refusal| refusal.status);
    matches!(status, Some(400 | 404 | 405 | 411 | 413 | 415 | 416 | 501))
}
