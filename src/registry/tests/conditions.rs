//! Tests conditions on writes of tags, and writes of several tags.

use super::super::{Guard, Probe, Replaced, TagRead, WriteRule, may_put_tags, put_tags};
use super::*;
use crate::domain::{Digest, FullTag};

const NEW: &[u8] = br#"{"schemaVersion":2,"manifests":[],"annotations":{}}"#;

/// The way in which a server treats conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    /// No `ETag` is sent.
    NoEtag,
    /// An `ETag` is sent, and conditions are ignored.
    Ignores,
    /// Conditions that do not hold are refused.
    Honours,
    /// Conditions that do not hold are refused with 400.
    Honours400,
    /// Every condition is refused.
    RefusesAll,
}

/// Starts a server with one tag, which has the content `first` until it is written.
async fn server(conduct: Conduct, first: Option<&'static [u8]>) -> Server {
    let content = Arc::new(Mutex::new(first.map(<[u8]>::to_vec)));
    Server::start(move |request| {
        let mut content = content.lock().unwrap();
        let etag = |content: &[u8]| format!("\"{}\"", Digest::of(content));
        // Another tag that exists always.
        if request.target.ends_with("/known") {
            let reply = index_reply();
            return if conduct == Conduct::NoEtag {
                reply
            } else {
                reply.header("etag", etag(MANIFEST))
            };
        }
        if request.method != "PUT" {
            return match &*content {
                None => Reply::new(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
                Some(bytes) => {
                    let digest = Digest::of(bytes).to_string();
                    let reply = index_reply()
                        .body(bytes.clone())
                        .header("docker-content-digest", digest);
                    if conduct == Conduct::NoEtag {
                        reply
                    } else {
                        reply.header("etag", etag(bytes))
                    }
                }
            };
        }
        let holds = match (request.header("if-match"), request.header("if-none-match")) {
            (Some(wanted), _) => content.as_ref().is_some_and(|bytes| etag(bytes) == wanted),
            (None, Some("*")) => content.is_none(),
            (None, _) => true,
        };
        let has_condition = request
            .header("if-match")
            .or(request.header("if-none-match"))
            .is_some();
        let refused = match conduct {
            Conduct::NoEtag | Conduct::Ignores => false,
            Conduct::Honours | Conduct::Honours400 => !holds,
            Conduct::RefusesAll => has_condition,
        };
        if !refused {
            *content = Some(request.body.clone());
            return Reply::new(201);
        }
        if conduct != Conduct::Honours400 {
            return Reply::new(412);
        }
        let error =
            r#"{"errors":[{"code":"MANIFEST_INVALID","message":"If-Match condition failed"}]}"#;
        Reply::new(400).body(error)
    })
    .await
}

fn full_tag(server: &Server) -> FullTag {
    FullTag {
        repository: repository(server, "o/r"),
        tag: "v1".parse().unwrap(),
    }
}

async fn read(bench: &Bench, tag: &FullTag) -> Option<Digest> {
    let reference = tag.reference();
    let found = bench.registry.manifest_digest(&tag.repository, &reference);
    found.await.unwrap()
}

async fn replace(
    bench: &Bench,
    tag: &FullTag,
    held: Option<&Digest>,
    probe: Probe,
    bytes: &[u8],
) -> Replaced {
    let (index, read) = (MediaType::OciIndex, TagRead::JustNow);
    let rule = WriteRule { held, read, probe };
    let replaced = bench.registry.replace_tag(tag, rule, &index, bytes);
    replaced.await.unwrap()
}

/// Sends one write by somebody else.
async fn write_by_another(tag: &FullTag, bytes: &[u8]) {
    let (other, index) = (Bench::nobody(1).registry, MediaType::OciIndex);
    let reference = tag.reference();
    let put = other.put_manifest(&tag.repository, &reference, &index, bytes);
    put.await.unwrap();
}

#[tokio::test]
async fn write_of_another_is_overwritten_only_where_conditions_are_ignored() {
    for conduct in [
        Conduct::NoEtag,
        Conduct::Ignores,
        Conduct::Honours,
        Conduct::Honours400,
        Conduct::RefusesAll,
    ] {
        for first in [None, Some(MANIFEST)] {
            let server = server(conduct, first).await;
            let (bench, tag) = (Bench::nobody(1), full_tag(&server));
            let known: Reference = super::tag("known");
            bench
                .registry
                .manifest(&tag.repository, &known)
                .await
                .unwrap();
            let held = read(&bench, &tag).await;
            assert_eq!(held, first.map(Digest::of));
            let theirs = br#"{"schemaVersion":2,"manifests":[],"x":1}"#;
            write_by_another(&tag, theirs).await;
            let replaced = replace(&bench, &tag, held.as_ref(), Probe::Nothing, NEW).await;
            let is_safe = matches!(conduct, Conduct::Honours | Conduct::Honours400)
                // Such a refusal makes the client read the tag.
                || conduct == Conduct::RefusesAll;
            let content = if is_safe { &theirs[..] } else { NEW };
            let wanted = if is_safe {
                Replaced::HeldOther
            } else {
                Replaced::Written(Guard::Nothing)
            };
            assert_eq!(replaced, wanted, "{conduct:?} {first:?}");
            assert_eq!(
                read(&bench, &tag).await,
                Some(Digest::of(content)),
                "{conduct:?}"
            );
        }
    }
}

#[tokio::test]
async fn condition_counts_once_it_was_seen_to_count() {
    for (conduct, guard, puts) in [
        (Conduct::NoEtag, Guard::Nothing, 1),
        (Conduct::Ignores, Guard::Nothing, 1),
        (Conduct::Honours, Guard::Nothing, 2),
        (Conduct::Honours400, Guard::Nothing, 2),
        // The write under the right condition is refused too, and sent again without one.
        (Conduct::RefusesAll, Guard::Nothing, 3),
    ] {
        let server = server(conduct, Some(MANIFEST)).await;
        let (bench, tag) = (Bench::nobody(1), full_tag(&server));
        let held = read(&bench, &tag).await;
        let replaced = replace(&bench, &tag, held.as_ref(), Probe::Conditions, NEW).await;
        // `If-None-Match` was seen to count, and the write had `If-Match`.
        assert_eq!(replaced, Replaced::Written(guard), "{conduct:?}");
        let sent = server.asked("PUT", "/v2/o/r/manifests/v1");
        assert_eq!(sent.len(), puts, "{conduct:?}");
        assert_eq!(
            read(&bench, &tag).await,
            Some(Digest::of(NEW)),
            "{conduct:?}"
        );
        // A new tag is guarded from now on, without another probe.
        let features = bench.registry.sender.features();
        let is_known = features.honours_conditions(tag.repository.host());
        let honours = matches!(
            conduct,
            Conduct::Honours | Conduct::Honours400 | Conduct::RefusesAll
        );
        assert_eq!(is_known, honours, "{conduct:?}");
        let held = read(&bench, &tag).await;
        let replaced = replace(&bench, &tag, held.as_ref(), Probe::Conditions, MANIFEST).await;
        assert!(matches!(replaced, Replaced::Written(_)), "{conduct:?}");
        let sent = server.asked("PUT", "/v2/o/r/manifests/v1");
        assert_eq!(sent.len(), puts + 1, "{conduct:?}");
    }
}

#[tokio::test]
async fn probe_of_an_absent_tag_is_its_only_write_at_a_registry_that_ignores_it() {
    for (conduct, puts) in [
        (Conduct::Ignores, 1),
        (Conduct::Honours, 2),
        (Conduct::RefusesAll, 3),
    ] {
        let server = server(conduct, None).await;
        let (bench, tag) = (Bench::nobody(1), full_tag(&server));
        let known: Reference = super::tag("known");
        let shown = bench.registry.manifest(&tag.repository, &known).await;
        shown.unwrap();
        let replaced = replace(&bench, &tag, None, Probe::Conditions, NEW).await;
        assert_eq!(replaced, Replaced::Written(Guard::Nothing), "{conduct:?}");
        let sent = server.asked("PUT", "/v2/o/r/manifests/v1");
        assert_eq!(sent.len(), puts, "{conduct:?}");
        assert_eq!(
            read(&bench, &tag).await,
            Some(Digest::of(NEW)),
            "{conduct:?}"
        );
    }
}

#[tokio::test]
async fn etag_that_stays_when_the_content_changes_guards_nothing() {
    let content = Arc::new(Mutex::new(MANIFEST));
    let shown = Arc::clone(&content);
    let server = Server::start(move |_| {
        let bytes = *shown.lock().unwrap();
        let digest = Digest::of(bytes).to_string();
        let reply = index_reply().body(bytes).header("etag", r#""e""#);
        reply.header("docker-content-digest", digest)
    })
    .await;
    let (bench, tag) = (Bench::nobody(1), full_tag(&server));
    let features = bench.registry.sender.features();
    let condition = |held: &Option<Digest>| {
        features.condition(&tag.repository, &tag.reference(), held.as_ref())
    };
    let held = read(&bench, &tag).await;
    assert!(condition(&held).is_some());
    *content.lock().unwrap() = NEW;
    let held = read(&bench, &tag).await;
    assert!(condition(&held).is_none());
}

#[tokio::test]
async fn tags_that_the_registry_does_not_name_are_left_to_the_caller() {
    let tags: Vec<crate::domain::Tag> = ["v1", "v2", "latest"]
        .map(|tag| tag.parse().unwrap())
        .to_vec();
    let names = |reply: Reply, values: &[&str]| {
        values
            .iter()
            .fold(reply, |reply, value| reply.header("oci-tag", *value))
    };
    for (reply, accepted, may_repeat) in [
        (names(Reply::new(201), &["v1, v2", "latest"]), 3, true),
        (names(Reply::new(201), &["v2,other, V1"]), 1, true),
        (Reply::new(201), 0, false),
        (Reply::new(400), 0, false),
        (Reply::new(414), 0, false),
        (Reply::new(431), 0, false),
        (names(Reply::new(503), &["v1"]), 0, true),
        (Reply::silent(), 0, true),
        (
            names(Reply::new(201), &["v1"])
                .header("docker-content-digest", Digest::of(b"").to_string()),
            0,
            false,
        ),
    ] {
        let shown = format!("{reply:?}");
        let server = Server::start(move |_| reply.clone()).await;
        let (bench, index) = (Bench::nobody(3), MediaType::OciIndex);
        let repository = repository(&server, "o/r");
        assert!(may_put_tags(&bench.registry, &repository));
        let written = put_tags(&bench.registry, &repository, &tags, &index, MANIFEST).await;
        assert_eq!(written.len(), accepted, "{shown}");
        assert_eq!(
            may_put_tags(&bench.registry, &repository),
            may_repeat,
            "{shown}"
        );
        let digest = Digest::of(MANIFEST);
        let line = format!("PUT /v2/o/r/manifests/{digest}?tag=v1&tag=v2&tag=latest");
        assert_eq!(server.lines(), [line], "{shown}");
    }
}
