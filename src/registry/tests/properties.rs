//! The properties of the parsers that are private to this room.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{
    HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use tokio::time::Instant;

use super::super::challenge::{Challenge, HEADER_MAX_BYTES, choose};
use super::super::classify::{Listing, Presence, listing, presence};
use super::super::credential::CredentialScope;
use super::super::ecr::Ecr;
use super::super::error_response::{ErrorResponse, printable};
use super::super::transport::Transport;
use super::super::{
    docker_config, ghcr_retry_after, redirects, referrer_list, referrers, token, token_grants,
};
use super::{Client, Events, RetryPolicy};
use crate::domain::Digest;
use crate::http::{Response, retry_after};
use crate::properties::{of_bytes, of_text, properties};

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

properties! {
    challenge_is_read_again_as_written in "src/registry/challenge.rs" {
        let seeds = [
            r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:o/r:pull""#,
            r#"Negotiate oRkwF6A==, Basic realm="x", BEARER Realm = https://r/t"#,
        ];
        of_text(&seeds, challenge);
    }
    link_stays_on_its_host in "src/registry/referrers.rs" {
        let seeds = [
            r#"</v2/o/r?n=2>; rel="next", <x,y>; title="a"; REL=next"#,
            "<https://registry.test/v2/o/r>; rel=next",
        ];
        of_bytes(&seeds, |bytes| {
            let next = referrers::next_page(&answer(200, LINK, bytes, b"")).ok().flatten();
            next.inspect(|next| assert_eq!(next.origin().ascii_serialization(), "https://registry.test")).is_some()
        });
    }
    list_of_referrers_is_read_or_refused in "src/registry/referrer_list.rs" {
        let page = r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","annotations":{"a":"b"}}]}"#;
        of_bytes(&[page], |bytes| referrer_list::read_list::<Digest>(bytes, 0).is_ok());
    }
    location_is_read_or_refused in "src/registry/redirects.rs" {
        of_bytes(&["https://storage.test/b?sig=x#y", "../../x?a=b"], |bytes| {
            redirects::location(&answer(307, LOCATION, bytes, b"")).is_ok()
        });
    }
    retry_after_is_read_or_ignored in "src/http/response.rs" {
        of_bytes(&["120", "Sat, 06 Nov 2094 08:49:37 GMT"], |bytes| {
            retry_after(&answer(429, RETRY_AFTER, bytes, b"").headers, SystemTime::now()).is_some()
        });
    }
    wait_in_words_is_read_or_ignored in "src/registry/ghcr_retry_after.rs" {
        of_text(&["x retry-after: 1h2m3.5s, allowed: 9"], |text| ghcr_retry_after::ghcr_retry_after(text).is_some());
    }
    error_body_is_shown_plainly_and_absence_has_a_code in "src/registry/error_response.rs" {
        let seeds = [
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"retry-after: 10.3ms, allowed: 2000/minute","detail":{}}]}"#,
            r#"{"__type":"com.amazonaws#AccessDeniedException","Message":"no"}"#,
        ];
        of_bytes(&seeds, |bytes| {
            let answer = answer(404, LINK, b"", bytes);
            let response = ErrorResponse::of(&answer);
            let shown = response.to_string();
            assert!(!shown.chars().any(char::is_control) && shown.chars().count() < 2000, "{shown:?}");
            assert!(presence(&answer) != Presence::Absent || !response.codes.is_empty());
            assert!(matches!(listing(&answer), Listing::NoApi | Listing::NoSubject));
            !response.codes.is_empty()
        });
    }
    text_of_others_is_shown_plainly_and_cut in "src/registry/error_response.rs" {
        of_text(&["a\n b"], |text| {
            let shown = printable(text, 50);
            assert!(!shown.chars().any(char::is_control) && shown.chars().count() <= 51, "{shown:?}");
            true
        });
    }
    docker_config_is_read_or_refused in "src/registry/docker_config.rs" {
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="},"ghcr.io/o":{"username":"u","password":"p"},"r.test":{"identitytoken":"t"}},"credsStore":"x","credHelpers":{"a.test":"ecr-login"}}"#;
        of_bytes(&[config], |bytes| docker_config::read(bytes, "config.json").is_ok());
    }
    auth_of_a_docker_config_is_read_or_refused in "src/registry/docker_config.rs" {
        of_text(&["me:password"], |text| {
            let config = serde_json::json!({"auths": {"r.test": {"auth": STANDARD.encode(text)}}});
            docker_config::read(config.to_string().as_bytes(), "config.json").is_ok()
        });
    }
    key_of_credentials_is_read_or_refused in "src/registry/credential.rs" {
        of_text(&["ghcr.io/o", "https://index.docker.io/v1/"], |text| text.parse::<CredentialScope>().is_ok());
    }
    host_of_amazon_is_recognized_or_not in "src/registry/ecr.rs" {
        let hosts = ["123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "public.ecr.aws"];
        of_text(&hosts, |text| text.parse().is_ok_and(|host| Ecr::of(&host).is_some()));
    }
    token_is_read_or_refused in "src/registry/token.rs" {
        let client = Client::for_tests().unwrap();
        let transport = Transport::new(client, Vec::new(), RetryPolicy::default(), Events::silent());
        let seeds = [
            r#"{"token":"t","access_token":"t","refresh_token":"r","expires_in":300}"#,
            r#"{"access_token":"t","expires_in":"299.5"}"#,
        ];
        of_bytes(&seeds, |bytes| {
            let token = token::read(&transport, &answer(200, LINK, b"", bytes), Instant::now());
            token.is_ok_and(|token| token::sensitive(token.secret.expose()).is_some())
        });
    }
    grants_of_a_token_are_read_or_ignored in "src/registry/token_grants.rs" {
        of_bytes(&[r#"{"access":[{"type":"repository","name":"o/r","actions":["pull"]}]}"#], |bytes| {
            token_grants::token_lacks_push(&format!("e30.{}.x", URL_SAFE_NO_PAD.encode(bytes)), "o/r")
        });
    }
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
