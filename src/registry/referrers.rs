//! Lists the referrers of a manifest, such as signatures and attestations, from the referrers API or under a tag.

use reqwest::Url;
use reqwest::header::LINK;

use super::classify::{Listing, listing};
use super::error::{Operation, RegistryError, RegistryErrorKind};
use super::integrity::stated_digest;
use super::manifests::{is_too_long, object, parsed};
use super::reader::RegistryReader;
use super::redirects::{Reach, ReadResponse, send_read};
use super::referrer_list::{Entries, Entry, check_complete, read_list};
use super::sender::{RegistryRequest, Target};
use crate::domain::{Digest, Manifest, MediaType, Reference, Repository, Tag, Unusable};
use crate::http::Response;

/// The limit for a page. A page is an index; its entries contain the annotations of their referrers, so it may be as
/// long as any manifest.
const PAGE_MAX_BYTES: u64 = 24 * 1024 * 1024;
/// The most pages that are read. With the page sizes of registries, they contain as many entries as are read.
const PAGES_MAX: usize = 200;
/// Lists up to this length are kept whole. Longer ones are read again when they are needed.
pub const SHORT_LIST_MAX_BYTES: usize = 16 * 1024;

/// A registry's response to a request for referrers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referrers<T> {
    /// The complete list; from [`Pages`], the next page.
    Listed(Entries<T>),
    /// The registry has no referrers API: use the referrers tag.
    NoApi,
    /// The registry says that the subject or its repository is not there. If it is there, this registry has no such API
    /// either; else it may have one.
    NoSubject,
}

/// A list from the referrers API, read page by page.
#[derive(Debug)]
pub struct Pages<'a> {
    registry: &'a RegistryReader,
    repository: &'a Repository,
    subject: &'a Digest,
    /// The next page, or `None` after the last one.
    next: Option<Target>,
    number: usize,
    count: usize,
}

/// The content of a tag under which clients keep a list of referrers, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagged<T> {
    /// A list.
    List(TaggedList<T>),
    /// Content that is not a list.
    Unusable(Unusable),
}

/// A list of referrers that clients keep under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedList<T> {
    /// The digest of the tag's content.
    pub digest: Digest,
    /// The entries of the list.
    pub entries: Entries<T>,
    /// The whole manifest, if it is short.
    pub short: Option<Manifest>,
}

impl RegistryReader {
    /// Lists the referrers of `subject`, of any type. There is no filter, because old entries have a wrong
    /// `artifactType`. The table in `classify.rs` defines which responses mean that there is no such API.
    pub async fn referrers<T: Entry>(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Referrers<T>, RegistryError> {
        let mut pages = self.referrer_pages(repository, subject);
        let mut all = Entries::default();
        while let Some(page) = pages.next().await? {
            match page {
                Referrers::Listed(page) => all.append(page),
                Referrers::NoApi => return Ok(Referrers::NoApi),
                Referrers::NoSubject => return Ok(Referrers::NoSubject),
            }
        }
        check_complete(&all).map_err(|kind| pages.error(kind))?;
        Ok(Referrers::Listed(all))
    }

    /// Lists the referrers page by page. This call sends nothing. The last page is the one with which the list becomes
    /// too long, if there is one.
    pub fn referrer_pages<'a>(
        &'a self,
        repository: &'a Repository,
        subject: &'a Digest,
    ) -> Pages<'a> {
        Pages {
            registry: self,
            repository,
            subject,
            next: Some(Target::Path(format!("referrers/{subject}"))),
            number: 0,
            count: 0,
        }
    }

    /// Reads the list under `tag`. Returns `None` if the tag does not exist.
    pub async fn tagged_list<T: Entry>(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Tagged<T>>, RegistryError> {
        let reference = Reference::Tag(tag.clone());
        let read = self.read_tagged(repository, &reference).await;
        read.map_err(|kind| {
            let object = object(repository, &reference);
            self.sender.error(Operation::Read, repository, object, kind)
        })
    }

    /// Reads the list under a tag. Other content counts as read only with a digest stated by the registry, as for every
    /// other tag.
    async fn read_tagged<T: Entry>(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Tagged<T>>, RegistryErrorKind> {
        match self.read(repository, reference).await {
            Err(kind) if is_too_long(&kind) => {
                let long = self.long_content(repository, reference, kind).await?;
                Ok(Some(Tagged::Unusable(long)))
            }
            response => {
                let tagged = |(response, digest)| tagged(response, digest);
                response?.map(tagged).transpose()
            }
        }
    }
}

impl<T> Tagged<T> {
    /// Returns the digest of the content.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        match self {
            Self::List(list) => &list.digest,
            Self::Unusable(unusable) => unusable.digest(),
        }
    }
}

/// Parses the content of a response, whose digest is `digest`.
fn tagged<T: Entry>(response: Response, digest: Digest) -> Result<Tagged<T>, RegistryErrorKind> {
    let stated = stated_digest(&response);
    let media_type = MediaType::from(response.header("content-type").unwrap_or_default());
    if media_type.is_image() {
        // Content that reads as an image needs no stated digest: no server sends an image by mistake.
        return match (parsed(response, &digest), stated) {
            (Err(kind), None) => Err(kind),
            (Ok(_) | Err(_), _) => Ok(no_list(digest, "it is an image, not an index")),
        };
    }
    let entries = match (read_list(&response.body, 0), stated) {
        (Err(RegistryErrorKind::NoList(reason)), Some(_)) => return Ok(no_list(digest, reason)),
        (entries, _) => entries?,
    };
    let is_short = response.body.len() <= SHORT_LIST_MAX_BYTES;
    let short = is_short.then(|| Manifest::parse_as(response.body, media_type, digest.algorithm()));
    Ok(Tagged::List(TaggedList {
        digest,
        entries,
        short: short.and_then(Result::ok),
    }))
}

fn no_list<T>(digest: Digest, reason: impl Into<String>) -> Tagged<T> {
    Tagged::Unusable(Unusable::no_list(digest, reason))
}

impl Pages<'_> {
    /// Reads the next page. Returns `None` after the last one.
    pub async fn next<T: Entry>(&mut self) -> Result<Option<Referrers<T>>, RegistryError> {
        let Some(target) = self.next.take() else {
            return Ok(None);
        };
        let page = self.read(target).await;
        page.map(Some).map_err(|kind| self.error(kind))
    }

    fn error(&self, kind: RegistryErrorKind) -> RegistryError {
        let object = self.repository.at(self.subject).to_string();
        let sender = &self.registry.sender;
        sender.error(Operation::List, self.repository, object, kind)
    }

    async fn read<T: Entry>(&mut self, target: Target) -> Result<Referrers<T>, RegistryErrorKind> {
        self.number += 1;
        if self.number > PAGES_MAX {
            return Err(RegistryErrorKind::LongList(format!("{PAGES_MAX} pages")));
        }
        let page = RegistryRequest {
            target,
            accept: Some(MediaType::OciIndex.as_str()),
            ..RegistryRequest::get(self.repository, String::new(), PAGE_MAX_BYTES)
        };
        let sender = &self.registry.sender;
        let ReadResponse { response, .. } = send_read(sender, &page, Reach::OwnHost).await?;
        match (listing(&response), self.number) {
            (Listing::Listed, _) => (),
            (Listing::NoApi, 1) => return Ok(Referrers::NoApi),
            (Listing::NoSubject, 1) => return Ok(Referrers::NoSubject),
            (Listing::NoApi | Listing::NoSubject | Listing::Unknown, _) => {
                return Err(RegistryErrorKind::refused(&response));
            }
        }
        let entries: Entries<T> = read_list(&response.body, self.count)?;
        self.count += entries.listed.len();
        if entries.omitted == 0 {
            self.next = next_page(&response)?.map(Target::Address);
        }
        Ok(Referrers::Listed(entries))
    }
}

/// Returns the address of the next page (RFC 8288), which must be on the same registry.
pub(super) fn next_page(response: &Response) -> Result<Option<Url>, RegistryErrorKind> {
    let links = response.headers.get_all(LINK).iter();
    let next = links
        .filter_map(|link| link.to_str().ok())
        .find_map(next_link);
    let Some(next) = next else {
        return Ok(None);
    };
    let url = response.url.join(next).map_err(|_| {
        RegistryErrorKind::Listing("the address of its next page is invalid".to_owned())
    })?;
    // SECURITY: credentials are sent to this address.
    if url.origin() == response.url.origin() {
        Ok(Some(url))
    } else {
        Err(RegistryErrorKind::Listing(
            "its next page is on another host".to_owned(),
        ))
    }
}

/// Returns the target of the link with the relation `next` in one header: `</v2/…?n=10>; rel="next", <…>; rel="last"`.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, from) = rest.split_once('<')?;
        let (target, after) = from.split_once('>')?;
        let (parameters, others) = after.split_once(',').unwrap_or((after, ""));
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_is_found_among_links() {
        for (header, wanted) in [
            (
                r#"</v2/o/r/referrers/x?last=a&n=2>; rel="next""#,
                Some("/v2/o/r/referrers/x?last=a&n=2"),
            ),
            (
                r#"</first>; rel="first", </next,2>; title="a"; REL=next"#,
                Some("/next,2"),
            ),
            (r#"</both>; rel="last next""#, Some("/both")),
            (r#"</last>; rel="last""#, None),
            ("</no>", None),
            ("<never closed; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), wanted, "{header}");
        }
    }
}
