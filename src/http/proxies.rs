//! Proxies, from the variables that every HTTP client reads.
//!
//! reqwest reads them itself, but sends a request to `localhost` through the proxy as well unless `NO_PROXY` says
//! otherwise. Go's clients (Docker, crane, cosign) never do, and that is what users of those expect.

use reqwest::{NoProxy, Proxy};

use super::HttpError;

type Make = fn(String) -> reqwest::Result<Proxy>;

/// What is never asked through a proxy, whatever `NO_PROXY` says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies that `lookup`, a view of the environment, names; for plain HTTP, for HTTPS, for both.
pub(super) fn from_environment(
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Proxy>, HttpError> {
    let either = |upper: &str| {
        let given = lookup(upper).filter(|value| !value.is_empty());
        given.or_else(|| lookup(&upper.to_ascii_lowercase()).filter(|value| !value.is_empty()))
    };
    let unproxied = match either("NO_PROXY") {
        Some(list) => format!("{list},{LOOPBACK}"),
        None => LOOPBACK.to_owned(),
    };
    // SECURITY: under CGI, `HTTP_PROXY` is a header of the client (CVE-2016-5385).
    let is_cgi = lookup("REQUEST_METHOD").is_some();
    let kinds: [(&'static str, Make); 3] = [
        ("HTTP_PROXY", |address| Proxy::http(address)),
        ("HTTPS_PROXY", |address| Proxy::https(address)),
        ("ALL_PROXY", |address| Proxy::all(address)),
    ];
    let mut proxies = Vec::new();
    for (variable, make) in kinds {
        if is_cgi && variable == "HTTP_PROXY" {
            continue;
        }
        if let Some(address) = either(variable) {
            let proxy = make(address).map_err(|_| HttpError::Proxy { variable })?;
            proxies.push(proxy.no_proxy(NoProxy::from_string(&unproxied)));
        }
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers every connection with `status` and the name of nobody.
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
    async fn this_machine_is_asked_directly_and_others_through_the_proxy() {
        let proxy = listen("299 Proxy").await;
        let direct = listen("200 OK").await;
        let lookup = |name: &str| (name == "http_proxy").then(|| proxy.to_string());
        let mut builder = reqwest::Client::builder().tls_certs_only([]).no_proxy();
        for proxy in from_environment(lookup).unwrap() {
            builder = builder.proxy(proxy);
        }
        let client = builder.build().unwrap();
        let status = async |url: String| client.get(url).send().await.unwrap().status().as_u16();
        assert_eq!(status(format!("http://{direct}/")).await, 200);
        assert_eq!(
            status(format!("http://localhost:{}/", direct.port())).await,
            200
        );
        assert_eq!(status("http://registry.invalid/".to_owned()).await, 299);
    }

    #[test]
    fn value_that_is_no_address_is_refused_by_the_name_of_its_variable() {
        let lookup = |name: &str| (name == "HTTPS_PROXY").then(|| "http://[".to_owned());
        let error = from_environment(lookup).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`HTTPS_PROXY` is not the address of a proxy"
        );
    }

    #[test]
    fn empty_variable_is_one_that_is_not_given() {
        assert!(
            from_environment(|_| Some(String::new()))
                .unwrap()
                .is_empty()
        );
    }
}
