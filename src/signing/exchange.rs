//! One request and its response of limited size, and the addresses that are allowed.

use std::time::{Duration, SystemTime};

use reqwest::{RequestBuilder, Url};

use super::error::{SigstoreErrorKind, shown};
use crate::domain::{Events, is_loopback};
use crate::http::{BodyError, Client, Response, TransportError, Watch, read, retry_after};

/// The maximum length of a response from a Sigstore service.
pub(super) const ANSWER_MAX_BYTES: u64 = 1 << 20;
/// The time limit for a response. Rekor v2 responds once its entry is integrated, which takes a second or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The length of an error's body that is printed.
const MESSAGE_MAX_CHARS: usize = 300;

/// The base address of a service: https, or plain http on a loopback host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint(Url);

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, SigstoreErrorKind> {
        let refused = || SigstoreErrorKind::Address {
            url: text.split('?').next().unwrap_or_default().to_owned(),
        };
        let url = Url::parse(text).map_err(|_| refused())?;
        let host = url.host_str().ok_or_else(refused)?;
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(host) => Ok(Self(url)),
            _ => Err(refused()),
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The address of the server alone, if it uses TLS.
    pub(super) fn origin(&self) -> Option<Url> {
        let mut url = self.0.clone();
        url.set_path("/");
        url.set_query(None);
        (url.scheme() == "https").then_some(url)
    }

    /// The address of `path` under this one. The base's own path is kept, its query is not.
    pub(super) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url.set_query(None);
        url
    }
}

/// Converts `response` to an error, for a caller that needs success.
pub(super) fn status_error(response: &Response) -> SigstoreErrorKind {
    let said = String::from_utf8_lossy(&response.body);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|each| !each.is_control()).collect();
    let message = if said.is_empty() {
        let reason = response.status.canonical_reason();
        reason.unwrap_or("no reason given").to_owned()
    } else {
        said.chars().take(MESSAGE_MAX_CHARS).collect()
    };
    SigstoreErrorKind::Status {
        url: shown(&response.url),
        status: response.status.as_u16(),
        message,
        retry_after: retry_after(&response.headers, SystemTime::now()),
    }
}

/// Sends `request` to `url` and reads any response, up to [`ANSWER_MAX_BYTES`].
pub(super) async fn exchange(
    http: &Client,
    url: &Url,
    request: RequestBuilder,
    events: &Events,
) -> Result<Response, SigstoreErrorKind> {
    let failed = |source| SigstoreErrorKind::Transport {
        url: shown(url),
        source,
    };
    let request = request.timeout(ANSWER_TIMEOUT).build();
    let request = request.map_err(|error| failed(TransportError::of(&error)))?;
    let mut watch = Watch::start(events, &request);
    let incoming = http.execute(request).await.map_err(failed)?;
    let mut response = incoming.head();
    response.body = match read(incoming, ANSWER_MAX_BYTES).await {
        Ok(body) => body,
        Err(BodyError::Broken(source)) => return Err(failed(*source)),
        Err(BodyError::TooLong { limit }) => {
            return Err(SigstoreErrorKind::TooLong {
                url: shown(url),
                limit,
            });
        }
    };
    watch.answered(response.status);
    Ok(response)
}

/// Calls [`exchange`] and treats any status but 2xx as an error.
pub(super) async fn exchange_ok(
    http: &Client,
    url: &Url,
    request: RequestBuilder,
    events: &Events,
) -> Result<Vec<u8>, SigstoreErrorKind> {
    let answer = exchange(http, url, request, events).await?;
    if answer.status.is_success() {
        Ok(answer.body)
    } else {
        Err(status_error(&answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for allowed in [
            "https://fulcio.example",
            "http://127.0.0.1:1/x",
            "http://[::1]:2",
            "http://localhost",
            "http://a.localhost",
        ] {
            assert!(Endpoint::parse(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "http://fulcio.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
            "http://localhost.",
            "ftp://localhost",
            "",
            "fulcio",
        ] {
            assert!(
                matches!(
                    Endpoint::parse(refused),
                    Err(SigstoreErrorKind::Address { .. })
                ),
                "{refused}"
            );
        }
    }

    #[test]
    fn paths_are_joined_under_the_base() {
        for (base, joined) in [
            ("https://a.example", "https://a.example/api/v1/x"),
            ("https://a.example/", "https://a.example/api/v1/x"),
            (
                "https://a.example/rekor/?k=v",
                "https://a.example/rekor/api/v1/x",
            ),
        ] {
            assert_eq!(
                Endpoint::parse(base).unwrap().join("api/v1/x").as_str(),
                joined
            );
        }
    }
}
