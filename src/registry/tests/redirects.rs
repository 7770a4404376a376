//! Tests redirects of manifests, lists and writes.

use super::super::redirects::is_on_registry;
use super::super::{Entries, Referrers, all_tags};
use super::*;
use crate::domain::Digest;
use crate::http::tests::server::Seen;

/// Starts a server that redirects everything to the same path of `other`, and asks for a login.
async fn redirecting(status: u16, other: String) -> Server {
    Server::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401).header("www-authenticate", "Basic");
        }
        let location = format!("{other}{}", request.target);
        Reply::new(status).header("location", location)
    })
    .await
}

#[tokio::test]
async fn manifest_is_read_from_another_host_without_our_credentials() {
    let digest = Digest::of(MANIFEST).to_string();
    for status in [301, 302, 303, 307, 308] {
        let stated = digest.clone();
        let other = Server::start(move |_| {
            index_reply()
                .header("docker-content-digest", stated.as_str())
                .header("etag", r#""e""#)
        })
        .await;
        let server = redirecting(status, other.url()).await;
        let bench = Bench::new(1, login(&server));
        let repository = repository(&server, "o/r");
        let by_digest = Reference::Digest(Digest::of(MANIFEST));
        for reference in [&by_digest, &tag("v1")] {
            let manifest = bench.registry.manifest(&repository, reference).await;
            assert_eq!(manifest.unwrap().unwrap().bytes(), MANIFEST, "{status}");
            let found = bench.registry.manifest_digest(&repository, reference).await;
            assert_eq!(found.unwrap(), Some(Digest::of(MANIFEST)), "{status}");
        }
        assert_eq!(other.seen().len(), 4);
        let leaked = |seen: &Seen| seen.header("authorization").is_some();
        assert!(!other.seen().iter().any(leaked), "{status}");
        // An `ETag` of another host is none of the registry's.
        let features = bench.registry.sender.features();
        assert_eq!(features.condition(&repository, &tag("v1"), None), None);
    }
}

#[tokio::test]
async fn other_content_of_another_host_is_unknown() {
    let page = || {
        Reply::new(200)
            .header("content-type", "text/html")
            .body("<html>log in</html>")
    };
    let absent = || Reply::new(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
    let by_digest = Reference::Digest(Digest::of(MANIFEST));
    for reply in [
        page(),
        page().body(MANIFEST),
        Reply::new(404),
        Reply::new(404).header("docker-distribution-api-version", "registry/2.0"),
        Reply::new(403),
        index_reply().body("{}"),
        absent(),
    ] {
        let shown = format!("{reply:?}");
        let other = Server::start(move |_| reply.clone()).await;
        let server = redirecting(307, other.url()).await;
        let registry = Bench::new(1, login(&server)).registry;
        let repository = repository(&server, "o/r");
        let manifest = registry.manifest(&repository, &by_digest).await;
        assert!(manifest.is_err(), "{shown}");
        let found = registry.manifest_digest(&repository, &by_digest).await;
        assert!(found.is_err(), "{shown}");
    }
}

#[tokio::test]
async fn list_of_tags_is_read_within_the_host_only() {
    let other = Server::start(|_| Reply::new(200).body(r#"{"tags":[]}"#)).await;
    let elsewhere = other.url();
    for (location, is_read) in [(elsewhere.as_str(), false), ("/moved", true)] {
        let place = location.to_owned();
        let server = Server::start(move |request| match request.target.as_str() {
            "/moved" => Reply::new(200).body(r#"{"tags":["v1"]}"#),
            _ => Reply::new(302).header("location", place.as_str()),
        })
        .await;
        let registry = Bench::nobody(1).registry;
        let tags = all_tags(&registry, &repository(&server, "o/r")).await;
        assert_eq!(tags.is_some(), is_read, "{location}");
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn default_port_and_every_form_of_an_address_are_the_registry() {
    for (name, address, is_own) in [
        ("r.example:443", "https://r.example/v2/", true),
        ("r.example", "https://r.example:443/v2/", true),
        ("r.example:80", "http://r.example/v2/", true),
        ("r.example:8443", "https://r.example/v2/", false),
        ("r.example", "https://s.example/v2/", false),
        ("[0:0::1]:5000", "http://[::1]:5000/v2/", true),
    ] {
        let repository: Repository = format!("{name}/o/r").parse().unwrap();
        let url = address.parse().unwrap();
        assert_eq!(
            is_on_registry(&url, &repository),
            is_own,
            "{name} {address}"
        );
    }
}

#[tokio::test]
async fn referrers_are_read_within_the_host_only() {
    let list = |_: &Seen| index_reply();
    let other = Server::start(list).await;
    let elsewhere = other.url();
    for (location, wanted) in [
        (elsewhere.as_str(), Referrers::NoApi),
        ("/moved", Referrers::Listed(Entries::default())),
    ] {
        let place = location.to_owned();
        let server = Server::start(move |request| match request.target.as_str() {
            "/moved" => index_reply(),
            _ => Reply::new(303).header("location", place.as_str()),
        })
        .await;
        let registry = Bench::nobody(1).registry;
        let repository = repository(&server, "o/r");
        let listed = registry
            .referrers::<Digest>(&repository, &Digest::of(b""))
            .await;
        assert_eq!(listed.unwrap(), wanted, "{location}");
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn write_is_redirected_within_the_host_only() {
    let other = Server::start(|_| Reply::new(201)).await;
    let elsewhere = format!("{}/v2/?secret", other.url());
    for (status, location, error) in [
        (307, "/moved", None),
        (308, "/moved", None),
        (302, "/moved", Some("`/moved`, which is not followed")),
        (303, "/moved", Some("`/moved`, which is not followed")),
        (
            307,
            elsewhere.as_str(),
            Some("/v2/`, which is not followed"),
        ),
    ] {
        let place = location.to_owned();
        let server = Server::start(move |request| match request.target.as_str() {
            "/moved" => Reply::new(201),
            _ => Reply::new(status).header("location", place.as_str()),
        })
        .await;
        let registry = Bench::nobody(1).registry;
        let repository = repository(&server, "o/r");
        let index = MediaType::OciIndex;
        let tag = tag("v1");
        let put = registry.put_manifest(&repository, &tag, &index, MANIFEST);
        let stored = put.await;
        match error {
            None => {
                assert_eq!(methods(&server), ["PUT 34", "PUT 34"]);
                stored.unwrap();
            }
            Some(error) => {
                let kind = stored.unwrap_err().kind().to_string();
                assert!(kind.contains(error) && !kind.contains("secret"), "{kind}");
                assert_eq!(server.seen().len(), 1);
            }
        }
    }
    assert!(other.seen().is_empty());
}
