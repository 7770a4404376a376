//! Requests to Sigstore's services: responses of limited size, and retries.

use std::time::{Duration, SystemTime};

use reqwest::{RequestBuilder, Url};

use super::error::{SigstoreErrorKind, shown};
use crate::domain::{Events, RetryPolicy};
use crate::http::{
    BodyError, Client, RequestTimer, Response, ServerTask, Transient, TransportError, read,
    retry_after, with_retries,
};

/// The maximum length of a response from a Sigstore service.
const RESPONSE_MAX_BYTES: u64 = 1 << 20;
/// The time limit for a response. Rekor v2 responds once its entry is integrated, which takes a second or two.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The length of an error's body that is printed.
const MESSAGE_MAX_CHARS: usize = 300;

/// The client for Sigstore's services, with their retry policy.
#[derive(Debug, Clone)]
pub(super) struct ServiceClient {
    http: Client,
    retry_policy: RetryPolicy,
    events: Events,
}

impl ServiceClient {
    /// Makes a client that retries as `retry_policy` says.
    pub(super) fn new(http: Client, retry_policy: RetryPolicy, events: &Events) -> Self {
        Self {
            http,
            retry_policy,
            events: events.clone(),
        }
    }

    /// Returns the client for connections.
    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// Returns the handle that reports retries.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Returns a builder for a GET.
    pub(super) fn get(&self, url: &Url) -> RequestBuilder {
        self.http.get(url.clone())
    }

    /// Returns a builder for a POST.
    pub(super) fn post(&self, url: &Url) -> RequestBuilder {
        self.http.post(url.clone())
    }

    /// Runs `attempt` until it succeeds, fails permanently, or the policy's limits are reached. `what` names it in the
    /// line for each retry.
    pub(super) async fn with_retries<T, E, Run>(
        &self,
        what: &str,
        attempt: impl FnMut() -> Run,
    ) -> Result<T, E>
    where
        E: Transient,
        Run: Future<Output = Result<T, E>>,
    {
        with_retries(self.retry_policy, &self.events, what, attempt).await
    }

    /// Sends `request` to `url` once and reads any response, up to [`RESPONSE_MAX_BYTES`].
    pub(super) async fn send(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Response, SigstoreErrorKind> {
        let failed = |source| SigstoreErrorKind::Transport {
            url: shown(url),
            source,
        };
        let request = request.timeout(ANSWER_TIMEOUT).build();
        let request = request.map_err(|error| failed(TransportError::of(&error)))?;
        let mut timer = RequestTimer::start(&self.events, &request);
        let incoming = self.http.execute(request, ServerTask::Answer).await;
        let incoming = incoming.map_err(failed)?;
        let mut response = incoming.head();
        let body = read(incoming, RESPONSE_MAX_BYTES).await;
        response.body = body.map_err(|error| match error {
            BodyError::Broken(source) => failed(*source),
            BodyError::TooLong { limit } => SigstoreErrorKind::TooLong {
                url: shown(url),
                limit,
            },
        })?;
        timer.answered(response.status);
        Ok(response)
    }

    /// Sends `request` to `url` once and returns the body. Any status but 2xx is an error.
    pub(super) async fn send_ok(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Vec<u8>, SigstoreErrorKind> {
        let response = self.send(url, request).await?;
        if response.status.is_success() {
            Ok(response.body)
        } else {
            Err(status_error(&response))
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, RETRY_AFTER};

    #[test]
    fn wait_until_a_date_is_honoured_as_one_in_seconds_is() {
        let in_an_hour = SystemTime::now() + Duration::from_hours(1);
        for value in ["3600", &httpdate::fmt_http_date(in_an_hour)] {
            let error = status_error(&Response {
                url: "https://rekor.example/api".parse().unwrap(),
                status: reqwest::StatusCode::SERVICE_UNAVAILABLE,
                headers: HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]),
                body: Vec::new(),
            });
            let wait = error.retry_after().unwrap();
            let minutes = Duration::from_mins(59)..=Duration::from_hours(1);
            assert!(minutes.contains(&wait), "{value}: {wait:?}");
        }
    }
}
