//! Tests tokens: how many are requested, how long they are used, and what a failed token request means.

use futures_util::future::join_all;

use super::*;
use crate::http::tests::server::Seen;

/// Starts a registry that is its own token server. `token` answers at `/token`. All other requests need a Bearer token
/// for which `accepted` is true.
pub(super) async fn guarded(
    token: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    accepted: impl Fn(&Seen, &str) -> bool + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| {
        if request.target.starts_with("/token") {
            return token(request);
        }
        let given = request.header("authorization").unwrap_or_default();
        if given
            .strip_prefix("Bearer ")
            .is_some_and(|token| accepted(request, token))
        {
            return match request.method.as_str() {
                "PUT" => Reply::new(201),
                _ => index_reply(),
            };
        }
        let realm = format!(
            r#"Bearer realm="http://{}/token?a=b",service="s""#,
            request.host()
        );
        Reply::new(401)
            .header("www-authenticate", realm)
            .body(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
    })
    .await
}

pub(super) fn token_reply(token: &str, rest: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{token}"{rest}}}"#))
}

#[tokio::test]
async fn eight_at_once_share_one_token() {
    let server = guarded(
        |_| token_reply("T-of-16-letters-", r#","expires_in":300"#),
        |_, token| token == "T-of-16-letters-",
    )
    .await;
    let bench = Bench::new(1, login(&server));
    let repository = repository(&server, "o/r");
    let tags: Vec<Reference> = (0..8).map(|number| tag(&format!("v{number}"))).collect();
    let reads = tags
        .iter()
        .map(|tag| bench.registry.manifest(&repository, tag));
    assert!(
        join_all(reads)
            .await
            .into_iter()
            .all(|read| read.unwrap().is_some())
    );
    assert_eq!(server.count("/token"), 1);
    let asked = server
        .seen()
        .into_iter()
        .find(|seen| seen.target.starts_with("/token"))
        .unwrap();
    assert_eq!(
        asked.line(),
        "GET /token?a=b&service=s&scope=repository%3Ao%2Fr%3Apull"
    );
    assert_eq!(asked.header("authorization"), Some(BASIC));
    assert_eq!(bench.masked(), ["T-of-16-letters-"]);
}

#[tokio::test]
async fn host_that_has_asked_once_is_not_made_to_ask_again() {
    let server = guarded(|_| token_reply("t", ""), |_, token| token == "t").await;
    let bench = Bench::nobody(1);
    for path in ["o/one", "o/one", "o/two"] {
        let read = bench
            .registry
            .manifest(&repository(&server, path), &tag("v1"))
            .await;
        assert!(read.unwrap().is_some());
    }
    let targets: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
    let wanted = [
        "/v2/o/one/manifests/v1",
        "/token?a=b&service=s&scope=repository%3Ao%2Fone%3Apull",
        "/v2/o/one/manifests/v1",
        "/v2/o/one/manifests/v1",
        "/token?a=b&service=s&scope=repository%3Ao%2Ftwo%3Apull",
        "/v2/o/two/manifests/v1",
    ];
    assert_eq!(targets, wanted);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization") != Some(BASIC))
    );
}

#[tokio::test]
async fn token_with_the_right_to_push_serves_for_reading_too() {
    let server = guarded(|_| token_reply("t", ""), |_, token| token == "t").await;
    let (writer, pushing) = (Bench::nobody(1), Bench::nobody(1));
    let repository = repository(&server, "o/r");
    pushing.registry.request_push_scope(&repository);
    pushing
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap();
    let put = async |bench: &Bench| {
        let media_type = MediaType::OciIndex;
        bench
            .registry
            .put_manifest(&repository, &tag("v1"), &media_type, MANIFEST)
            .await
            .unwrap();
    };
    put(&pushing).await;
    assert_eq!(server.count("scope=repository%3Ao%2Fr%3Apull%2Cpush"), 1);
    assert_eq!(server.count("/token"), 1);
    put(&writer).await;
    writer
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap();
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn token_that_is_refused_is_replaced_once() {
    // The first token works for one request, the second one for ever.
    let server = guarded(
        |request| {
            token_reply(
                if request.number < 3 {
                    "First-of-16-chars"
                } else {
                    "Second-of-16-chars"
                },
                r#","expires_in":300"#,
            )
        },
        |request, token| {
            (token == "First-of-16-chars" && request.number < 3) || token == "Second-of-16-chars"
        },
    )
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    for _ in 0..3 {
        assert!(
            bench
                .registry
                .manifest(&repository, &tag("v1"))
                .await
                .unwrap()
                .is_some()
        );
    }
    assert_eq!(server.count("/token"), 2);
    assert_eq!(bench.masked(), ["First-of-16-chars", "Second-of-16-chars"]);
}

#[tokio::test]
async fn token_is_not_used_beyond_its_life() {
    let server = guarded(
        |request| token_reply(&format!("t{}", request.number), r#","expires_in":0"#),
        |_, _| true,
    )
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    for _ in 0..3 {
        assert!(
            bench
                .registry
                .manifest(&repository, &tag("v1"))
                .await
                .unwrap()
                .is_some()
        );
    }
    assert_eq!(server.count("/token"), 3);
}

#[tokio::test]
async fn fresh_token_that_does_not_help_is_the_end() {
    // Docker Hub issues a token to everyone, and denies access only afterwards.
    let server = guarded(|_| token_reply("t", ""), |_, _| false).await;
    let bench = Bench::new(1, login(&server));
    let repository = repository(&server, "o/r");
    let error = bench
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert!(error.is_denied() && !error.is_about_token());
    assert_eq!(error.credentials(), Some("registry-auths"));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn refused_token_is_an_error_of_its_own_and_the_registry_is_not_asked_as_nobody() {
    for (status, tries) in [(401, 1), (403, 1), (400, 1), (500, 3), (503, 3), (429, 3)] {
        let server = guarded(
            move |_| {
                Reply::new(status).body(r#"{"errors":[{"code":"DENIED","message":"denied"}]}"#)
            },
            |_, _| true,
        )
        .await;
        let bench = Bench::new(3, login(&server));
        let repository = repository(&server, "o/r");
        let error = bench
            .registry
            .manifest(&repository, &tag("v1"))
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert!(error.is_about_token());
        assert_eq!(error.is_denied(), matches!(status, 401 | 403));
        let text = error.kind().to_string();
        assert_eq!(
            text,
            format!("could not get a token from `{}`", server.address())
        );
        assert_eq!(
            (server.count("/token"), server.seen().len()),
            (tries, tries + 1)
        );
    }
}

#[tokio::test]
async fn those_who_wait_for_a_token_share_its_failure() {
    let server = guarded(|_| Reply::new(403), |_, _| true).await;
    let bench = Bench::new(1, login(&server));
    let repository = repository(&server, "o/r");
    let tags: Vec<Reference> = (0..8).map(|number| tag(&format!("v{number}"))).collect();
    let reads = tags
        .iter()
        .map(|tag| bench.registry.manifest(&repository, tag));
    assert!(join_all(reads).await.iter().all(Result::is_err));
    assert!(server.count("/token") < 8, "{}", server.count("/token"));
}

#[tokio::test]
async fn answer_without_a_token_is_an_error() {
    for body in [
        "",
        "{}",
        r#"{"token":""}"#,
        r#"{"token":"a\nb"}"#,
        r#"{"token":5}"#,
        "<html>",
    ] {
        let server = guarded(move |_| Reply::new(200).body(body), |_, _| true).await;
        let bench = Bench::nobody(1);
        let error = bench
            .registry
            .manifest(&repository(&server, "o/r"), &tag("v1"))
            .await;
        assert!(error.unwrap_err().is_about_token(), "{body}");
    }
}

#[tokio::test]
async fn access_token_is_a_token_too() {
    let server = guarded(
        |_| Reply::new(200).body(r#"{"access_token":"t"}"#),
        |_, token| token == "t",
    )
    .await;
    let bench = Bench::nobody(1);
    let read = bench
        .registry
        .manifest(&repository(&server, "o/r"), &tag("v1"))
        .await;
    assert!(read.unwrap().is_some());
}
