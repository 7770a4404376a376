//! Tests the table of `classify.rs` row by row, and every response outside it.

use super::super::{Entries, Referrers, RegistryError, all_tags};
use super::*;
use crate::domain::Digest;

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    There,
    Absent,
    NoApi,
    Error(Option<u16>),
}

const BODIES: [(&str, &str); 9] = [
    ("empty", ""),
    ("garbage", "\u{0}\u{1}{"),
    ("page", "<html>404</html>"),
    (
        "manifest unknown",
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
    ),
    (
        "name unknown",
        r#"{"errors":[{"code":"NAME_UNKNOWN","message":"m","detail":{}}]}"#,
    ),
    ("denied", r#"{"errors":[{"code":"DENIED"}]}"#),
    (
        "denied too",
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN"},{"code":"DENIED"}]}"#,
    ),
    (
        "not accepted",
        r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"OCI index found, but Accept header does not support OCI indexes"}]}"#,
    ),
    (
        "harbor",
        r#"{"errors":[{"code":"UNKNOWN","message":"Not Found"}]}"#,
    ),
];

fn meaning<T>(answer: Result<Option<T>, RegistryError>) -> Meaning {
    match answer {
        Ok(Some(_)) => Meaning::There,
        Ok(None) => Meaning::Absent,
        Err(error) => Meaning::Error(error.status()),
    }
}

/// Starts a server whose path describes its response: `/v2/<status>/<body>/<header or not>/…`.
async fn every_answer() -> Server {
    Server::start(|request| {
        let parts: Vec<&str> = request.target.split('/').collect();
        let body = BODIES[parts[3].parse::<usize>().unwrap()].1;
        let reply = Reply::new(parts[2].parse().unwrap()).body(body);
        match parts[4] {
            "registry" => reply.header("Docker-Distribution-API-Version", "registry/2.0"),
            _ => reply,
        }
    })
    .await
}

#[tokio::test]
async fn every_status_with_every_body_means_what_the_table_says() {
    let server = every_answer().await;
    let registry = Bench::nobody(1).registry;
    let digest = Digest::of(b"");
    let by_digest = Reference::Digest(digest.clone());
    for status in 300..600_u16 {
        // The body and the sender matter only for a 404. Other statuses are played with the body that means absence there.
        let is_played = |name: &str| status == 404 || name == "manifest unknown";
        let speakers = if status == 404 { 2 } else { 1 };
        let bodies = BODIES.iter().enumerate();
        for (number, (name, _)) in bodies.filter(|(_, (name, _))| is_played(name)) {
            for speaker in ["proxy", "registry"].into_iter().take(speakers) {
                let path = format!("{status}/{number}/{speaker}");
                let repository = repository(&server, &path);
                let is_absent = status == 404
                    && match *name {
                        "manifest unknown" | "name unknown" | "harbor" => true,
                        "empty" | "garbage" | "page" => speaker == "registry",
                        _ => false,
                    };
                // A redirect without `Location` is an error of its own, without a status.
                let wanted = || match status {
                    _ if is_absent => Meaning::Absent,
                    301 | 302 | 303 | 307 | 308 => Meaning::Error(None),
                    _ => Meaning::Error(Some(status)),
                };
                let manifest = registry.manifest(&repository, &tag("v1")).await;
                assert_eq!(meaning(manifest), wanted(), "manifest: {path} {name}");
                let found = registry.manifest_digest(&repository, &tag("v1")).await;
                assert_eq!(meaning(found), wanted(), "tag's digest: {path} {name}");
                let found = registry.manifest_digest(&repository, &by_digest).await;
                let wanted_by_digest = match status {
                    404 => Meaning::Absent,
                    _ => wanted(),
                };
                assert_eq!(meaning(found), wanted_by_digest, "digest: {path} {name}");
                let blob = registry.blob(&repository, &digest, 10).await;
                assert_eq!(meaning(blob), wanted(), "blob: {path} {name}");
                let referrers = match registry.referrers::<Digest>(&repository, &digest).await {
                    Ok(Referrers::NoApi) => Meaning::NoApi,
                    Ok(Referrers::NoSubject) => Meaning::Absent,
                    Ok(Referrers::Listed(_)) => Meaning::There,
                    Err(error) => Meaning::Error(error.status()),
                };
                let is_named =
                    status == 404 && ["manifest unknown", "name unknown", "harbor"].contains(name);
                let wanted_of_referrers = match status {
                    400 => Meaning::Absent,
                    404 if is_named => Meaning::Absent,
                    300..=399 | 404 | 405 | 406 => Meaning::NoApi,
                    _ => Meaning::Error(Some(status)),
                };
                assert_eq!(referrers, wanted_of_referrers, "referrers: {path} {name}");
            }
        }
    }
}

/// Returns the result for referrers if a registry classify 200 with `content_type` and `body`.
async fn referrers(
    content_type: &'static str,
    body: &'static str,
) -> Result<Referrers<Digest>, String> {
    let server = Server::start(move |_| {
        Reply::new(200)
            .header("content-type", content_type)
            .body(body)
    })
    .await;
    let bench = Bench::nobody(1);
    let listed = bench
        .registry
        .referrers(&repository(&server, "o/r"), &Digest::of(b""))
        .await;
    listed.map_err(|error| error.kind().to_string())
}

#[tokio::test]
async fn list_of_referrers_is_an_index_and_nothing_else() {
    let index = "application/vnd.oci.image.index.v1+json";
    let empty = Ok(Referrers::Listed(Entries::default()));
    assert_eq!(referrers(index, r#"{"manifests":[]}"#).await, empty);
    assert_eq!(referrers(index, r#"{"manifests":null}"#).await, empty);
    let with_charset = "Application/vnd.oci.image.index.v1+json; charset=utf-8";
    assert_eq!(referrers(with_charset, r#"{"manifests":[]}"#).await, empty);
    for content_type in ["text/html", "application/json", "", "text/plain"] {
        let read = referrers(content_type, r#"{"manifests":[]}"#).await;
        assert_eq!(read, Ok(Referrers::NoApi), "{content_type}");
    }
    for garbage in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"errors":[]}"#,
        r#"{"manifests":[{"digest":"x"}]}"#,
    ] {
        assert!(referrers(index, garbage).await.is_err(), "{garbage}");
    }
}

fn listing_of(letter: &str) -> Vec<u8> {
    let digest = Digest::of(letter.as_bytes());
    format!(r#"{{"manifests":[{{"mediaType":"a/b","size":1,"digest":"{digest}"}}]}}"#).into_bytes()
}

#[tokio::test]
async fn pages_of_referrers_are_put_together() {
    let server = Server::start(|request| {
        let first = !request.target.contains("last=");
        let reply = index_reply().body(listing_of(if first { "a" } else { "b" }));
        if first {
            reply.header("link", r#"<?last=a&n=0>; rel="next""#)
        } else {
            reply
        }
    })
    .await;
    let bench = Bench::nobody(1);
    let subject = Digest::of(b"");
    let listed = bench
        .registry
        .referrers::<Digest>(&repository(&server, "o/r"), &subject)
        .await;
    let Referrers::Listed(Entries { listed, .. }) = listed.unwrap() else {
        panic!("there is an API")
    };
    assert_eq!(listed, [Digest::of(b"a"), Digest::of(b"b")]);
    let path = format!("GET /v2/o/r/referrers/{subject}");
    assert_eq!(server.lines(), [path.clone(), format!("{path}?last=a&n=0")]);
}

#[tokio::test]
async fn pages_that_lead_elsewhere_or_never_end_or_break_off_are_errors() {
    for (link, later_status) in [
        (r#"<http://registry.invalid/v2/>; rel="next""#, 200),
        (r#"<https://127.0.0.1/v2/>; rel="next""#, 200),
        (r#"<?again>; rel="next""#, 200),
        (r#"<?again>; rel="next""#, 404),
        (r#"<?again>; rel="next""#, 403),
    ] {
        let server = Server::start(move |request| match request.number {
            0 => index_reply().header("link", link),
            _ if later_status == 200 => index_reply().header("link", link),
            _ => Reply::new(later_status),
        })
        .await;
        let bench = Bench::nobody(1);
        let listed = bench
            .registry
            .referrers::<Digest>(&repository(&server, "o/r"), &Digest::of(b""))
            .await;
        assert!(listed.is_err(), "{link} {later_status}");
        assert!(server.seen().len() <= 200);
    }
}

#[tokio::test]
async fn next_page_on_another_host_is_not_even_asked_for() {
    let elsewhere = Server::start(|_| index_reply()).await;
    let link = format!(r#"<http://{}/v2/>; rel="next""#, elsewhere.address());
    let server = Server::start(move |_| index_reply().header("link", link.as_str())).await;
    let bench = Bench::nobody(1);
    let listed = bench
        .registry
        .referrers::<Digest>(&repository(&server, "o/r"), &Digest::of(b""))
        .await;
    let kind = listed.unwrap_err().kind().to_string();
    assert!(kind.contains("on another host"), "{kind}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn list_of_tags_holds_all_of_them_or_says_nothing() {
    let full = format!(r#"{{"tags":[{}]}}"#, vec![r#""v""#; 50].join(","));
    let wanted = [
        (200, r#"{"name":"o/r","tags":["v1","v2"]}"#, "", Some(2)),
        (200, r#"{"name":"o/r","tags":[]}"#, "", Some(0)),
        (200, r#"{"name":"o/r","tags":null}"#, "", Some(0)),
        // Another document, a first page, and a possible first page.
        (200, r#"{"name":"o/r"}"#, "", None),
        (200, "<html>", "", None),
        (200, r#"{"tags":["v1"]}"#, "<x>; rel=next", None),
        (200, full.as_str(), "", None),
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, "", None),
        (403, r#"{"tags":[]}"#, "", None),
    ];
    for (status, body, link, count) in wanted {
        let reply = Reply::new(status).body(body);
        let reply = match link {
            "" => reply,
            link => reply.header("link", link),
        };
        let server = Server::start(move |_| reply.clone()).await;
        let registry = Bench::nobody(1).registry;
        let tags = all_tags(&registry, &repository(&server, "o/r")).await;
        assert_eq!(tags.map(|tags| tags.len()), count, "{status} {body} {link}");
    }
}
