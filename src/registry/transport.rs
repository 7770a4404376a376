//! The transport that sends requests and receives responses, and the rule for hosts without TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::{Method, Request, Url};

use super::error::{NOT_HTTPS, RegistryErrorKind};
use super::host_features::{HostFeatures, Scheme};
use super::permits::HostPermits;
use super::response::unreachable;
use super::streaming_response::StreamingResponse;
use crate::domain::{Events, Host, RetryPolicy, may_be_loopback};
pub(super) use crate::http::authority;
use crate::http::{Client, RequestTimer, Response, ServerTask};

/// Connections, and the state of hosts at the connection level.
#[derive(Debug)]
pub(super) struct Transport {
    http: Client,
    insecure: Vec<Host>,
    pub(super) features: HostFeatures,
    /// The permits of each host. A slow host does not delay requests to others.
    permits: Mutex<BTreeMap<String, Arc<HostPermits>>>,
    pub(super) retry_policy: RetryPolicy,
    pub(super) events: Events,
}

impl Transport {
    pub(super) fn new(
        http: Client,
        insecure: Vec<Host>,
        retry_policy: RetryPolicy,
        events: Events,
    ) -> Self {
        Self {
            http,
            insecure,
            features: HostFeatures::default(),
            permits: Mutex::default(),
            retry_policy,
            events,
        }
    }

    /// Returns a builder for a request.
    pub(super) fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends `request` once and reads the response, whatever its status; `limit` bounds the body of a success.
    pub(super) async fn send(
        &self,
        request: Request,
        limit: u64,
    ) -> Result<Response, RegistryErrorKind> {
        let stream = self.open(request, ServerTask::Answer).await?;
        stream.read(limit).await
    }

    /// Sends `request` once and leaves the body of a success unread. Any other body is read as the text of an error.
    /// The server may be silent for as long as `task` takes.
    ///
    /// Every request of this module is sent here, except for the bodies of large uploads.
    pub(super) async fn open(
        &self,
        request: Request,
        task: ServerTask,
    ) -> Result<StreamingResponse, RegistryErrorKind> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let permit = self.permits(&url).permit().await;
        let timer = RequestTimer::start(&self.events, &request);
        let response = self.http.execute(request, task).await;
        let response = response.map_err(|error| unreachable(&url, error))?;
        StreamingResponse::new(response, &method, timer, Some(permit)).await
    }

    /// Returns the permits of the host of `url`.
    fn permits(&self, url: &Url) -> Arc<HostPermits> {
        let host = authority(url);
        let new = |host: &String| Arc::new(HostPermits::new(host.clone(), self.events.clone()));
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(permits.entry(host).or_insert_with_key(new))
    }

    /// True if an input names `host` as one for plain HTTP.
    pub(super) fn is_named_insecure(&self, host: &Host) -> bool {
        self.insecure.contains(host)
    }

    /// Returns the scheme of `host`, or `None` for a host of this machine without a request so far.
    pub(super) fn scheme(&self, host: &Host) -> Option<Scheme> {
        if self.is_named_insecure(host) {
            Some(Scheme::Http)
        } else if host.is_loopback() {
            self.features.scheme(host)
        } else {
            Some(Scheme::Https)
        }
    }

    /// Checks whether `from` may redirect to `to`.
    ///
    /// SECURITY: requests to `to` must be allowed, and a remote server must not redirect to this machine.
    pub(super) fn check_hop(&self, from: &Url, to: &Url) -> Result<(), &'static str> {
        let host = authority(to).parse::<Host>();
        let is_named = host.is_ok_and(|host| self.insecure.contains(&host));
        if is_here(to) && !is_here(from) && !is_named {
            return Err("is on this machine, though the registry is not");
        }
        self.check_speakable(to)
    }

    /// Checks whether requests to `url` are allowed.
    ///
    /// SECURITY: they must use TLS, or go to a host that is allowed without.
    pub(super) fn check_speakable(&self, url: &Url) -> Result<(), &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("contains a user name or a password");
        }
        let is_plain_host = || {
            authority(url)
                .parse::<Host>()
                .is_ok_and(|host| host.is_loopback() || self.insecure.contains(&host))
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_plain_host() => Ok(()),
            "http" => Err(NOT_HTTPS),
            _ => Err("is not a valid URL"),
        }
    }
}

/// True if `url` may point to this machine.
fn is_here(url: &Url) -> bool {
    url.host_str().is_some_and(may_be_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_insecure_hosts_are_spoken_to_without_tls() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        let transport = Transport::new(
            Client::for_tests().unwrap(),
            vec![host("10.0.0.1:5000")],
            RetryPolicy::default(),
            Events::silent(),
        );
        for (url, is_allowed) in [
            ("https://ghcr.io/token", true),
            ("http://ghcr.io/token", false),
            ("http://10.0.0.1:5000/token", true),
            ("http://10.0.0.1:5001/token", false),
            ("http://localhost:1/token", true),
            ("http://[::1]:1/token", true),
            ("http://localhost.example/token", false),
            ("https://me@ghcr.io/token", false),
            ("file:///token", false),
        ] {
            let allowed = transport.check_speakable(&Url::parse(url).unwrap());
            assert_eq!(allowed.is_ok(), is_allowed, "{url}");
        }
        assert_eq!(transport.scheme(&host("10.0.0.1:5000")), Some(Scheme::Http));
        assert_eq!(
            transport.scheme(&host("10.0.0.1:5001")),
            Some(Scheme::Https)
        );
        assert_eq!(transport.scheme(&host("localhost:1")), None);
    }

    #[test]
    fn nobody_elsewhere_sends_us_to_doors_of_this_machine() {
        let transport = Transport::new(
            Client::for_tests().unwrap(),
            vec!["localhost:5000".parse().unwrap()],
            RetryPolicy::default(),
            Events::silent(),
        );
        for (from, to, is_allowed) in [
            ("https://ghcr.io/v2/", "http://127.0.0.1:8080/admin", false),
            ("https://ghcr.io/v2/", "https://[::1]/admin", false),
            ("https://ghcr.io/v2/", "https://[::ffff:127.0.0.1]/", false),
            ("https://ghcr.io/v2/", "https://0.0.0.0:8080/", false),
            ("https://ghcr.io/v2/", "https://2130706433/", false),
            ("https://ghcr.io/v2/", "https://localhost./", false),
            ("https://ghcr.io/v2/", "https://a.localhost/", false),
            ("https://ghcr.io/v2/", "http://169.254.169.254/", false),
            ("https://ghcr.io/v2/", "http://localhost:5000/v2/", true),
            ("https://ghcr.io/v2/", "https://storage.example/blob", true),
            (
                "http://127.0.0.1:5000/v2/",
                "http://127.0.0.1:6000/blob",
                true,
            ),
        ] {
            let hop = transport.check_hop(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
            assert_eq!(hop.is_ok(), is_allowed, "{from} {to}");
        }
    }
}
