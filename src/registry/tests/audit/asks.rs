//! Sends each request through the functions that the rest of the program uses.

use super::super::super::{
    Copied, MayDelete, Probe, Referrers, Registry, RegistryError, Replaced, TagDeletion, TagRead,
    WriteRule, all_tags, delete_tags, missing_repository, put_tags,
};
use super::super::copies::descriptor;
use super::super::{MANIFEST, tag};
use super::Means;
use crate::domain::{Digest, FullTag, MediaType, Reference, Repository};

/// Every host that receives requests. All of them are the one server.
pub(super) const HOSTS: [&str; 17] = [
    "registry.test",
    "other.test",
    "plain.test",
    "crowded.test",
    "storage.test",
    "guarded.test",
    "posted.test",
    "harbor.test",
    "docker.io",
    "registry-1.docker.io",
    "hub.docker.com",
    "ghcr.io",
    "api.github.com",
    "quay.io",
    "octo.azurecr.io",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    "public.ecr.aws",
];

/// Two blobs: one that is read into memory, and one that is streamed.
pub(super) const BLOB: &[u8] = b"blob";
pub(super) const LARGE: &[u8] = &[7; 70_000];

/// The operation that sends the request under test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    Manifest(&'static str),
    DigestOfTag,
    DigestOfDigest(&'static str),
    PutManifest { host: &'static str, by_tag: bool },
    PutTags,
    ReplaceTag,
    ProbeConditions,
    AllTags,
    MayBeNew,
    HasBlob,
    Blob(&'static str),
    PutBlob(&'static [u8]),
    Copy(&'static str),
    Stream,
    UploadThatFails,
    Referrers,
    Delete(&'static str),
    DeleteTagAlone(&'static str),
}

/// Runs an operation. `address` is that of the server itself.
pub(super) async fn ask(ask: Ask, registry: &Registry, address: &str) -> Means {
    let home = at("registry.test");
    match ask {
        Ask::Manifest(host) => found(registry.manifest(&at(host), &tag("v1")).await),
        Ask::DigestOfTag => found(registry.manifest_digest(&home, &tag("v1")).await),
        Ask::DigestOfDigest(host) => {
            let reference = Reference::Digest(Digest::of(MANIFEST));
            found(registry.manifest_digest(&at(host), &reference).await)
        }
        Ask::PutManifest { host, by_tag } => {
            let by_digest = Reference::Digest(Digest::of(MANIFEST));
            let reference = if by_tag { tag("v1") } else { by_digest };
            let index = MediaType::OciIndex;
            done(
                registry
                    .put_manifest(&at(host), &reference, &index, MANIFEST)
                    .await,
            )
        }
        Ask::PutTags => write_tags(registry, &home).await,
        Ask::ReplaceTag => replace(registry, Probe::Nothing).await,
        Ask::ProbeConditions => replace(registry, Probe::Conditions).await,
        Ask::AllTags => all_tags(registry, &home)
            .await
            .map_or(Means::Unknown, |_| Means::Done),
        Ask::MayBeNew => may_be_new(registry).await,
        Ask::HasBlob => {
            let digest = Digest::of(BLOB);
            let has = registry.has_blob(&home, &digest).await;
            found(has.map(|has| has.then_some(())))
        }
        Ask::Blob(name) => {
            let repository = format!("registry.test/o/{name}").parse().unwrap();
            found(registry.blob(&repository, &Digest::of(BLOB), 10).await)
        }
        Ask::PutBlob(bytes) => done(registry.put_blob(&home, bytes).await),
        Ask::Copy(from) => {
            let from = format!("{from}/o/source").parse().unwrap();
            match registry.copy_blob(&from, &home, &descriptor(BLOB)).await {
                Ok(Copied::Streamed) if from.host() == home.host() => Means::OtherWay,
                copied => done(copied),
            }
        }
        Ask::Stream => {
            let from = "other.test/o/source".parse().unwrap();
            // Large uploads go to the server's own address, for which no proxy is used.
            let to = at(address);
            done(registry.copy_blob(&from, &to, &descriptor(LARGE)).await)
        }
        Ask::UploadThatFails => {
            let repository = "registry.test/o/refuses".parse().unwrap();
            done(registry.put_blob(&repository, BLOB).await)
        }
        Ask::Referrers => match registry.referrers::<Digest>(&home, &Digest::of(b"")).await {
            Ok(Referrers::Listed(_)) => Means::Done,
            Ok(Referrers::NoApi | Referrers::NoSubject) => Means::OtherWay,
            Err(_) => Means::Unknown,
        },
        Ask::Delete(host) => delete(registry, &at(host), MayDelete::Manifest).await,
        Ask::DeleteTagAlone(host) => delete(registry, &at(host), MayDelete::Tags).await,
    }
}

/// Other content than [`MANIFEST`].
const OTHER: &[u8] = br#"{"schemaVersion":2,"manifests":[],"annotations":{}}"#;

fn rule_for(held: &Digest, probe: Probe) -> WriteRule<'_> {
    WriteRule {
        held: Some(held),
        read: TagRead::JustNow,
        probe,
    }
}

/// Reads a tag whose registry sends an `ETag`.
async fn tag_with_etag(registry: &Registry) -> FullTag {
    let tag: FullTag = FullTag {
        repository: "other.test/o/etag".parse().unwrap(),
        tag: "v1".parse().unwrap(),
    };
    let reference = tag.reference();
    let found = registry.manifest_digest(&tag.repository, &reference);
    assert_eq!(found.await.unwrap(), Some(Digest::of(MANIFEST)));
    tag
}

/// Replaces the content of a tag that has an `ETag`.
async fn replace(registry: &Registry, probe: Probe) -> Means {
    let tag = tag_with_etag(registry).await;
    let (held, index) = (Digest::of(MANIFEST), MediaType::OciIndex);
    let put = registry.replace_tag(&tag, rule_for(&held, probe), &index, OTHER);
    match put.await {
        Ok(Replaced::Written(_)) => Means::Done,
        Ok(Replaced::HeldOther) => Means::OtherWay,
        Err(_) => Means::Unknown,
    }
}

async fn write_tags(registry: &Registry, repository: &Repository) -> Means {
    let tags = ["v1", "v2"].map(|tag| tag.parse().unwrap());
    let index = MediaType::OciIndex;
    match put_tags(registry, repository, &tags, &index, MANIFEST)
        .await
        .len()
    {
        2 => Means::Done,
        0 => Means::OtherWay,
        _ => Means::Unknown,
    }
}

/// Returns the repository `place`, or `o/r` if that is only a host.
fn at(place: &str) -> Repository {
    let name = if place.contains('/') { "" } else { "/o/r" };
    format!("{place}{name}").parse().unwrap()
}

fn done<T>(result: Result<T, RegistryError>) -> Means {
    result.map_or(Means::Unknown, |_| Means::Done)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the end of what was found"
)]
fn found<T>(result: Result<Option<T>, RegistryError>) -> Means {
    match result {
        Ok(Some(_)) => Means::Done,
        Ok(None) => Means::Absent,
        Err(_) => Means::Unknown,
    }
}

/// Checks a repository that denies its manifests to a client with push access.
async fn may_be_new(registry: &Registry) -> Means {
    let denied = "guarded.test/o/denied".parse().unwrap();
    registry.request_push_scope(&denied);
    let error = registry.manifest(&denied, &tag("v1")).await.unwrap_err();
    assert!(error.is_denied(), "{error:?}");
    if missing_repository::may_be_new(registry, &denied, [&error]).await {
        Means::Absent
    } else {
        Means::Unknown
    }
}

async fn delete(registry: &Registry, repository: &Repository, may_delete: MayDelete) -> Means {
    let digest = Digest::of(MANIFEST);
    let tags = ["v1".parse().unwrap()];
    let deletion = TagDeletion {
        repository,
        digest: &digest,
        tags: &tags,
        may_delete,
    };
    if delete_tags(registry, deletion).await.is_empty() {
        Means::Done
    } else {
        Means::Unknown
    }
}
