//! Checks that the manifest of a bundle contains nothing that the bundle does not vouch for. The manifest is not
//! signed: anyone with push access can write another one around the same bundle.
//!
//! Source: cosign, `pkg/oci/remote/write.go`; sigstore-js, `packages/oci/src/image.ts`, which leaves out fields that
//! some registries do not accept.

use serde_json::Value;

use crate::domain::{
    BUNDLE_TYPE, Descriptor, Digest, EMPTY_CONFIG, EMPTY_CONFIG_TYPE, IMAGE_CONFIG_TYPE, Manifest,
    ManifestKind, MediaType, PREDICATE_TYPE, has_lost_texts,
};

/// The media types of a bundle: both notations, and one without the version. Docker Hub and Amazon ECR do not accept
/// the version.
const BUNDLE_TYPES: [&str; 3] = [
    BUNDLE_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json",
];
const CONFIG_TYPES: [&str; 2] = [EMPTY_CONFIG_TYPE, IMAGE_CONFIG_TYPE];
const CREATED: &str = "org.opencontainers.image.created";
const CONTENT: &str = "dev.sigstore.bundle.content";
const TITLE: &str = "org.opencontainers.image.title";
const TIME_MAX_CHARS: usize = 40;
/// The maximum length of a bundle's manifest. Longer ones are not parsed, since that takes many times their length.
const STRICT_MAX_BYTES: usize = 16 * 1024;

/// Returns the entry for `manifest`, whose only layer is `bundle`, in a list of referrers of `subject`. An error names
/// a part of the manifest that is not needed to store the bundle. The caller must still compare the bundle's statement
/// with the annotation.
pub(crate) fn strict_entry(
    manifest: &Manifest,
    bundle: &Descriptor,
    subject: &Descriptor,
) -> Result<Descriptor, String> {
    let ManifestKind::Image { annotations, .. } = manifest.kind() else {
        return Err(manifest.media_type().to_string());
    };
    if manifest.bytes().len() > STRICT_MAX_BYTES {
        return Err(format!("{} bytes", manifest.bytes().len()));
    }
    let document: Value = serde_json::from_slice(manifest.bytes()).map_err(|it| it.to_string())?;
    if has_lost_texts(manifest.bytes(), &document) {
        return Err("a repeated name".to_owned());
    }
    let is_needed = |path: &[&str], value: &Value| is_needed(path, value, bundle, subject);
    if let Some(path) = extra_field(&document, &mut Vec::new(), &is_needed) {
        return Err(path);
    }
    Ok(Descriptor {
        artifact_type: Some(bundle.media_type.to_string()),
        annotations: annotations.clone(),
        ..manifest.descriptor()
    })
}

/// Returns the path of the first value in `value` that is not plain.
fn extra_field<'a>(
    value: &'a Value,
    path: &mut Vec<&'a str>,
    is_needed: &dyn Fn(&[&str], &Value) -> bool,
) -> Option<String> {
    let inside: Vec<(Option<&str>, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, it)| (Some(&**name), it))
            .collect(),
        Value::Array(values) => values.iter().map(|it| (None, it)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    if inside.is_empty() {
        return (!is_needed(path, value)).then(|| path.join("."));
    }
    inside.into_iter().find_map(|(name, value)| {
        path.extend(name);
        let found = extra_field(value, path, is_needed);
        if name.is_some() {
            path.pop();
        }
        found
    })
}

fn is_needed(path: &[&str], value: &Value, bundle: &Descriptor, subject: &Descriptor) -> bool {
    let is_any = |known: &[&str]| known.iter().any(|known| value == known);
    match path {
        ["schemaVersion"] => value == 2,
        ["mediaType"] => value == MediaType::OciManifest.as_str(),
        ["artifactType"] | ["config", "artifactType"] | ["layers", "mediaType"] => {
            is_any(&BUNDLE_TYPES)
        }
        ["config", "mediaType"] => is_any(&CONFIG_TYPES),
        ["config", "digest"] => *value == Digest::of(EMPTY_CONFIG).to_string(),
        ["config", "size"] => value == EMPTY_CONFIG.len(),
        ["config", "data"] => value == "e30=",
        ["layers", "annotations", TITLE] => {
            let (algorithm, hex) = (bundle.digest.algorithm(), bundle.digest.hex());
            *value == format!("{algorithm}-{hex}.sigstore.json")
        }
        ["subject", "mediaType"] => value == subject.media_type.as_str(),
        ["subject", "digest"] => *value == subject.digest.to_string(),
        ["subject", "size"] => value == subject.size,
        ["annotations", CREATED] => value.as_str().is_some_and(is_time),
        ["annotations", CONTENT] => value == "dsse-envelope",
        ["annotations", PREDICATE_TYPE] => value.is_string(),
        // The bundle was read by these fields. An annotations object without names is empty.
        ["annotations"] | ["layers", "digest" | "size" | "annotations"] => true,
        _ => false,
    }
}

fn is_time(text: &str) -> bool {
    text.len() <= TIME_MAX_CHARS && text.parse::<jiff::Timestamp>().is_ok()
}
