//! The protocol's own way: by tag, or by digest if the registry supports only that.
//!
//! Sources: OCI distribution specification, "Deleting tags" and "Deleting Manifests"; `registry/handlers/manifests.go`
//! of distribution, whose 2.x reads a tag as an invalid digest.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde::Deserialize;

use super::unchanged_check::UnchangedCheck;
use super::undeleted::{DeletionError, MayDelete, TagDeletion, Undeleted, all, refused};
use crate::domain::{Digest, Reference, Repository, Tag};
use crate::http::Response;
use crate::registry::auth::Access;
use crate::registry::classify::{Presence, presence};
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::error_response::ErrorResponse;
use crate::registry::redirects::{Reach, ReadResponse, send_read, write_once};
use crate::registry::referrers::next_page;
use crate::registry::response::ERROR_MAX_BYTES;
use crate::registry::sender::{RegistryRequest, Target};

const NEEDS: &str = "the right to delete";
const PAGE_MAX_BYTES: u64 = 4 << 20;
const PAGES_MAX: usize = 100;
/// The most other tags that are compared. Each one takes a request for its digest.
const TAGS_MAX: usize = 1000;
const TAG_READS_PARALLEL: usize = 8;

#[derive(Deserialize)]
struct Page {
    // SECURITY: a document without `tags` is not a list and must not count as an empty one. Tags that a list does not
    // name are deleted.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

/// The result of one request.
enum DeleteResult {
    Done,
    Unsupported,
}

/// Deletes each tag by itself, or all of them with their manifest.
pub(super) async fn delete(registry: &Registry, deletion: TagDeletion<'_>) -> Undeleted {
    let mut undeleted = Undeleted::new();
    for (number, (tag, current)) in UnchangedCheck::each(registry, deletion).enumerate() {
        let reference = Reference::Tag(tag.clone());
        let check = async || current.check().await;
        match send_delete(registry, deletion.repository, &reference, check).await {
            Ok(DeleteResult::Done) => (),
            Ok(DeleteResult::Unsupported) => {
                let rest = TagDeletion {
                    tags: deletion.tags.get(number..).unwrap_or_default(),
                    ..deletion
                };
                if let Err(error) = by_digest(registry, rest).await {
                    undeleted.extend(all(rest, &error));
                }
                break;
            }
            Err(kind) => undeleted.push((tag.clone(), refused(kind, NEEDS))),
        }
    }
    undeleted
}

/// Deletes the manifest by its digest.
///
/// SECURITY: this deletes the manifest and every tag with its digest. The manifest must be the run's own. Only the tags
/// that are to be deleted may have its digest.
async fn by_digest(registry: &Registry, deletion: TagDeletion<'_>) -> Result<(), DeletionError> {
    if deletion.may_delete == MayDelete::Tags {
        return Err(DeletionError::NotCreated);
    }
    let others = others(registry, deletion)
        .await
        .map_err(DeletionError::Unlisted)?;
    if !others.is_empty() {
        return Err(DeletionError::Shared(others));
    }
    let reference = Reference::Digest(deletion.digest.clone());
    // A repeat removes the same manifest. Only the run that created it gets here.
    match send_delete(registry, deletion.repository, &reference, async || Ok(())).await {
        Ok(DeleteResult::Done) => Ok(()),
        Ok(DeleteResult::Unsupported) => Err(DeletionError::Unsupported {
            host: deletion.repository.host().to_string(),
        }),
        Err(kind) => Err(refused(kind, NEEDS)),
    }
}

async fn send_delete(
    registry: &Registry,
    repository: &Repository,
    reference: &Reference,
    check: impl AsyncFn() -> Result<(), RegistryErrorKind>,
) -> Result<DeleteResult, RegistryErrorKind> {
    let request = RegistryRequest {
        method: Method::DELETE,
        repository,
        target: Target::Path(format!("manifests/{reference}")),
        // Some registries require a scope of their own for deletion and say so. Others give no token to a client that
        // requests it.
        access: Access::PullPush,
        accept: None,
        content: None,
        first_byte: 0,
        condition: None,
        limit: ERROR_MAX_BYTES,
    };
    let attempt = || async {
        check().await?;
        write_once(&registry.sender, &request).await
    };
    let response = registry
        .sender
        .with_retries(&request.text(), attempt)
        .await?;
    match response.status.as_u16() {
        200 | 202 | 204 => Ok(DeleteResult::Done),
        404 if presence(&response) == Presence::Absent => Ok(DeleteResult::Done),
        _ if is_unsupported(&response) => Ok(DeleteResult::Unsupported),
        _ => Err(RegistryErrorKind::refused(&response)),
    }
}

fn is_unsupported(response: &Response) -> bool {
    let refusal = ErrorResponse::of(response);
    let codes = ["UNSUPPORTED", "DIGEST_INVALID"];
    match refusal.status {
        405 | 501 => true,
        400 | 404 => codes.iter().any(|code| refusal.has_code(code)),
        _ => false,
    }
}

/// Returns every other tag with the digest.
pub(super) async fn others(
    registry: &Registry,
    deletion: TagDeletion<'_>,
) -> Result<Vec<String>, RegistryErrorKind> {
    let is_doomed = |tag: &String| deletion.tags.iter().any(|own| own.as_str() == tag);
    let mut tags = list(registry, deletion.repository).await?;
    // A list without a tag that is known to exist may lack others too.
    let is_listed = |tag: &Tag| tags.iter().any(|listed| listed == tag.as_str());
    if !deletion.tags.iter().all(is_listed) {
        let why = "it does not contain the tag to delete";
        return Err(RegistryErrorKind::Listing(why.to_owned()));
    }
    tags.retain(|tag| !is_doomed(tag));
    if tags.len() > TAGS_MAX {
        return Err(RegistryErrorKind::Listing(format!(
            "there are {} other tags",
            tags.len()
        )));
    }
    let reads = tags.into_iter().map(|tag| async move {
        let holds = holds(registry, deletion, &tag).await?;
        Ok::<_, RegistryErrorKind>(holds.then_some(tag))
    });
    let found = stream::iter(reads).buffer_unordered(TAG_READS_PARALLEL);
    let found: Vec<Option<String>> = found.try_collect().await?;
    let mut others: Vec<String> = found.into_iter().flatten().collect();
    others.sort();
    Ok(others)
}

async fn holds(
    registry: &Registry,
    deletion: TagDeletion<'_>,
    tag: &str,
) -> Result<bool, RegistryErrorKind> {
    let tag: Tag = tag.parse().map_err(|_| {
        RegistryErrorKind::Listing("it contains an entry that is not a tag".to_owned())
    })?;
    let reference = Reference::Tag(tag);
    let current: Option<Digest> = registry
        .manifest_digest(deletion.repository, &reference)
        .await
        .map_err(|error| error.kind)?;
    Ok(current.as_ref() == Some(deletion.digest))
}

async fn list(
    registry: &Registry,
    repository: &Repository,
) -> Result<Vec<String>, RegistryErrorKind> {
    let mut tags = Vec::new();
    let mut target = Target::Path("tags/list".to_owned());
    for _ in 0..PAGES_MAX {
        let request = RegistryRequest {
            target,
            ..RegistryRequest::get(repository, String::new(), PAGE_MAX_BYTES)
        };
        let sent = send_read(&registry.sender, &request, Reach::OwnHost);
        let ReadResponse { response, .. } = sent.await?;
        if response.status != 200 {
            return Err(RegistryErrorKind::refused(&response));
        }
        let page: Page = serde_json::from_slice(&response.body)
            .map_err(|_| RegistryErrorKind::Listing("it is not a list of tags".to_owned()))?;
        tags.extend(page.tags.unwrap_or_default());
        match next_page(&response)? {
            Some(next) => target = Target::Address(next),
            None => return Ok(tags),
        }
    }
    Err(RegistryErrorKind::Listing(format!(
        "it does not end after {PAGES_MAX} pages"
    )))
}
