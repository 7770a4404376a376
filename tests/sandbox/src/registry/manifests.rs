//! Manifests: the checks of a push, reads, deletions, and referrers.

use super::options::{Deletes, Options, Referrers};
use super::routes::{Refusal, is_digest, refuse};
use super::services::Habits;
use super::store::{Manifest, Store};
use crate::encoding::sha256_text;
use crate::server::{Call, Reply};
use serde_json::{Value, json};

const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) fn get(
    store: &mut Store,
    habits: &Habits,
    call: &Call,
    name: &str,
    reference: &str,
) -> Result<Reply, Refusal> {
    if !store.knows(name) {
        return refuse(
            404,
            "NAME_UNKNOWN",
            format!("repository name not known to registry: {name}"),
        );
    }
    let accepted = call.header("accept").unwrap_or_default();
    let is_hidden = |media_type: &str| {
        habits.insists_on_accept && media_type == OCI_INDEX && !accepted.contains(OCI_INDEX)
    };
    match store.read_manifest(name, reference) {
        Some(manifest) if is_hidden(&manifest.media_type) => refuse(
            404,
            "MANIFEST_UNKNOWN",
            "OCI index found, but Accept header does not support OCI indexes",
        ),
        Some(manifest) => Ok(Reply::new(200)
            .body(&manifest.media_type, manifest.bytes.clone())
            .header("docker-content-digest", manifest.digest.clone())
            .header("etag", format!("\"{}\"", manifest.digest))),
        None => {
            let code = if store.has_expired(name, reference) {
                habits.expired_tag
            } else {
                habits.unknown_tag
            };
            refuse(404, code, format!("manifest unknown: {reference}"))
        }
    }
}

pub(crate) fn put(
    store: &mut Store,
    options: &Options,
    call: &Call,
    name: &str,
    reference: &str,
) -> Result<Reply, Refusal> {
    if call.body.len() > MANIFEST_MAX_BYTES {
        return refuse(413, "SIZE_INVALID", "manifest exceeds 4 MiB");
    }
    let digest = sha256_text(&call.body);
    let tag = if reference.contains(':') {
        if reference != digest {
            return refuse(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            );
        }
        None
    } else {
        Some(check_tag(reference)?)
    };
    let content_type = call.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let manifest: Value = serde_json::from_slice(&call.body)
        .or_else(|error| refuse(400, "MANIFEST_INVALID", error.to_string()))?;
    check_media_type(media_type, &manifest)?;
    check_parts(store, name, media_type, &manifest)?;
    if let Some(tag) = tag.filter(|_| options.immutable_tags)
        && let Some(held) = store.tags(name).get(tag)
        && *held != digest
    {
        return refuse(
            400,
            "TAG_INVALID",
            format!(
                "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
            ),
        );
    }
    store.put_manifest(name, tag, media_type, &call.body);
    let mut reply = Reply::new(201);
    if options.habits.names_place {
        reply = reply.header("location", format!("/v2/{name}/manifests/{digest}"));
    }
    reply = reply.header("docker-content-digest", digest);
    let states_subject = options.habits.states_subject && options.referrers == Referrers::Api;
    Ok(match manifest["subject"]["digest"].as_str() {
        Some(subject) if states_subject => reply.header("oci-subject", subject),
        _ => reply,
    })
}

pub(crate) fn delete(
    store: &mut Store,
    options: &Options,
    name: &str,
    reference: &str,
) -> Result<Reply, Refusal> {
    let by_tag = !reference.contains(':');
    match options.deletes {
        Deletes::Digests if by_tag => {
            let message = "provided digest did not match uploaded content";
            return refuse(400, "DIGEST_INVALID", message);
        }
        Deletes::Tags | Deletes::Digests => (),
        Deletes::Nothing => return refuse(405, "UNSUPPORTED", "The operation is unsupported."),
    }
    let gone = if by_tag {
        let held = store.tags(name).remove(reference);
        let gone = store.delete_tag(name, reference);
        if let Some(held) = held.filter(|_| options.habits.expires_siblings) {
            expire_siblings(store, name, &held);
        }
        gone
    } else {
        store.delete_with_tags(name, reference)
    };
    if gone {
        return Ok(Reply::new(202));
    }
    unknown(reference)
}

/// Deletes cosign's digest tags of a digest that has lost its last tag.
fn expire_siblings(store: &mut Store, name: &str, digest: &str) {
    if store.tags(name).values().any(|held| held == digest) {
        return;
    }
    let stem = digest.replace(':', "-");
    for suffix in ["sig", "att", "sbom"] {
        store.delete_tag(name, &format!("{stem}.{suffix}"));
    }
}

/// `GET /v2/NAME/referrers/DIGEST`. SPEC: never 404; an empty list is an answer.
pub(crate) fn referrers(
    store: &Store,
    call: &Call,
    name: &str,
    digest: &str,
    page_size: usize,
) -> Result<Reply, Refusal> {
    if !is_digest(digest) {
        return refuse(
            400,
            "DIGEST_INVALID",
            format!("invalid checksum digest: {digest}"),
        );
    }
    let wanted = call.query("artifactType");
    let all: Vec<Value> = store
        .manifests(name)
        .filter_map(|manifest| referrer(manifest, digest))
        .filter(|entry| wanted.is_none_or(|wanted| entry["artifactType"] == wanted))
        .collect();
    let start: usize = call
        .query("start")
        .and_then(|start| start.parse().ok())
        .unwrap_or(0);
    let page: Vec<&Value> = all.iter().skip(start).take(page_size).collect();
    let next = start + page.len();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page});
    let mut reply = Reply::new(200).body(OCI_INDEX, index.to_string());
    if let Some(wanted) = wanted {
        reply = reply.header("oci-filters-applied", "artifactType");
        if next < all.len() {
            let wanted = wanted.replace('+', "%2B");
            let link = format!(
                "</v2/{name}/referrers/{digest}?artifactType={wanted}&start={next}>; rel=\"next\""
            );
            reply = reply.header("link", link);
        }
    } else if next < all.len() {
        let link = format!("</v2/{name}/referrers/{digest}?start={next}>; rel=\"next\"");
        reply = reply.header("link", link);
    }
    Ok(reply)
}

/// Returns the descriptor of a manifest whose subject is `digest`.
fn referrer(manifest: &Manifest, digest: &str) -> Option<Value> {
    let content: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    if content["subject"]["digest"] != digest {
        return None;
    }
    let mut entry = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
    });
    // SPEC: `artifactType` of the manifest, else the media type of its config.
    let own = content["artifactType"].as_str().filter(|t| !t.is_empty());
    if let Some(artifact_type) = own.or_else(|| content["config"]["mediaType"].as_str()) {
        entry["artifactType"] = json!(artifact_type);
    }
    if content["annotations"].is_object() {
        entry["annotations"] = content["annotations"].clone();
    }
    Some(entry)
}

fn check_tag(tag: &str) -> Result<&str, Refusal> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fine = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if fine {
        return Ok(tag);
    }
    refuse(400, "TAG_INVALID", format!("invalid tag: {tag}"))
}

fn check_media_type(media_type: &str, manifest: &Value) -> Result<(), Refusal> {
    if ![OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].contains(&media_type) {
        return refuse(
            415,
            "MANIFEST_INVALID",
            format!("unknown manifest media type: {media_type}"),
        );
    }
    let inner = manifest["mediaType"].as_str();
    let optional = inner.is_none() && media_type.starts_with("application/vnd.oci.");
    if inner != Some(media_type) && !optional {
        return refuse(
            400,
            "MANIFEST_INVALID",
            format!("content type is {media_type}, mediaType is {inner:?}"),
        );
    }
    if manifest["schemaVersion"] != 2 {
        return refuse(400, "MANIFEST_INVALID", "schemaVersion is not 2");
    }
    Ok(())
}

/// Checks that children, config and layers exist. The `subject` need not exist (SPEC).
fn check_parts(
    store: &Store,
    name: &str,
    media_type: &str,
    manifest: &Value,
) -> Result<(), Refusal> {
    let is_index = media_type == OCI_INDEX || media_type == DOCKER_LIST;
    let list = if is_index { "manifests" } else { "layers" };
    let Some(entries) = manifest[list].as_array() else {
        return refuse(400, "MANIFEST_INVALID", format!("{list} is missing"));
    };
    let config = (!is_index).then(|| &manifest["config"]);
    for entry in config.into_iter().chain(entries) {
        let Some(digest) = entry["digest"].as_str().filter(|d| is_digest(d)) else {
            return refuse(400, "MANIFEST_INVALID", "a descriptor has no digest");
        };
        // Foreign layers are stored elsewhere.
        let elsewhere = entry["urls"]
            .as_array()
            .is_some_and(|urls| !urls.is_empty());
        let held = if is_index {
            store.manifest(name, digest).is_some()
        } else {
            elsewhere || store.blob(name, digest).is_some()
        };
        if !held {
            return refuse(
                400,
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {digest}"),
            );
        }
    }
    Ok(())
}

fn unknown<T>(reference: &str) -> Result<T, Refusal> {
    refuse(
        404,
        "MANIFEST_UNKNOWN",
        format!("manifest unknown: {reference}"),
    )
}
