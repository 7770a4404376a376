//! The deletion of a manifest or a tag by the protocol.

use reqwest::Method;

use super::undeleted::{DeletionError, refused};
use crate::domain::{Digest, Reference, Repository};
use crate::http::Response;
use crate::registry::auth::Access;
use crate::registry::classify::{Presence, presence};
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::error_response::ErrorResponse;
use crate::registry::redirects::send_write;
use crate::registry::response::ERROR_MAX_BYTES;
use crate::registry::sender::{RegistryRequest, Target};

/// The permission that the registry may deny.
pub(super) const NEEDS: &str = "the right to delete";

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeleteResult {
    /// The registry deleted the tag or manifest.
    Deleted,
    /// The tag or manifest did not exist.
    Absent,
    /// The registry does not delete this kind of reference.
    Unsupported,
}

/// Returns the request.
pub(super) fn delete_request<'a>(
    repository: &'a Repository,
    reference: &Reference,
) -> RegistryRequest<'a> {
    RegistryRequest {
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
    }
}

/// Reads the response.
pub(super) fn delete_result(response: &Response) -> Result<DeleteResult, DeletionError> {
    match response.status.as_u16() {
        200 | 202 | 204 => Ok(DeleteResult::Deleted),
        404 if presence(response) == Presence::Absent => Ok(DeleteResult::Absent),
        _ if is_unsupported(response) => Ok(DeleteResult::Unsupported),
        _ => Err(refused(RegistryErrorKind::refused(response), NEEDS)),
    }
}

/// Deletes a manifest with all its tags.
pub(super) async fn delete_digest(
    registry: &Registry,
    repository: &Repository,
    digest: &Digest,
) -> Result<DeleteResult, DeletionError> {
    let reference = Reference::Digest(digest.clone());
    let request = delete_request(repository, &reference);
    let response = send_write(&registry.sender, &request).await;
    delete_result(&response.map_err(|kind| refused(kind, NEEDS))?)
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
