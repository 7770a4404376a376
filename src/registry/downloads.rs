//! Downloads blobs. Most registries redirect to a storage. The redirect is followed without credentials, unless it
//! points to the registry itself.

use reqwest::Url;
use reqwest::header::LOCATION;

use super::error::RegistryErrorKind;
use super::error_response::printable;
use super::response::shown;
use super::sender::{RegistryRequest, RequestSender, Target};
use super::streaming_response::StreamingResponse;
use crate::http::Response;

const REDIRECTS_MAX: usize = 5;

/// Requests a blob once and follows redirects. After a redirect, any status but 200 is an error, because the
/// registry has the blob. The caller interprets the registry's own response.
pub(super) async fn open_blob(
    sender: &RequestSender,
    question: &RegistryRequest<'_>,
) -> Result<StreamingResponse, RegistryErrorKind> {
    let mut opened = sender.open_once(question).await?;
    if !is_redirect(&opened.answer) {
        return Ok(opened);
    }
    let registry = opened.answer.url.origin();
    for _ in 0..REDIRECTS_MAX {
        let next = location(&opened.answer)?;
        if let Err(reason) = sender.transport().check_hop(&opened.answer.url, &next) {
            return Err(refused_address(&next, reason));
        }
        let is_own = next.origin() == registry;
        let question = RegistryRequest {
            target: Target::Address(next),
            ..RegistryRequest::get(question.repository, String::new(), question.limit)
        };
        // SECURITY: credentials are sent only to the registry.
        opened = if is_own {
            sender.open_once(&question).await?
        } else {
            sender.open_elsewhere(&question).await?
        };
        if opened.answer.status == 200 {
            return Ok(opened);
        }
        if !is_redirect(&opened.answer) {
            return Err(RegistryErrorKind::refused(&opened.answer));
        }
    }
    Err(refused_address(
        &opened.answer.url,
        "redirects again after five redirects",
    ))
}

fn is_redirect(answer: &Response) -> bool {
    matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the `Location` of a response, resolved against the address of the request.
pub(super) fn location(answer: &Response) -> Result<Url, RegistryErrorKind> {
    let text = answer.header(LOCATION.as_str()).unwrap_or_default();
    if text.is_empty() {
        return Err(refused_address(&answer.url, "names no `Location`"));
    }
    let mut url = answer
        .url
        .join(text)
        .map_err(|_| RegistryErrorKind::Address {
            address: printable(text.split('?').next().unwrap_or_default(), 200),
            reason: "is not a valid URL",
        })?;
    url.set_fragment(None);
    Ok(url)
}

pub(super) fn refused_address(url: &Url, reason: &'static str) -> RegistryErrorKind {
    RegistryErrorKind::Address {
        address: shown(url),
        reason,
    }
}
