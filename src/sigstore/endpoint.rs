//! The addresses of services that requests are allowed to.

use reqwest::Url;

use super::error::SigstoreErrorKind;
use crate::domain::is_loopback;

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
