//! Proxies from the usual environment variables, and the hosts that are reached without them.
//!
//! reqwest can read these variables itself, with two differences. It sends requests to `localhost` through the proxy
//! unless `NO_PROXY` excludes them. It ignores ports in `NO_PROXY`, which GitHub's runner documents. This module
//! follows Go's clients (Docker, crane, cosign), because their users expect it.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;

use super::HttpError;
use super::UsedProxy;
use super::no_proxy::NoProxyList;

/// Hosts that are never reached through a proxy, whatever `NO_PROXY` contains.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies of a run. The default is none.
#[derive(Clone, Default)]
pub struct Proxies(Arc<ProxyRules>);

#[derive(Default)]
struct ProxyRules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no_proxy: NoProxyList,
}

#[derive(Clone)]
struct Proxy {
    variable: &'static str,
    /// The address, with user name and password if the variable contains them.
    address: Url,
}

impl Proxies {
    /// Reads the proxies from the environment through `lookup`. Upper-case variables come first, then lower-case ones.
    /// `ALL_PROXY` is the default for both schemes.
    pub fn from_environment<'a>(
        lookup: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self, HttpError> {
        let either = |upper: &str| {
            let given = lookup(upper).filter(|value| !value.is_empty());
            given.or_else(|| lookup(&upper.to_ascii_lowercase()).filter(|value| !value.is_empty()))
        };
        let proxy = |variable: &'static str| match either(variable) {
            Some(text) => Proxy::parse(variable, text).map(Some),
            None => Ok(None),
        };
        let all = proxy("ALL_PROXY")?;
        // SECURITY: under CGI, the client sets `HTTP_PROXY` by a header (CVE-2016-5385).
        let http = match lookup("REQUEST_METHOD") {
            Some(_) => None,
            None => proxy("HTTP_PROXY")?,
        };
        let no_proxy = either("NO_PROXY").unwrap_or_default();
        Ok(Self(Arc::new(ProxyRules {
            http: http.or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY")?.or(all),
            no_proxy: NoProxyList::parse(&format!("{no_proxy},{LOOPBACK}")),
        })))
    }

    /// Returns the passwords in the proxy addresses.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let proxies = [&self.0.http, &self.0.https];
        let proxies = proxies.into_iter().flatten();
        proxies.filter_map(|proxy| proxy.address.password())
    }

    /// Returns the proxy for a request to `url`.
    pub(super) fn used_for(&self, url: &Url) -> Option<Box<UsedProxy>> {
        let proxy = self.of(url)?;
        let address = &proxy.address;
        Some(Box::new(UsedProxy {
            address: format!("{}://{}", address.scheme(), super::authority(address)),
            variable: proxy.variable,
            has_login: !address.username().is_empty(),
        }))
    }

    /// Returns the address of the proxy for a request to `url`, with its login.
    pub(super) fn address(&self, url: &Url) -> Option<Url> {
        self.of(url).map(|proxy| proxy.address.clone())
    }

    /// Returns a reqwest proxy that makes the same choice.
    pub(super) fn chooser(&self) -> reqwest::Proxy {
        let own = self.clone();
        reqwest::Proxy::custom(move |url| own.of(url).map(|proxy| proxy.address.clone()))
    }

    fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "http" => self.0.http.as_ref(),
            _ => self.0.https.as_ref(),
        };
        proxy.filter(|_| !self.0.no_proxy.contains(url))
    }
}

impl Proxy {
    fn parse(variable: &'static str, text: &str) -> Result<Self, HttpError> {
        let has_scheme = text.contains("://");
        let prefix = if has_scheme { "" } else { "http://" };
        let address = Url::parse(&format!("{prefix}{text}")).ok();
        // SECURITY: reqwest would bypass a proxy whose scheme it does not support.
        let usable = address.filter(|address| matches!(address.scheme(), "http" | "https"));
        usable
            .map(|address| Self { variable, address })
            .ok_or(HttpError::Proxy {
                variable,
                why: Self::likely_problem(text),
            })
    }

    /// Returns the likely reason why `text` is not the address of an HTTP proxy. It quotes nothing of the text.
    fn likely_problem(text: &str) -> &'static str {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        if scheme.to_ascii_lowercase().starts_with("socks") {
            return ": SOCKS proxies are not supported";
        }
        let login = text.rsplit_once('@').map_or("", |(login, _)| login);
        let login = login.split_once("://").map_or(login, |(_, login)| login);
        if login.contains(['#', '/', '?', '%', '@']) {
            return ": in user name and password, `#` is written as `%23`, `/` as `%2F`, `?` as `%3F`, `%` as `%25` and `@` as `%40`";
        }
        ""
    }
}

/// Prints no passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [&self.0.http, &self.0.https].map(|proxy| Some(proxy.as_ref()?.variable));
        formatter.debug_tuple("Proxies").field(&named).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Starts a server that answers every connection with `status` and an empty body.
    async fn listen(status: &'static str) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn this_machine_and_what_is_named_are_asked_directly_and_others_through_the_proxy() {
        let proxy = listen("299 Proxy").await;
        let direct = listen("200 OK").await;
        let port = direct.port();
        let (address, list) = (proxy.to_string(), format!("named.test,ported.test:{port}"));
        let proxies = Proxies::from_environment(|name| match name {
            "http_proxy" => Some(address.as_str()),
            "no_proxy" => Some(list.as_str()),
            _ => None,
        });
        let mut builder = reqwest::Client::builder().tls_certs_only([]).no_proxy();
        for name in ["named.test", "ported.test"] {
            builder = builder.resolve(name, direct);
        }
        let client = builder.proxy(proxies.unwrap().chooser()).build().unwrap();
        let status = async |url: String| client.get(url).send().await.unwrap().status().as_u16();
        for host in ["127.0.0.1", "localhost", "named.test", "ported.test"] {
            assert_eq!(
                status(format!("http://{host}:{port}/")).await,
                200,
                "{host}"
            );
        }
        assert_eq!(status("http://ported.test/".to_owned()).await, 299);
        assert_eq!(status("http://registry.invalid/".to_owned()).await, 299);
    }

    fn way(pairs: &[(&str, &'static str)], url: &str) -> Option<String> {
        let lookup = |name: &str| {
            let found = pairs.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| *value)
        };
        let proxies = Proxies::from_environment(lookup).unwrap();
        let way = proxies.used_for(&Url::parse(url).unwrap())?;
        Some(way.to_string())
    }

    #[test]
    fn proxy_is_the_one_for_the_scheme_in_capitals_or_small_letters_and_its_login_is_not_shown() {
        let url = "https://ghcr.io/v2/";
        let capital = ("HTTPS_PROXY", "http://me:hidden@one.test:3128/path");
        let small = ("https_proxy", "two.test:3128");
        let all = ("ALL_PROXY", "https://three.test");
        let one = "through the proxy `http://one.test:3128` (`HTTPS_PROXY`)";
        assert_eq!(way(&[capital, small, all], url).unwrap(), one);
        let two = "through the proxy `http://two.test:3128` (`HTTPS_PROXY`)";
        assert_eq!(way(&[("HTTPS_PROXY", ""), small, all], url).unwrap(), two);
        let three = "through the proxy `https://three.test` (`ALL_PROXY`)";
        assert_eq!(way(&[all], url).unwrap(), three);
        assert_eq!(way(&[capital], "http://ghcr.io/v2/"), None);
        assert_eq!(way(&[capital, ("NO_PROXY", "ghcr.io:443")], url), None);
        let cgi = [("HTTP_PROXY", "one.test"), ("REQUEST_METHOD", "GET")];
        assert_eq!(way(&cgi, "http://ghcr.io/v2/"), None);
    }

    #[test]
    fn password_is_known_as_a_secret_and_is_not_in_the_debug_text() {
        let lookup = |name: &str| (name == "HTTPS_PROXY").then_some("http://me:hidden@one.test");
        let proxies = Proxies::from_environment(lookup).unwrap();
        assert_eq!(proxies.secrets().collect::<Vec<_>>(), ["hidden"]);
        assert!(!format!("{proxies:?}").contains("hidden"));
    }

    #[test]
    fn value_that_is_no_address_is_refused_by_the_name_of_its_variable() {
        for (address, why) in [
            ("http://[", ""),
            ("http://", ""),
            ("socks5://one.test", ": SOCKS proxies are not supported"),
        ] {
            let lookup = |name: &str| (name == "HTTPS_PROXY").then_some(address);
            let error = Proxies::from_environment(lookup).unwrap_err();
            let text = "`HTTPS_PROXY` is not the address of an HTTP proxy (`http://HOST:PORT`)";
            assert_eq!(error.to_string(), format!("{text}{why}"), "{address}");
        }
    }

    #[test]
    fn empty_variable_is_one_that_is_not_given() {
        let proxies = Proxies::from_environment(|_| Some("")).unwrap();
        let url = Url::parse("https://ghcr.io/").unwrap();
        assert_eq!(proxies.used_for(&url), None);
    }
}
