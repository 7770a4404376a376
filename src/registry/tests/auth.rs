//! Tests challenges, and which host receives which credentials.

use super::super::{LoginError, RegistryErrorKind};
use super::tokens::{guarded, token_reply};
use super::*;
use crate::domain::Digest;
use crate::http::Timeouts;

/// Harbor looks for this word in requests of those who sign.
#[tokio::test]
async fn every_request_names_a_client_that_signs() {
    let server = Server::start(|_| index_reply()).await;
    let bench = Bench::nobody(1);
    let read = bench
        .registry
        .manifest(&repository(&server, "o/r"), &tag("v1"));
    assert!(read.await.unwrap().is_some());
    for seen in server.seen() {
        let agent = seen.headers.iter().find(|(name, _)| name == "user-agent");
        let (_, agent) = agent.unwrap();
        assert!(
            agent.starts_with("manifest-seal/") && agent.contains("cosign"),
            "{agent}"
        );
    }
}

#[tokio::test]
async fn identity_token_is_exchanged_by_post() {
    let server = guarded(
        |_| {
            token_reply(
                "T-of-16-letters-",
                r#","refresh_token":"Next-of-16-letters""#,
            )
        },
        |_, token| token == "T-of-16-letters-",
    )
    .await;
    let mut credentials = Credentials::new();
    let config = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"it"}}}}}}"#,
        server.address()
    );
    credentials
        .docker_config(config.as_bytes(), "config.json")
        .unwrap();
    let bench = Bench::new(1, credentials);
    let read = bench
        .registry
        .manifest(&repository(&server, "o/r"), &tag("v1"))
        .await;
    assert!(read.unwrap().is_some());
    let asked = server
        .seen()
        .into_iter()
        .find(|seen| seen.method == "POST")
        .unwrap();
    assert_eq!(
        String::from_utf8(asked.body).unwrap(),
        "grant_type=refresh_token&client_id=manifest-seal&refresh_token=it&service=s&scope=repository%3Ao%2Fr%3Apull"
    );
    assert_eq!(bench.masked(), ["Next-of-16-letters", "T-of-16-letters-"]);
}

#[tokio::test]
async fn password_goes_only_to_who_asks_for_it() {
    let server = Server::start(|request| match request.header("authorization") {
        Some(BASIC) => index_reply(),
        _ => Reply::new(401).header("www-authenticate", r#"Basic realm="r""#),
    })
    .await;
    let bench = Bench::new(1, login(&server));
    let repository = repository(&server, "o/r");
    for _ in 0..2 {
        assert!(
            bench
                .registry
                .manifest(&repository, &tag("v1"))
                .await
                .unwrap()
                .is_some()
        );
    }
    let given: Vec<bool> = server
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").is_some())
        .collect();
    assert_eq!(given, [false, true, true]);
    let nobody = Bench::nobody(1);
    let error = nobody
        .registry
        .manifest(&repository, &tag("v1"))
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.credentials()), (Some(401), None));
}

#[tokio::test]
async fn realm_without_tls_elsewhere_never_sees_credentials() {
    for (realm, wanted) in [
        (
            "http://token.invalid/token?secret",
            "`http://token.invalid/token`, which is not HTTPS",
        ),
        ("http://127.0.0.1.token.invalid/", "is not HTTPS"),
        ("ftp://127.0.0.1/", "is not a valid URL"),
        ("/token", "is not a valid URL"),
        ("https://me:secret@token.invalid/", "contains a user name"),
    ] {
        let server = Server::start(move |_| {
            Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}""#))
        })
        .await;
        let bench = Bench::new(3, login(&server));
        let read = bench
            .registry
            .manifest(&repository(&server, "o/r"), &tag("v1"))
            .await;
        let error = read.unwrap_err();
        let kind = error.kind().to_string();
        assert!(
            matches!(
                error.kind(),
                RegistryErrorKind::Login(LoginError::Realm { .. })
            ),
            "{realm}: {kind}"
        );
        assert!(
            kind.contains(wanted) && !kind.contains("secret"),
            "{realm}: {kind}"
        );
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn realm_on_this_machine_is_not_asked_at_the_word_of_somebody_elsewhere() {
    let door = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    let realm = format!("http://{}/admin", door.address());
    let elsewhere = Server::start(move |_| {
        Reply::new(401).header("www-authenticate", format!(r#"Bearer realm="{realm}""#))
    })
    .await;
    let proxy = reqwest::Proxy::http(format!("http://{}", elsewhere.address())).unwrap();
    let proxy = proxy.no_proxy(reqwest::NoProxy::from_string("127.0.0.1"));
    let registry = Registry::new(RegistrySettings {
        http: Client::of(
            reqwest::Client::builder().proxy(proxy).build().unwrap(),
            Timeouts::short(Duration::from_secs(30), Duration::from_secs(30)),
        ),
        credentials: Credentials::new(),
        insecure: vec!["registry.test".parse().unwrap()],
        retry_policy: RetryPolicy::default(),
        events: Events::silent(),
    });
    let repository = "registry.test/o/r".parse().unwrap();
    let read = registry.manifest(&repository, &tag("v1")).await;
    // Checked before the error: a client that sends the request may report the same error.
    assert_eq!(door.count("/"), 0);
    let kind = read.unwrap_err().kind().to_string();
    assert!(kind.contains("is on this machine"), "{kind}");
    assert_eq!(elsewhere.seen().len(), 1);
}

#[tokio::test]
async fn helper_that_is_not_here_is_an_error_only_once_it_matters() {
    let free = Server::start(|_| index_reply()).await;
    let server = guarded(|_| token_reply("t", ""), |_, _| true).await;
    let config = |server: &Server| {
        let mut credentials = Credentials::new();
        let json = format!(
            r#"{{"credHelpers":{{"{}":"ecr-login"}}}}"#,
            server.address()
        );
        credentials
            .docker_config(json.as_bytes(), "config.json")
            .unwrap();
        Bench::new(1, credentials)
    };
    let read = config(&free)
        .registry
        .manifest(&repository(&free, "o/r"), &tag("v1"))
        .await;
    assert!(read.unwrap().is_some());
    let read = config(&server)
        .registry
        .manifest(&repository(&server, "o/r"), &tag("v1"))
        .await;
    let error = read.unwrap_err();
    assert!(error.is_about_token());
    assert!(
        error
            .kind()
            .to_string()
            .contains("`docker-credential-ecr-login`")
    );
}

#[tokio::test]
async fn scope_that_the_registry_adds_is_asked_for_and_remembered() {
    let server = Server::start(|request| {
        if request.target.starts_with("/token") {
            let is_wide = request.target.contains("repository%3Aother%3Apull");
            return token_reply(if is_wide { "wide" } else { "narrow" }, "");
        }
        if request.header("authorization") == Some("Bearer wide") {
            return index_reply();
        }
        let realm = format!(
            r#"Bearer realm="http://{}/token",scope="repository:o/r:pull repository:other:pull""#,
            request.host()
        );
        Reply::new(401).header("www-authenticate", realm)
    })
    .await;
    let bench = Bench::nobody(1);
    let repository = repository(&server, "o/r");
    for _ in 0..2 {
        assert!(
            bench
                .registry
                .manifest(&repository, &tag("v1"))
                .await
                .unwrap()
                .is_some()
        );
    }
    assert_eq!(server.count("/token"), 1);
    let scopes = "/token?scope=repository%3Ao%2Fr%3Apull&scope=repository%3Aother%3Apull";
    assert_eq!(server.count(scopes), 1);
    // A repository without a challenge so far starts with its own scope, and then adds the scopes of its challenge.
    let second = format!("{}/o/second", server.address()).parse().unwrap();
    assert!(
        bench
            .registry
            .manifest(&second, &tag("v1"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(server.count("/token"), 3);
}

#[tokio::test]
async fn harbor_that_turns_to_basic_is_still_asked_with_a_token() {
    let server = Server::start(|request| {
        if request.target.starts_with("/token") {
            return token_reply(&format!("t{}", request.number), r#","expires_in":300"#);
        }
        match request.header("authorization") {
            None => Reply::new(401).header(
                "www-authenticate",
                format!(r#"Bearer realm="http://{}/token""#, request.host()),
            ),
            Some("Bearer t1") if request.number > 2 => {
                Reply::new(401).header("www-authenticate", r#"Basic realm="harbor""#)
            }
            Some(given) if given.starts_with("Bearer ") => index_reply(),
            Some(_) => Reply::new(403),
        }
    })
    .await;
    let bench = Bench::new(1, login(&server));
    let repository = repository(&server, "o/r");
    for _ in 0..2 {
        let digest = bench
            .registry
            .manifest(&repository, &tag("v1"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(*digest.digest(), Digest::of(MANIFEST));
    }
}
