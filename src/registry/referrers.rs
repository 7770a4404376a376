//! What refers to a manifest: its signatures and attestations, where the registry keeps a list of them.

use reqwest::Url;
use reqwest::header::LINK;
use serde::Deserialize;

use super::answers::{Listing, listing};
use super::client::{Question, Registry, Target};
use super::error::{Fault, Operation, RegistryError};
use super::refusal::printable;
use super::wire::Answer;
use crate::domain::{Descriptor, Digest, MediaType, Repository};

/// One page is an index, and no longer than one may be.
const PAGE_MAX_BYTES: u64 = 4 * 1024 * 1024;
const PAGES_MAX: usize = 100;
/// Far more than refers to any image; a page that is full of the shortest entries has more.
const REFERRERS_MAX: usize = 10_000;

/// What a registry says about what refers to a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referrers {
    /// It keeps a list, and this is all of it.
    Listed(Vec<Descriptor>),
    /// It keeps none: look at the fallback tag.
    NoApi,
}

#[derive(Deserialize)]
struct Page {
    // SPEC: required. A registry written in Go has `null` for none; a document without it is something else, and the
    // explicit function is what makes serde insist on it.
    #[serde(deserialize_with = "Option::deserialize")]
    manifests: Option<Vec<Descriptor>>,
}

impl Registry {
    /// Lists what refers to `subject`, whatever its type: old entries carry a wrong `artifactType`, so it is never
    /// asked for. Which answers mean that there is no such API is in the table of `answers.rs`.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Referrers, RegistryError> {
        let listed = self.list(repository, subject).await;
        listed.map_err(|fault| {
            let object = repository.at(subject).to_string();
            self.error(Operation::List, repository, object, fault)
        })
    }

    async fn list(&self, repository: &Repository, subject: &Digest) -> Result<Referrers, Fault> {
        let page = |target| Question {
            target,
            accept: Some(MediaType::OciIndex.as_str()),
            ..Question::get(repository, String::new(), PAGE_MAX_BYTES)
        };
        let mut target = Target::Path(format!("referrers/{subject}"));
        let mut referrers = Vec::new();
        for number in 1..=PAGES_MAX {
            let answer = self.ask(&page(target)).await?;
            match (listing(&answer), number) {
                (Listing::Listed, _) => (),
                (Listing::NoApi, 1) => return Ok(Referrers::NoApi),
                (Listing::NoApi | Listing::Unknown, _) => return Err(answer.fault()),
            }
            referrers.append(&mut read(&answer)?);
            if referrers.len() > REFERRERS_MAX {
                let reason = format!("it has more than {REFERRERS_MAX} entries");
                return Err(Fault::Listing(reason));
            }
            match next_page(&answer)? {
                Some(next) => target = Target::Address(next),
                None => return Ok(Referrers::Listed(referrers)),
            }
        }
        let reason = format!("it does not end after {PAGES_MAX} pages");
        Err(Fault::Listing(reason))
    }
}

pub(super) fn read(answer: &Answer) -> Result<Vec<Descriptor>, Fault> {
    let page: Page = serde_json::from_slice(&answer.body)
        .map_err(|error| Fault::Listing(printable(&error.to_string(), 300)))?;
    Ok(page.manifests.unwrap_or_default())
}

/// The address of the next page (RFC 8288), which must be on the same registry.
pub(super) fn next_page(answer: &Answer) -> Result<Option<Url>, Fault> {
    let links = answer.headers.get_all(LINK).iter();
    let next = links
        .filter_map(|link| link.to_str().ok())
        .find_map(next_link);
    let Some(next) = next else {
        return Ok(None);
    };
    let url = answer
        .url
        .join(next)
        .map_err(|_| Fault::Listing("the address of its next page is none".to_owned()))?;
    // SECURITY: our credentials go along.
    if url.origin() == answer.url.origin() {
        Ok(Some(url))
    } else {
        Err(Fault::Listing(
            "its next page is on another host".to_owned(),
        ))
    }
}

/// The target of the link whose relation is `next` in one header: `</v2/…?n=10>; rel="next", <…>; rel="last"`.
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
