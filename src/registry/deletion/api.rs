//! Sends requests, with retries, to a service beside the registry that offers what the protocol lacks.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use super::checked_tag::CheckedTag;
use super::undeleted::DeletionError;
use crate::domain::Host;
use crate::http::Response;
use crate::registry::client::Registry;
use crate::registry::error::RegistryErrorKind;
use crate::registry::error_response::ErrorResponse;
use crate::registry::host_features::Scheme;

const RESPONSE_MAX_BYTES: u64 = 4 << 20;

/// An idempotent request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) host: &'a str,
    /// The path, with its query if there is one. Every part is escaped.
    pub(super) path: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) accept: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) content: Option<Value>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, host: &'a str, path: String) -> Self {
        Self {
            method,
            host,
            path,
            authorization: None,
            accept: "application/json",
            headers: &[],
            content: None,
        }
    }

    /// Sends the request, with retries. Returns the response, whatever its status, unless another attempt may change
    /// it.
    pub(super) async fn send(&self, registry: &Registry) -> Result<Response, RegistryErrorKind> {
        registry
            .sender
            .with_retries(&self.text(), || self.send_once(registry))
            .await
    }

    /// Sends the request, a deletion, each attempt only if the tag is unchanged. Returns the response, whatever its
    /// status, or `None` if an earlier attempt deleted the tag.
    pub(super) async fn send_for(
        &self,
        registry: &Registry,
        tag: CheckedTag<'_>,
        needs: &'static str,
    ) -> Result<Option<Response>, DeletionError> {
        let attempt = async || self.send_once(registry).await;
        tag.send(&self.text(), needs, attempt).await
    }

    fn text(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {}{path}", self.method, self.host)
    }

    async fn send_once(&self, registry: &Registry) -> Result<Response, RegistryErrorKind> {
        let transport = registry.sender.transport();
        let unusable = |cause: String| RegistryErrorKind::never_asked(self.host, cause);
        let host: Host = self
            .host
            .parse()
            .map_err(|_| unusable("it is not a host".to_owned()))?;
        let scheme = transport.scheme(&host).unwrap_or(Scheme::Https).as_str();
        let url = Url::parse(&format!("{scheme}://{}{}", self.host, self.path))
            .map_err(|error| unusable(error.to_string()))?;
        let mut request = transport
            .request(self.method.clone(), url)
            .header(ACCEPT, self.accept);
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(content) = &self.content {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(content.to_string());
        }
        let request = request
            .build()
            .map_err(|error| RegistryErrorKind::not_built(self.host, &error))?;
        let response = transport.send(request, RESPONSE_MAX_BYTES).await?;
        if !response.status.is_success() && ErrorResponse::of(&response).is_transient() {
            Err(RegistryErrorKind::refused(&response))
        } else {
            Ok(response)
        }
    }
}

/// Escapes one part of a path.
pub(super) fn escaped(part: &str) -> String {
    // Names and tags contain no other characters that need escaping.
    part.replace('%', "%25").replace('/', "%2F")
}
