//! The private parsers of this module, for the table in `src/fuzz`.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{
    HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use tokio::time::Instant;

use super::super::challenge::{Challenge, HEADER_MAX_BYTES, choose};
use super::super::classify::{Listing, Presence, listing, presence};
use super::super::credential::Scope;
use super::super::ecr::Ecr;
use super::super::error_response::{ErrorResponse, printable};
use super::super::transport::Transport;
use super::super::{
    asked_wait, docker_config, downloads, referrer_list, referrers, token, token_grants,
};
use super::{Certificates, Client, Events, Proxies, RetryPolicy};
use crate::domain::Digest;
use crate::fuzz::{Parser, of_bytes, of_text};
use crate::http::{Response, retry_after};

fn answer(status: u16, header: HeaderName, value: &[u8], body: &[u8]) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.append(header, value);
    }
    Response {
        url: "https://registry.test/v2/o/r/referrers/x".parse().unwrap(),
        status: status.try_into().unwrap(),
        headers,
        body: body.to_vec(),
    }
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(crate) fn parsers() -> Vec<Parser> {
    let errors = [
        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"retry-after: 10.3ms, allowed: 2000/minute","detail":{}}]}"#.to_vec(),
        br#"{"__type":"com.amazonaws#AccessDeniedException","Message":"no"}"#.to_vec(),
    ];
    let page = br#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","annotations":{"a":"b"}}]}"#;
    let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="},"ghcr.io/o":{"username":"u","password":"p"},"r.test":{"identitytoken":"t"}},"credsStore":"x","credHelpers":{"a.test":"ecr-login"}}"#;
    let wire = Transport::new(
        Client::new(&Certificates::default(), Proxies::default()).unwrap(),
        Vec::new(),
        RetryPolicy::default(),
        Events::silent(),
    );
    vec![
        of_text(
            "WWW-Authenticate",
            "src/registry/challenge.rs",
            &[
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:o/r:pull""#,
                r#"Negotiate oRkwF6A==, Basic realm="x", BEARER Realm = https://r/t"#,
            ],
            challenge,
        ),
        of_bytes(
            "Link",
            "src/registry/referrers.rs",
            vec![br#"</v2/o/r?n=2>; rel="next", <x,y>; title="a"; REL=next"#.to_vec()],
            |bytes| match referrers::next_page(&answer(200, LINK, bytes, b"")) {
                Ok(Some(next)) => {
                    assert_eq!(next.origin().ascii_serialization(), "https://registry.test");
                    true
                }
                Ok(None) | Err(_) => false,
            },
        ),
        of_bytes(
            "list of referrers",
            "src/registry/referrer_list.rs",
            vec![page.to_vec()],
            |bytes| referrer_list::read_list::<Digest>(bytes, 0).is_ok(),
        ),
        of_bytes(
            "Location",
            "src/registry/downloads.rs",
            vec![
                b"https://storage.test/b?sig=x#y".to_vec(),
                b"../../x?a=b".to_vec(),
            ],
            |bytes| downloads::location(&answer(307, LOCATION, bytes, b"")).is_ok(),
        ),
        of_bytes(
            "Retry-After",
            "src/http/response.rs",
            vec![b"120".to_vec(), b"Sun, 06 Nov 2094 08:49:37 GMT".to_vec()],
            |bytes| {
                let answer = answer(429, RETRY_AFTER, bytes, b"");
                retry_after(&answer.headers, SystemTime::now()).is_some()
            },
        ),
        of_text(
            "a wait in words",
            "src/registry/asked_wait.rs",
            &["x retry-after: 1h2m3.5s, allowed: 9"],
            |text| asked_wait::asked_wait(text).is_some(),
        ),
        of_bytes(
            "error body",
            "src/registry/error_response.rs",
            errors.to_vec(),
            |bytes| {
                let answer = answer(404, LINK, b"", bytes);
                let refusal = ErrorResponse::of(&answer);
                let shown = refusal.to_string();
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
                assert!(shown.chars().count() < 2000, "{shown:?}");
                let absent = presence(&answer) == Presence::Absent;
                assert!(!absent || !refusal.codes.is_empty());
                assert!(listing(&answer) == Listing::NoApi);
                !refusal.codes.is_empty()
            },
        ),
        of_text(
            "text of others",
            "src/registry/error_response.rs",
            &["a\n b"],
            |text| {
                let shown = printable(text, 50);
                assert!(!shown.chars().any(char::is_control) && shown.chars().count() <= 51);
                true
            },
        ),
        of_bytes(
            "docker config",
            "src/registry/docker_config.rs",
            vec![config.to_vec()],
            |bytes| docker_config::read(bytes, "config.json").is_ok(),
        ),
        of_text(
            "`auth` of a docker config",
            "src/registry/docker_config.rs",
            &["me:password"],
            |text| {
                let encoded = STANDARD.encode(text);
                let config =
                    serde_json::json!({"auths": {"r.test": {"auth": encoded}}}).to_string();
                docker_config::read(config.as_bytes(), "config.json").is_ok()
            },
        ),
        of_text(
            "key of credentials",
            "src/registry/credential.rs",
            &["ghcr.io/o", "https://index.docker.io/v1/"],
            |text| text.parse::<Scope>().is_ok(),
        ),
        of_text(
            "host of Amazon's",
            "src/registry/ecr.rs",
            &[
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "public.ecr.aws",
            ],
            |text| text.parse().is_ok_and(|host| Ecr::of(&host).is_some()),
        ),
        of_bytes(
            "token",
            "src/registry/token.rs",
            vec![
                br#"{"token":"t","access_token":"t","refresh_token":"r","expires_in":300}"#
                    .to_vec(),
                br#"{"access_token":"t","expires_in":"299.5"}"#.to_vec(),
            ],
            move |bytes| {
                let token = token::read(&wire, &answer(200, LINK, b"", bytes), Instant::now());
                token.is_ok_and(|token| token::sensitive(token.secret.expose()).is_some())
            },
        ),
        of_bytes(
            "what a token grants",
            "src/registry/token_grants.rs",
            vec![br#"{"access":[{"type":"repository","name":"o/r","actions":["pull"]}]}"#.to_vec()],
            |bytes| {
                let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(bytes));
                token_grants::token_lacks_push(&token, "o/r")
            },
        ),
    ]
}

fn challenge(text: &str) -> bool {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    let chosen = choose(&headers);
    if let Some(Challenge::Bearer(bearer)) = &chosen {
        assert!(!bearer.realm.is_empty());
        // Write the parsed value again, and parse it again.
        let quoted = bearer.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let again = format!("Bearer realm=\"{quoted}\"");
        headers.clear();
        // Escapes make the value longer, perhaps too long.
        let value = HeaderValue::from_bytes(again.as_bytes()).ok();
        if let Some(value) = value.filter(|value| value.len() <= HEADER_MAX_BYTES) {
            headers.append(WWW_AUTHENTICATE, value);
            let Some(Challenge::Bearer(again)) = choose(&headers) else {
                panic!("{again}");
            };
            assert_eq!(again.realm, bearer.realm);
        }
    }
    chosen.is_some()
}
