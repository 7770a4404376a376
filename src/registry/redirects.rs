//! Follows redirects. SPEC: registries may redirect any request, and credentials do not cross hosts.
//!
//! | request | followed |
//! |---|---|
//! | GET and HEAD of blobs and manifests | to any host that requests may be sent to |
//! | lists of tags | within the host; a list of another host says nothing |
//! | GET of referrers | within the host; a redirect to another host means that there is no such API (GHCR, 303) |
//! | writes | 307 and 308 within the host; any other redirect is an error, as for a streamed body, which cannot be sent again |

use reqwest::header::LOCATION;
use reqwest::{Method, Url};

use super::error::RegistryErrorKind;
use super::error_response::printable;
use super::response::shown;
use super::sender::{RegistryRequest, RequestSender, Target};
use super::streaming_response::StreamingResponse;
use crate::domain::Repository;
use crate::http::Response;

const REDIRECTS_MAX: usize = 5;

/// The hosts to which a read is redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Any host. Other hosts than the registry get no credentials.
    AnyHost,
    /// The registry. A redirect to another host is the response.
    OwnHost,
}

/// The way of a response to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Without a redirect.
    Direct,
    /// After redirects, at last within the registry.
    OwnHost,
    /// After redirects, from another host.
    OtherHost,
}

/// The response to a read.
pub(super) struct ReadResponse {
    pub(super) response: Response,
    /// Only a response without a redirect proves that content is absent: a login page or any other host answers 404.
    pub(super) origin: Origin,
}

/// Requests a blob once and follows redirects. After a redirect, any status but 200 (206 for a part) is an error, because
/// the registry has the blob. The caller interprets the registry's own response.
pub(super) async fn open_blob(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
) -> Result<StreamingResponse, RegistryErrorKind> {
    let (stream, hops) = follow(sender, request, Reach::AnyHost).await?;
    let is_part = request.first_byte > 0 && stream.head.status == 206;
    if hops > 0 && stream.head.status != 200 && !is_part {
        return Err(RegistryErrorKind::refused(&stream.head));
    }
    Ok(stream)
}

/// Sends a read, follows redirects, and retries like [`RequestSender::send`].
pub(super) async fn send_read(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
    reach: Reach,
) -> Result<ReadResponse, RegistryErrorKind> {
    let attempt = || async {
        let (stream, hops) = follow(sender, request, reach).await?;
        let is_own = is_on_registry(&stream.head.url, request.repository);
        let origin = match (hops, is_own) {
            (0, _) => Origin::Direct,
            (_, true) => Origin::OwnHost,
            (_, false) => Origin::OtherHost,
        };
        let response = stream.read(request.limit).await?;
        Ok(ReadResponse { response, origin })
    };
    sender.with_retries(&request.text(), attempt).await
}

/// Sends an idempotent write, follows redirects within the host, and retries like [`RequestSender::send`].
pub(super) async fn send_write(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
) -> Result<Response, RegistryErrorKind> {
    let attempt = || write_once(sender, request);
    sender.with_retries(&request.text(), attempt).await
}

/// Sends a write once, and follows redirects within the host. Any other redirect is the response.
pub(super) async fn write_once(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
) -> Result<Response, RegistryErrorKind> {
    let (stream, _) = follow(sender, request, Reach::OwnHost).await?;
    stream.read(request.limit).await
}

/// Sends a request once and follows redirects. Returns the response and the number of redirects.
async fn follow(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
    reach: Reach,
) -> Result<(StreamingResponse, usize), RegistryErrorKind> {
    let mut stream = open(sender, request).await?;
    for hops in 0..REDIRECTS_MAX {
        if !is_followed(&stream.head, &request.method) {
            return Ok((stream, hops));
        }
        let next = match (location(&stream.head), reach) {
            (Ok(next), Reach::OwnHost) if !is_on_registry(&next, request.repository) => {
                return Ok((stream, hops));
            }
            (Err(_), Reach::OwnHost) => return Ok((stream, hops)),
            (next, _) => next?,
        };
        if let Err(reason) = sender.transport().check_hop(&stream.head.url, &next) {
            return Err(refused_address(&next, reason));
        }
        let hop = RegistryRequest {
            target: Target::Address(next),
            ..request.clone()
        };
        stream = open(sender, &hop).await?;
    }
    Err(refused_address(
        &stream.head.url,
        "redirects again after five redirects",
    ))
}

/// Sends a request once. SECURITY: credentials are sent only to the registry.
async fn open(
    sender: &RequestSender,
    request: &RegistryRequest<'_>,
) -> Result<StreamingResponse, RegistryErrorKind> {
    match &request.target {
        Target::Address(url) if !is_on_registry(url, request.repository) => {
            sender.open_without_credentials(request).await
        }
        Target::Address(_) | Target::Path(_) => sender.open_stream(request).await,
    }
}

pub(super) fn is_on_registry(url: &Url, repository: &Repository) -> bool {
    // Parsed in the same way: `host:443` is `host` for https, and an IPv6 address has many forms.
    let registry = format!("{}://{}/", url.scheme(), repository.host().api());
    Url::parse(&registry).is_ok_and(|registry| registry.origin() == url.origin())
}

/// True if the response is a redirect that the method allows to follow. A write must be sent again unchanged.
fn is_followed(response: &Response, method: &Method) -> bool {
    let is_read = *method == Method::GET || *method == Method::HEAD;
    match response.status.as_u16() {
        301..=303 => is_read,
        307 | 308 => true,
        _ => false,
    }
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
