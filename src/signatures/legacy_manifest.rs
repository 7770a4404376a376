//! The manifest that signatures in cosign's older format share: built with the first signature, then extended.
//!
//! Source: cosign 2, `pkg/oci/mutate/signatures.go`, `pkg/oci/empty/signatures.go`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::SignatureError;
use super::legacy_layer::{LAYER_TYPE, is_signature};
use crate::domain::{Descriptor, Digest, IMAGE_CONFIG_TYPE, Manifest, ManifestKind, MediaType};
use crate::referrers::{Change, Edits, ListError, is_list, present};
use crate::sigstore::LegacySignature;

const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// The creation time that cosign writes everywhere here, so that the same content has the same bytes.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Reports whether the layers contain this signature, with all its annotations.
pub(crate) fn contains_signature(layers: &[Descriptor], signature: &LegacySignature) -> bool {
    let payload = Digest::of(&signature.payload);
    let same = |layer: &Descriptor| {
        is_signature(layer) && layer.digest == payload && layer.annotations == signature.annotations
    };
    layers.iter().any(same)
}

/// The config of a signature manifest.
pub(crate) enum SignatureConfig {
    /// The bytes of the config.
    Known(Vec<u8>),
    /// A config that is not there, or is no config.
    Missing,
    /// A config of another type, which does not list layers.
    Foreign,
}

/// Returns the config of a signature manifest, if it is of a type that lists layers.
pub(crate) fn config_of(manifest: &Manifest) -> Option<&Descriptor> {
    match manifest.kind() {
        ManifestKind::Image { config, .. } => Some(&**config).filter(|config| {
            [IMAGE_CONFIG_TYPE, DOCKER_CONFIG_TYPE].contains(&config.media_type.as_str())
        }),
        ManifestKind::Index { .. } => None,
    }
}

/// Builds the first signature's manifest, byte for byte as cosign 2 writes it.
pub(crate) fn begin(signature: &LegacySignature) -> Result<Change, SignatureError> {
    let config = bytes(&config([&Digest::of(&signature.payload)]))?;
    Ok(Change {
        media_type: MediaType::OciManifest,
        bytes: bytes(&manifest(&config, &[layer_of(signature)]))?,
        parts: vec![config, signature.payload.clone()],
    })
}

/// Appends one signature to the manifest. Content of other writers stays as they wrote it.
pub(crate) fn append(
    current: &Manifest,
    config: SignatureConfig,
    signature: &LegacySignature,
) -> Result<Change, SignatureError> {
    let payload = Digest::of(&signature.payload);
    let layer = layer_of(signature).to_string();
    let mut change = grow(current, config, &[layer], &[&payload])?;
    change.parts.insert(0, signature.payload.clone());
    Ok(change)
}

/// Appends the layers of `other` that the manifest lacks, or returns `None` if it has all of them. The caller must copy
/// their contents.
pub(crate) fn merge(
    current: &Manifest,
    config: SignatureConfig,
    other: &Manifest,
) -> Result<Option<Change>, SignatureError> {
    #[derive(Deserialize)]
    struct Other<'a> {
        #[serde(borrow)]
        layers: Option<Vec<&'a RawValue>>,
    }
    let (ManifestKind::Image { layers: own, .. }, ManifestKind::Image { layers: others, .. }) =
        (current.kind(), other.kind())
    else {
        return Ok(None);
    };
    let unwritable = ListError::Unwritable;
    let Other { layers: raw } = serde_json::from_slice(other.bytes()).map_err(unwritable)?;
    let same = |one: &Descriptor, other: &Descriptor| {
        (&one.digest, &one.media_type, &one.annotations)
            == (&other.digest, &other.media_type, &other.annotations)
    };
    let (layers, digests): (Vec<String>, Vec<&Digest>) = raw
        .unwrap_or_default()
        .into_iter()
        .zip(others)
        .filter(|(_, other)| !own.iter().any(|one| same(one, other)))
        .map(|(raw, other)| (raw.get().to_owned(), &other.digest))
        .unzip();
    if layers.is_empty() {
        return Ok(None);
    }
    grow(current, config, &layers, &digests).map(Some)
}

/// Builds a manifest with only these signatures, as cosign 2 writes it, and the content of its config. Everything else
/// in their original manifest, or in their descriptors, is left out.
pub(crate) fn of_signatures(
    signatures: &[&Descriptor],
) -> Result<(Manifest, Vec<u8>), SignatureError> {
    let config = bytes(&config(signatures.iter().map(|one| &one.digest)))?;
    let layers = signatures
        .iter()
        .map(|one| layer(&one.digest, one.size, &one.annotations));
    let manifest = bytes(&manifest(&config, &layers.collect::<Vec<_>>()))?;
    let unreadable = |error| ListError::Unwritable(serde::de::Error::custom(error));
    let manifest = Manifest::parse(manifest, MediaType::OciManifest).map_err(unreadable)?;
    Ok((manifest, config))
}

fn grow(
    current: &Manifest,
    config: SignatureConfig,
    layers: &[String],
    digests: &[&Digest],
) -> Result<Change, SignatureError> {
    let config = match config {
        SignatureConfig::Known(known) => {
            longer(&known, digests).or_else(|| rebuilt(current, digests))
        }
        SignatureConfig::Missing => rebuilt(current, digests),
        SignatureConfig::Foreign => None,
    };
    let grown = grown(current.bytes(), config.as_deref(), layers);
    Ok(Change {
        media_type: current.media_type().clone(),
        bytes: grown.map_err(ListError::Unwritable)?.into_bytes(),
        parts: Vec::from_iter(config),
    })
}

/// Appends these layers to the manifest, and points it to this config if there is one.
fn grown(
    manifest: &[u8],
    config: Option<&[u8]>,
    layers: &[String],
) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct ManifestParts<'a> {
        #[serde(borrow)]
        config: Pointer<'a>,
        #[serde(borrow, default, deserialize_with = "present")]
        layers: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Pointer<'a> {
        #[serde(borrow)]
        size: &'a RawValue,
        #[serde(borrow)]
        digest: &'a RawValue,
    }
    let text = std::str::from_utf8(manifest).map_err(serde::de::Error::custom)?;
    let parts: ManifestParts<'_> = serde_json::from_str(text)?;
    let mut edits = Edits::of(text);
    edits.append(parts.layers, "layers", layers);
    if let Some(config) = config {
        edits.replace(parts.config.size, config.len().to_string());
        let digest = Value::from(Digest::of(config).to_string());
        edits.replace(parts.config.digest, digest.to_string());
    }
    Ok(edits.done())
}

fn manifest(config: &[u8], layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "config": {"mediaType": IMAGE_CONFIG_TYPE, "size": config.len(), "digest": Digest::of(config)},
        "layers": layers,
    })
}

fn layer_of(signature: &LegacySignature) -> Value {
    let payload = &signature.payload;
    layer(
        &Digest::of(payload),
        payload.len() as u64,
        &signature.annotations,
    )
}

fn layer(payload: &Digest, size: u64, annotations: &BTreeMap<String, String>) -> Value {
    json!({
        "mediaType": LAYER_TYPE,
        "size": size,
        "digest": payload,
        "annotations": annotations,
    })
}

/// Appends these layers to the config, or returns `None` if it is no config.
fn longer(config: &[u8], layers: &[&Digest]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct ConfigParts<'a> {
        #[serde(borrow)]
        rootfs: Rootfs<'a>,
        #[serde(borrow)]
        history: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Rootfs<'a> {
        #[serde(borrow)]
        diff_ids: &'a RawValue,
    }
    let text = std::str::from_utf8(config).ok()?;
    let ConfigParts { rootfs, history } = serde_json::from_str(text).ok()?;
    let diff_ids = Some(rootfs.diff_ids).filter(|list| is_list(list))?;
    let mut edits = Edits::of(text);
    let digests = layers.iter().map(|layer| format!("\"{layer}\""));
    edits.append(Some(diff_ids), "diff_ids", &digests.collect::<Vec<_>>());
    if let Some(history) = history.filter(|list| is_list(list)) {
        let step = json!({"created": NO_TIME}).to_string();
        edits.append(Some(history), "history", &vec![step; layers.len()]);
    }
    Some(edits.done().into_bytes())
}

/// Builds a config for the existing layers and these. The layers are not compressed: their digests are those of their
/// contents.
fn rebuilt(current: &Manifest, layers: &[&Digest]) -> Option<Vec<u8>> {
    match current.kind() {
        ManifestKind::Image { layers: known, .. } => {
            let known = known.iter().map(|layer| &layer.digest);
            let config = config(known.chain(layers.iter().copied()));
            Some(config.to_string().into_bytes())
        }
        ManifestKind::Index { .. } => None,
    }
}

fn config<'a>(layers: impl IntoIterator<Item = &'a Digest>) -> Value {
    let layers: Vec<&Digest> = layers.into_iter().collect();
    let history = vec![json!({"created": NO_TIME}); layers.len()];
    json!({
        "architecture": "",
        "created": NO_TIME,
        "history": history,
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": layers},
        "config": {},
    })
}

fn bytes(document: &Value) -> Result<Vec<u8>, SignatureError> {
    Ok(serde_json::to_vec(document).map_err(ListError::Unwritable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/signing/legacy");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }

    fn manifest(bytes: Vec<u8>) -> Manifest {
        Manifest::parse(bytes, MediaType::OciManifest).unwrap()
    }

    /// Returns a signature that cosign 2 made, as if it were ours.
    fn recorded(number: usize) -> LegacySignature {
        let ManifestKind::Image { layers, .. } =
            manifest(fixture("manifest-of-two.json")).kind().clone()
        else {
            panic!("it is an image");
        };
        LegacySignature {
            payload: fixture("payload.json"),
            annotations: layers[number].annotations.clone(),
            verified: crate::sigstore::Verified::invented(&Digest::of(b"index"), ""),
        }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn first_signature_is_written_as_cosign_2_writes_it() {
        let change = begin(&recorded(0)).unwrap();
        assert_eq!(text(&change.bytes), text(&fixture("manifest.json")));
        assert_eq!(
            change.parts,
            [fixture("config.json"), fixture("payload.json")]
        );
    }

    #[test]
    fn further_signature_is_added_as_cosign_2_adds_it() {
        let current = manifest(fixture("manifest.json"));
        let known = SignatureConfig::Known(fixture("config.json"));
        let change = append(&current, known, &recorded(1)).unwrap();
        assert_eq!(text(&change.bytes), text(&fixture("manifest-of-two.json")));
        assert_eq!(
            change.parts,
            [fixture("payload.json"), fixture("config-of-two.json")]
        );
        let ManifestKind::Image { layers, .. } = current.kind() else {
            panic!("it is an image");
        };
        assert!(
            contains_signature(layers, &recorded(0)) && !contains_signature(layers, &recorded(1))
        );
    }

    #[test]
    fn list_of_all_signatures_that_cosign_2_made_is_its_own() {
        for (name, of) in [("manifest", "config"), ("manifest-of-two", "config-of-two")] {
            let original = manifest(fixture(&format!("{name}.json")));
            let ManifestKind::Image { layers, .. } = original.kind() else {
                panic!("it is an image");
            };
            let (made, config) = of_signatures(&layers.iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(text(made.bytes()), text(original.bytes()));
            assert_eq!(config, fixture(&format!("{of}.json")));
        }
    }

    #[test]
    fn config_that_is_lost_or_garbage_is_made_anew() {
        let current = manifest(fixture("manifest.json"));
        for config in [
            SignatureConfig::Missing,
            SignatureConfig::Known(b"garbage".to_vec()),
            SignatureConfig::Known(b"{}".to_vec()),
        ] {
            let change = append(&current, config, &recorded(1)).unwrap();
            assert_eq!(text(&change.bytes), text(&fixture("manifest-of-two.json")));
            assert_eq!(change.parts[1], fixture("config-of-two.json"));
        }
    }

    #[test]
    fn what_others_wrote_stays_as_they_wrote_it() {
        let digest = Digest::of(b"x");
        let theirs = format!(
            r#"{{"schemaVersion":2,"x-field":{{"b":1,"a":[2]}},"config":{{"digest":"{digest}","size":2,"mediaType":"application/vnd.oci.empty.v1+json","x":null}},"layers":[{{"size":7,"digest":"{digest}","mediaType":"{LAYER_TYPE}","x":[1.50]}},{{"mediaType":"text/plain","size":1,"digest":"{digest}"}}],"annotations":{{"z":"1","a":"2"}}}}"#
        );
        let current = manifest(theirs.clone().into_bytes());
        assert!(config_of(&current).is_none());
        let change = append(&current, SignatureConfig::Foreign, &recorded(0)).unwrap();
        let ours = layer_of(&recorded(0)).to_string();
        let ours = format!("}},{ours}],\"annotations\"");
        let expected = theirs.replace("}],\"annotations\"", &ours);
        assert_eq!(text(&change.bytes), expected);
        assert_eq!(change.parts, [fixture("payload.json")]);
    }

    #[test]
    fn config_of_others_keeps_what_it_says() {
        let config = r#"{"rootfs":{"diff_ids":["a"],"x":1},"author":"them","history":null}"#;
        let longer = longer(config.as_bytes(), &[&Digest::of(b"x")]).unwrap();
        let expected = config.replace(r#"["a"]"#, &format!(r#"["a","{}"]"#, Digest::of(b"x")));
        assert_eq!(text(&longer), expected);
    }
}
