//! Tests content under SHA-512 digests: reads, checks, mounts, uploads and pushes.

use super::super::{ContentError, Copied, RegistryError, RegistryErrorKind};
use super::copies::{contents, descriptor};
use super::*;
use crate::domain::{Algorithm, Descriptor, Digest};
use crate::http::tests::server::Seen;

fn digests(bytes: &[u8]) -> [Digest; 2] {
    Algorithm::ALL.map(|algorithm| algorithm.digest(bytes))
}

fn is_lie(error: &RegistryError) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        RegistryErrorKind::Content(ContentError::Digest { .. })
    )
}

/// Starts a registry that serves the manifest and states this digest of it.
async fn serving(stated: Option<&Digest>) -> Server {
    let stated = stated.map(Digest::to_string);
    Server::start(move |_| match &stated {
        Some(stated) => index_reply().header("Docker-Content-Digest", stated),
        None => index_reply(),
    })
    .await
}

#[tokio::test]
async fn manifest_is_checked_by_the_requested_and_the_stated_digest_of_either_algorithm() {
    let ([short, long], [other, other_long]) = (digests(MANIFEST), digests(b"other"));
    let by = |digest: &Digest| Reference::Digest(digest.clone());
    let is_wrong = |digest: &Digest| *digest == other || *digest == other_long;
    for reference in [by(&short), by(&long), by(&other_long), tag("v1")] {
        for stated in [
            None,
            Some(&short),
            Some(&long),
            Some(&other),
            Some(&other_long),
        ] {
            let server = serving(stated).await;
            let bench = Bench::nobody(1);
            let repository = repository(&server, "o/r");
            let read = bench.registry.manifest(&repository, &reference).await;
            let case = format!("{reference}, stated {stated:?}");
            if stated.is_some_and(is_wrong) || reference == by(&other_long) {
                assert!(is_lie(&read.unwrap_err()), "{case}");
                continue;
            }
            // Anyone with push access can bind a tag to the SHA-512 digest of the same bytes.
            let wanted = match &reference {
                Reference::Digest(digest) => digest,
                Reference::Tag(_) => &short,
            };
            assert_eq!(read.unwrap().unwrap().digest(), wanted, "{case}");
        }
    }
}

#[tokio::test]
async fn head_that_states_the_other_algorithm_confirms_nothing_and_is_no_lie() {
    let ([short, long], [other, other_long]) = (digests(MANIFEST), digests(b"other"));
    for (asked, stated, requests, is_found) in [
        (&long, &long, 1, true),
        (&long, &short, 2, true),
        (&short, &long, 2, true),
        // The content that the registry serves is another.
        (&other_long, &short, 2, false),
        (&other, &long, 2, false),
        (&long, &other_long, 1, false),
    ] {
        let server = serving(Some(stated)).await;
        let (bench, reference) = (Bench::nobody(1), Reference::Digest(asked.clone()));
        let repository = repository(&server, "o/r");
        let found = bench
            .registry
            .manifest_digest(&repository, &reference)
            .await;
        assert_eq!(server.seen().len(), requests, "{asked} {stated}");
        match found {
            Ok(found) => assert!(
                is_found && found.as_ref() == Some(asked),
                "{asked} {stated}"
            ),
            Err(error) => assert!(!is_found && is_lie(&error), "{asked} {stated}: {error}"),
        }
    }
    let server = serving(Some(&long)).await;
    let (registry, repository) = (Bench::nobody(1).registry, repository(&server, "o/r"));
    let of_tag = registry.manifest_digest(&repository, &tag("v1")).await;
    assert_eq!(of_tag.unwrap(), Some(short));
}

#[tokio::test]
async fn blob_under_sha512_is_read_and_checked() {
    let server = Server::start(|_| Reply::new(200).body("blob")).await;
    let (registry, repository) = (Bench::nobody(1).registry, repository(&server, "o/r"));
    let [_, right] = digests(b"blob");
    let read = registry.blob(&repository, &right, 4).await;
    assert_eq!(read.unwrap().unwrap(), b"blob");
    let [_, wrong] = digests(b"other");
    let read = registry.blob(&repository, &wrong, 4).await;
    assert!(is_lie(&read.unwrap_err()));
}

fn under_sha512(content: &[u8]) -> Descriptor {
    Descriptor {
        digest: Algorithm::Sha512.digest(content),
        ..descriptor(content)
    }
}

/// Answers as distribution does: a stored blob gets its SHA-256 digest.
fn storing(request: &Seen) -> Reply {
    let stored = |bytes: &[u8]| {
        Reply::new(201).header("docker-content-digest", Digest::of(bytes).to_string())
    };
    match request.method.as_str() {
        "POST" if request.target.contains("?digest=") => stored(&request.body),
        "POST" => Reply::new(202).header("location", "/upload"),
        "PUT" => stored(&request.body),
        _ => Reply::new(204),
    }
}

#[tokio::test]
async fn upload_under_sha512_announces_the_algorithm() {
    for content in contents() {
        let given = content.clone();
        let source = Server::start(move |_| Reply::new(200).body(given.clone())).await;
        let destination = Server::start(storing).await;
        let bench = Bench::nobody(1);
        let (from, to) = (repository(&source, "a/b"), repository(&destination, "c/d"));
        let blob = under_sha512(&content);
        let copied = bench.registry.copy_blob(&from, &to, &blob).await;
        assert_eq!(copied.unwrap(), Copied::Streamed);
        assert!(destination.seen().pop().unwrap().body == content);
        let uploads = "POST /v2/c/d/blobs/uploads/";
        let digest = blob.digest.to_string().replace(':', "%3A");
        let wanted = [
            format!("{uploads}?digest-algorithm=sha512"),
            format!("PUT /upload?digest={digest}"),
        ];
        assert_eq!(destination.lines(), wanted);
    }
}

#[tokio::test]
async fn damaged_blob_under_sha512_is_never_sent_whole() {
    for content in contents() {
        let mut damaged = content.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let source = Server::start(move |_| Reply::new(200).body(damaged.clone())).await;
        let destination = Server::start(storing).await;
        let bench = Bench::nobody(1);
        let (from, to) = (repository(&source, "a/b"), repository(&destination, "c/d"));
        let blob = under_sha512(&content);
        let error = bench.registry.copy_blob(&from, &to, &blob).await;
        let error = error.unwrap_err();
        assert!(is_lie(&error) && !error.is_write(), "{error:?}");
        let is_whole = |seen: &Seen| seen.body.len() >= content.len();
        assert!(!destination.seen().iter().any(is_whole));
    }
}

#[tokio::test]
async fn mount_under_sha512_counts_only_if_the_blob_is_there() {
    let blob = under_sha512(b"blob");
    for (status, wanted) in [(200, Copied::Mounted), (404, Copied::Streamed)] {
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" if request.target.contains("?mount=") => Reply::new(201),
            "HEAD" => Reply::new(status),
            "GET" => Reply::new(200).body("blob"),
            _ => storing(request),
        })
        .await;
        let bench = Bench::nobody(1);
        let (from, to) = (repository(&server, "o/from"), repository(&server, "o/to"));
        let copied = bench.registry.copy_blob(&from, &to, &blob).await;
        assert_eq!(copied.unwrap(), wanted, "{status}");
        let digest = &blob.digest;
        let mount = format!(
            "POST /v2/o/to/blobs/uploads/?mount={digest}&from=o/from&digest-algorithm=sha512"
        );
        assert_eq!(server.lines()[0], mount);
        assert_eq!(server.count("PUT"), usize::from(status == 404));
    }
}

#[tokio::test]
async fn manifest_is_pushed_under_its_sha512_digest() {
    let ([short, long], [_, wrong]) = (digests(MANIFEST), digests(b"other"));
    for (stated, is_stored) in [(&short, true), (&long, true), (&wrong, false)] {
        let header = stated.to_string();
        let server =
            Server::start(move |_| Reply::new(201).header("docker-content-digest", header.clone()))
                .await;
        let bench = Bench::nobody(1);
        let stored = bench
            .registry
            .put_manifest(
                &repository(&server, "o/r"),
                &Reference::Digest(long.clone()),
                &MediaType::OciIndex,
                MANIFEST,
            )
            .await;
        assert_eq!(server.lines(), [format!("PUT /v2/o/r/manifests/{long}")]);
        match stored {
            Ok(stored) => assert!(is_stored && stored.digest == long),
            Err(error) => assert!(!is_stored && is_lie(&error)),
        }
    }
}
