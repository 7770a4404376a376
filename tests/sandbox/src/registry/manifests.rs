//! Manifests: reads, deletions, and referrers.

use super::digest::is_digest;
use super::gitlab;
use super::options::{Deletes, Options};
use super::push::OCI_INDEX;
use super::routes::{Refusal, refuse, unknown_name};
use super::store::{Manifest, Store};
use crate::server::{Call, Reply};
use serde_json::{Value, json};

pub(crate) fn get(
    store: &mut Store,
    options: &Options,
    call: &Call,
    name: &str,
    reference: &str,
) -> Result<Reply, Refusal> {
    let habits = &options.habits;
    if !store.knows(name) {
        return unknown_name(name);
    }
    let accepted = call.header("accept").unwrap_or_default();
    let is_hidden = |media_type: &str| {
        habits.insists_on_accept && media_type == OCI_INDEX && !accepted.contains(OCI_INDEX)
    };
    let image = gitlab::image_of_dash(store, name, reference);
    let image = image.filter(|_| habits.takes_dash_for_colon);
    match store.read_manifest(name, image.as_deref().unwrap_or(reference)) {
        Some(manifest) if is_hidden(&manifest.media_type) => refuse(
            404,
            "MANIFEST_UNKNOWN",
            "OCI index found, but Accept header does not support OCI indexes",
        ),
        Some(manifest) => {
            let reply = Reply::new(200)
                .body(&manifest.media_type, manifest.bytes.clone())
                .header("docker-content-digest", manifest.digest.clone());
            Ok(match options.conditions.etag(&manifest.digest) {
                Some(etag) => reply.header("etag", etag),
                None => reply,
            })
        }
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

fn unknown<T>(reference: &str) -> Result<T, Refusal> {
    refuse(
        404,
        "MANIFEST_UNKNOWN",
        format!("manifest unknown: {reference}"),
    )
}
