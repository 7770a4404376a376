//! Pushes of manifests: their checks, and the tags that they write.

use super::digest::{Algorithm, is_digest, is_digest_of};
use super::gitlab;
use super::options::{Options, Referrers};
use super::routes::{Refusal, refuse};
use super::store::Store;
use super::tag_parameter::QueryTags;
use crate::server::{Call, Reply};
use serde_json::Value;

const MANIFEST_MAX_BYTES: usize = 4 * 1024 * 1024;
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An accepted push.
pub(crate) struct Pushed<'a> {
    pub(crate) reply: Reply,
    /// The tags that it wrote.
    pub(crate) tags: Vec<&'a str>,
}

/// The reference of a push, with the tags of its query.
struct Target<'a> {
    algorithm: Algorithm,
    /// The tag in the path; `None` for a push by digest.
    tag: Option<&'a str>,
    query: QueryTags<'a>,
}

/// `PUT /v2/NAME/manifests/REFERENCE`. A refused push writes nothing.
pub(crate) fn put<'a>(
    store: &mut Store,
    options: &Options,
    call: &'a Call,
    name: &str,
    reference: &'a str,
) -> Result<Pushed<'a>, Refusal> {
    if call.body.len() > MANIFEST_MAX_BYTES {
        return refuse(413, "SIZE_INVALID", "manifest exceeds 4 MiB");
    }
    let target = Target::parse(options, call, reference)?;
    let content_type = call.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let manifest: Value = serde_json::from_slice(&call.body)
        .or_else(|error| refuse(400, "MANIFEST_INVALID", error.to_string()))?;
    check_media_type(media_type, &manifest)?;
    check_parts(store, options, name, media_type, &manifest)?;
    if options.habits.limits_artifacts {
        gitlab::check_artifact(store, name, &manifest)?;
    }
    let digest = target.algorithm.digest(&call.body);
    let tags: Vec<&str> = target.tags().collect();
    for tag in &tags {
        check_tag(tag)?;
        check_immutable(store, options, name, tag, &digest)?;
    }
    if let Some(tag) = target.tag {
        let held = store.tags(name).remove(tag);
        options.conditions.check(call, held.as_deref())?;
    }
    store.put_manifest(name, target.algorithm, media_type, &call.body);
    for tag in &tags {
        store.set_tag(name, tag, &digest);
    }
    let reply = accepted(options, name, &digest, &manifest);
    Ok(Pushed {
        reply: target.query.name_in(reply),
        tags,
    })
}

impl<'a> Target<'a> {
    fn parse(options: &Options, call: &'a Call, reference: &'a str) -> Result<Self, Refusal> {
        if !reference.contains(':') {
            return Ok(Self {
                algorithm: Algorithm::Sha256,
                tag: Some(reference),
                query: QueryTags::default(),
            });
        }
        let algorithm = Algorithm::of(reference).filter(|_| is_digest_of(reference, &call.body));
        let Some(algorithm) = algorithm else {
            return refuse(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            );
        };
        let query = options.tag_parameter.decide(call)?;
        Ok(Self {
            algorithm,
            tag: None,
            query,
        })
    }

    /// Returns the tags to write.
    fn tags(&self) -> impl Iterator<Item = &'a str> {
        self.tag.into_iter().chain(self.query.written.clone())
    }
}

fn accepted(options: &Options, name: &str, digest: &str, manifest: &Value) -> Reply {
    let mut reply = Reply::new(201);
    if options.habits.names_place {
        reply = reply.header("location", format!("/v2/{name}/manifests/{digest}"));
    }
    reply = reply.header("docker-content-digest", digest);
    let states_subject = options.habits.states_subject && options.referrers == Referrers::Api;
    match manifest["subject"]["digest"].as_str() {
        Some(subject) if states_subject => reply.header("oci-subject", subject),
        _ => reply,
    }
}

fn check_immutable(
    store: &Store,
    options: &Options,
    name: &str,
    tag: &str,
    digest: &str,
) -> Result<(), Refusal> {
    let held = store.tags(name).remove(tag);
    if !options.immutable_tags || held.is_none_or(|held| held == digest) {
        return Ok(());
    }
    refuse(
        400,
        "TAG_INVALID",
        format!(
            "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
        ),
    )
}

fn check_tag(tag: &str) -> Result<(), Refusal> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fine = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if fine {
        return Ok(());
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

/// Checks that children (if the options say so), config and layers exist. The `subject` need not exist (SPEC).
fn check_parts(
    store: &Store,
    options: &Options,
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
            !options.checks_children || store.manifest(name, digest).is_some()
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
