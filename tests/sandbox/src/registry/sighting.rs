//! A log of the signatures that a client could find for a tag at the moment when it was written.

use super::digest::referrers_tag;
use super::options::Referrers;
use super::store::Store;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The signatures of one digest, of any signer, valid or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Manifests of bundles that clients can find: by the API, or without it by the referrers tag.
    pub bundles: BTreeSet<String>,
    /// Manifests of bundles that are stored but cannot be found.
    pub unlisted: BTreeSet<String>,
    /// Signatures of the older format, taken from their layers.
    pub legacy: BTreeSet<String>,
}

/// A push of a manifest by tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagging {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The digest under the tag since then.
    pub digest: String,
    /// The signatures of the digest and of each of its children, at that moment.
    pub signatures: BTreeMap<String, Signatures>,
}

/// Returns the stored signatures of `subject`, without lag and faults.
pub(crate) fn signatures(
    store: &Store,
    referrers: Referrers,
    repository: &str,
    subject: &str,
) -> Signatures {
    let document = |reference: &str| -> Option<Value> {
        let manifest = store.manifest(repository, reference)?;
        serde_json::from_slice(&manifest.bytes).ok()
    };
    let texts = |list: &Value, name: &str| -> BTreeSet<String> {
        let entries = list.as_array().into_iter().flatten();
        let texts = entries.filter_map(|entry| entry[name].as_str());
        texts.map(str::to_owned).collect()
    };
    let list = document(&referrers_tag(subject))
        .map_or(BTreeSet::new(), |list| texts(&list["manifests"], "digest"));
    let is_bundle = |manifest: &Value| {
        let layer = manifest["layers"][0]["mediaType"].as_str();
        manifest["subject"]["digest"] == subject && layer.is_some_and(|t| t.starts_with(BUNDLE))
    };
    let mut found = Signatures::default();
    for digest in store.manifest_digests(repository) {
        if !document(&digest).is_some_and(|manifest| is_bundle(&manifest)) {
            continue;
        }
        if referrers == Referrers::Api || list.contains(&digest) {
            found.bundles.insert(digest);
        } else {
            found.unlisted.insert(digest);
        }
    }
    let legacy_tag = format!("{}.sig", subject.replace(':', "-"));
    if let Some(manifest) = document(&legacy_tag) {
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let stated = layers.filter_map(|layer| layer["annotations"][SIGNATURE].as_str());
        found.legacy = stated.map(str::to_owned).collect();
    }
    found
}

/// Returns the log entry of a push that wrote this tag.
pub(crate) fn of_push(
    store: &Store,
    referrers: Referrers,
    repository: &str,
    tag: &str,
) -> Option<Tagging> {
    let manifest = store.manifest(repository, tag)?;
    let content: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let children = content["manifests"].as_array().into_iter().flatten();
    let children = children.filter_map(|child| child["digest"].as_str());
    let all = children.chain([manifest.digest.as_str()]);
    let of = |digest: &str| {
        (
            digest.to_owned(),
            signatures(store, referrers, repository, digest),
        )
    };
    Some(Tagging {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: manifest.digest.clone(),
        signatures: all.map(of).collect(),
    })
}
