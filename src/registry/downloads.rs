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
    request: &RegistryRequest<'_>,
) -> Result<StreamingResponse, RegistryErrorKind> {
    let mut stream = sender.open_stream(request).await?;
    if !is_redirect(&stream.head) {
        return Ok(stream);
    }
    let registry = stream.head.url.origin();
    for _ in 0..REDIRECTS_MAX {
        let next = location(&stream.head)?;
        if let Err(reason) = sender.transport().check_hop(&stream.head.url, &next) {
            return Err(refused_address(&next, reason));
        }
        let is_own = next.origin() == registry;
        let request = RegistryRequest {
            target: Target::Address(next),
            ..RegistryRequest::get(request.repository, String::new(), request.limit)
        };
        // SECURITY: credentials are sent only to the registry.
        stream = if is_own {
            sender.open_stream(&request).await?
        } else {
            sender.open_without_credentials(&request).await?
        };
        if stream.head.status == 200 {
            return Ok(stream);
        }
        if !is_redirect(&stream.head) {
            return Err(RegistryErrorKind::refused(&stream.head));
        }
    }
    Err(refused_address(
        &stream.head.url,
        "redirects again after five redirects",
    ))
}

fn is_redirect(response: &Response) -> bool {
    matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the `Location` of a response, resolved against the address of the request.
pub(super) fn location(response: &Response) -> Result<Url, RegistryErrorKind> {
    let text = response.header(LOCATION.as_str()).unwrap_or_default();
    if text.is_empty() {
        return Err(refused_address(&response.url, "names no `Location`"));
    }
    let mut url = response
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
