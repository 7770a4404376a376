//! Manifests, indexes and descriptors. Bytes are kept exactly as received: a digest is only valid for those bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::StrictObject;
use super::{Algorithm, Digest, MediaType, Platform};

/// The maximum number of children of an index, and of layers of an image. No usable manifest has more.
const LIST_MAX: usize = 1000;
/// The maximum number of names and texts in a manifest. In memory each takes many times its length, however short it
/// is.
const TEXTS_MAX: usize = 65_536;

/// The empty config, for manifests that need none; it is a blob like any other. Source: OCI image specification,
/// `manifest.md`, "Guidance for an Empty Descriptor".
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// The media type of the empty config.
pub const EMPTY_CONFIG_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The media type of an image's config.
pub const IMAGE_CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// A pointer from one document to another: media type, digest and size.
///
/// Source: OCI image specification, `descriptor.md`. Fields are serialised in a fixed order, which this program's
/// indexes have. Absent fields are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the target.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The platform that it runs on, for a child of an index.
    #[serde(
        default,
        deserialize_with = "maybe_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub platform: Option<Platform>,
    /// Its annotations.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The artifact type, for a referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Other places to download it from, as URLs.
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Its content, embedded as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A manifest that a registry stores under a digest or a tag: its bytes and its parsed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    bytes: Vec<u8>,
    digest: Digest,
    media_type: MediaType,
    kind: ManifestKind,
}

/// The two shapes of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestKind {
    /// An OCI index or a Docker manifest list.
    Index {
        /// Its children, in the order of the document.
        manifests: Vec<Descriptor>,
        /// The manifest that it refers to.
        subject: Option<Box<Descriptor>>,
        /// The index's own annotations.
        annotations: BTreeMap<String, String>,
    },
    /// The manifest of an image or an artifact.
    Image {
        /// The image config, or the blob that an artifact has in its place.
        config: Box<Descriptor>,
        /// The layers, or an artifact's content.
        layers: Vec<Descriptor>,
        /// The artifact type, if one is given.
        artifact_type: Option<String>,
        /// The manifest that it refers to.
        subject: Option<Box<Descriptor>>,
        /// The manifest's own annotations.
        annotations: BTreeMap<String, String>,
    },
}

/// The maximum length of a version.
const VERSION_MAX_BYTES: usize = 1024;

/// The part of an image config that states the platform and the version of the image.
///
/// Source: OCI image specification, `config.md`; Docker's image config has the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform.
    pub platform: Platform,
    /// The version that its label states.
    pub version: Option<String>,
}

impl ImageConfig {
    /// Reads a config. SECURITY: only the needed fields are kept in memory, however large the rest is.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self {
            platform: serde_json::from_slice(bytes)?,
            version: version_label(bytes),
        })
    }
}

/// Returns the version that the label of an image config states, if it is present and a text. Every part of a config
/// may be absent or of another shape.
#[must_use]
pub fn version_label(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct LabelledConfig<'a> {
        #[serde(borrow)]
        config: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Started<'a> {
        #[serde(borrow, rename = "Labels")]
        labels: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Labels {
        #[serde(rename = "org.opencontainers.image.version")]
        version: String,
    }
    let LabelledConfig { config } = serde_json::from_slice(config).ok()?;
    let Started { labels } = serde_json::from_str(config.get()).ok()?;
    let Labels { version } = serde_json::from_str(labels.get()).ok()?;
    Some(version).filter(|version| version.len() <= VERSION_MAX_BYTES)
}

/// The reason why some bytes are not a manifest that this program understands.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are not JSON, or not of the shape that their media type requires.
    #[error("it is not a well-formed `{media_type}`")]
    Malformed {
        /// The expected media type.
        media_type: MediaType,
        /// The parser's error, with its position.
        #[source]
        source: serde_json::Error,
    },
    /// The document states another media type than the registry does.
    #[error("the registry serves it as `{served}`, but its `mediaType` is `{written}`")]
    Disagreement {
        /// The registry's `Content-Type`.
        served: MediaType,
        /// The document's `mediaType`.
        written: MediaType,
    },
    /// The media type is not one that an index can contain.
    #[error(
        "its media type `{0}` is not that of an OCI index, an OCI manifest, a Docker manifest list or a Docker manifest"
    )]
    Unsupported(MediaType),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument {
    media_type: Option<MediaType>,
    #[serde(default, deserialize_with = "short_list")]
    manifests: Option<Vec<Descriptor>>,
    config: Option<StrictObject<Descriptor>>,
    #[serde(default, deserialize_with = "short_list")]
    layers: Option<Vec<Descriptor>>,
    artifact_type: Option<String>,
    subject: Option<StrictObject<Descriptor>>,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Makes a descriptor with only the three fields that every descriptor has.
    #[must_use]
    pub fn new(media_type: MediaType, size: u64, digest: Digest) -> Self {
        Self {
            media_type,
            size,
            digest,
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
            urls: Vec::new(),
            data: None,
        }
    }

    /// True if registries need not store the content, since it is available elsewhere.
    ///
    /// Source: OCI image specification, `layer.md`, "Non-Distributable Layers"; Docker, `manifest-v2-2.md`.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        let media_type = self.media_type.as_str();
        !self.urls.is_empty()
            || media_type.contains(".nondistributable.")
            || media_type.contains(".foreign.")
    }

    /// True if this is [`EMPTY_CONFIG`], whose content is known without a request.
    #[must_use]
    pub fn is_empty_config(&self) -> bool {
        self.size == 2 && self.digest == Digest::of(EMPTY_CONFIG)
    }
}

impl Manifest {
    /// Reads `bytes` as the media type in the registry's `Content-Type`. A `mediaType` inside must agree. A document
    /// that two readers interpret differently is an attack (OCI distribution specification, CVE-2021-41190).
    pub fn parse(bytes: Vec<u8>, served: MediaType) -> Result<Self, ManifestError> {
        Self::parse_as(bytes, served, Algorithm::Sha256)
    }

    /// Reads `bytes` like [`Self::parse`]. Its digest is that of this algorithm.
    pub fn parse_as(
        bytes: Vec<u8>,
        served: MediaType,
        algorithm: Algorithm,
    ) -> Result<Self, ManifestError> {
        if !served.is_index() && !served.is_image() {
            return Err(ManifestError::Unsupported(served));
        }
        let malformed = |source| ManifestError::Malformed {
            media_type: served.clone(),
            source,
        };
        if count_texts(&bytes) > TEXTS_MAX {
            let many = format_args!("it contains more than {TEXTS_MAX} names and strings");
            return Err(malformed(serde::de::Error::custom(many)));
        }
        let StrictObject(document): StrictObject<ManifestDocument> =
            serde_json::from_slice(&bytes).map_err(malformed)?;
        if let Some(written) = document
            .media_type
            .clone()
            .filter(|written| *written != served)
        {
            return Err(ManifestError::Disagreement { served, written });
        }
        let is_image_too = document.config.is_some() || document.layers.is_some();
        if (served.is_index() && is_image_too)
            || (served.is_image() && document.manifests.is_some())
        {
            let both = "it has the fields of an index and of an image";
            return Err(malformed(serde::de::Error::custom(both)));
        }
        let missing = |field| malformed(serde::de::Error::missing_field(field));
        let subject = document
            .subject
            .map(|StrictObject(subject)| Box::new(subject));
        let kind = if served.is_index() {
            // SPEC: `manifests` is required; some registries write `null` for an empty list.
            ManifestKind::Index {
                manifests: document.manifests.unwrap_or_default(),
                subject,
                annotations: document.annotations,
            }
        } else {
            let StrictObject(config) = document.config.ok_or_else(|| missing("config"))?;
            ManifestKind::Image {
                config: Box::new(config),
                layers: document.layers.unwrap_or_default(),
                artifact_type: document.artifact_type,
                subject,
                annotations: document.annotations,
            }
        };
        Ok(Self {
            digest: algorithm.digest(&bytes),
            bytes,
            media_type: served,
            kind,
        })
    }

    /// Returns the same document with its SHA-256 digest.
    #[must_use]
    pub fn with_sha256(self) -> Self {
        let digest = match self.digest.algorithm() {
            Algorithm::Sha256 => self.digest,
            Algorithm::Sha512 => Digest::of(&self.bytes),
        };
        Self { digest, ..self }
    }

    /// The bytes as received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest, computed from the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The media type under which the registry served it.
    #[must_use]
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The parsed fields of the document.
    #[must_use]
    pub fn kind(&self) -> &ManifestKind {
        &self.kind
    }

    /// One of its own annotations.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        let (ManifestKind::Index { annotations, .. } | ManifestKind::Image { annotations, .. }) =
            &self.kind;
        annotations.get(name).map(String::as_str)
    }

    /// The manifest that it refers to, if it names one.
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        let (ManifestKind::Index { subject, .. } | ManifestKind::Image { subject, .. }) =
            &self.kind;
        subject.as_deref()
    }

    /// The children of an index, as it describes them; an image has none.
    #[must_use]
    pub fn children(&self) -> &[Descriptor] {
        match &self.kind {
            ManifestKind::Index { manifests, .. } => manifests,
            ManifestKind::Image { .. } => &[],
        }
    }

    /// A descriptor that points to this document.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            self.media_type.clone(),
            self.bytes.len() as u64,
            self.digest.clone(),
        )
    }
}

/// Reports whether `document`, as parsed from `bytes`, lacks a name or a text of them. A parser keeps one value of a name
/// that occurs twice: one reader uses the first, another the last.
///
/// NOTE: `serde_json` also replaces an object by the content of its text if it has the name of its own raw values. A count
/// finds both; a search for repeated names finds only the first.
#[must_use]
pub fn has_lost_texts(bytes: &[u8], document: &serde_json::Value) -> bool {
    count_texts(document.to_string().as_bytes()) != count_texts(bytes)
}

/// Counts the JSON strings in `bytes`, names included.
fn count_texts(bytes: &[u8]) -> usize {
    let (mut marks, mut is_escaped) = (0, false);
    for byte in bytes {
        marks += usize::from(*byte == b'"' && !is_escaped);
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    marks / 2
}

/// Reads a list of objects of limited length; `None` for `null`, which Go's encoders write for an empty list.
fn short_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Short<T>> = Option::deserialize(deserializer)?;
    Ok(list.map(|Short(list)| list))
}

struct Short<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedEntries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedEntries<T> {
            type Value = Short<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Short<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(StrictObject(entry)) = entries.next_element()? {
                    if list.len() == LIST_MAX {
                        let long = format_args!("a list has more than {LIST_MAX} entries");
                        return Err(serde::de::Error::custom(long));
                    }
                    list.push(entry);
                }
                Ok(Short(list))
            }
        }
        deserializer.deserialize_seq(BoundedEntries(PhantomData))
    }
}

fn maybe_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    let object: Option<StrictObject<T>> = Option::deserialize(deserializer)?;
    Ok(object.map(|StrictObject(one)| one))
}

/// Reads `null` as empty: Go's encoders write it for an empty list or map.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_a_parsed_document_lacks_are_noticed() {
        for (text, is_lost) in [
            (r#"{"a":"x\"y","b":["\u0061",1.50,null]}"#, false),
            (r#"{"a":1,"a":2}"#, true),
            (r#"{"a":{"b":"x","\u0062":"x"}}"#, true),
            (r#"{"a":{"$serde_json::private::RawValue":"null"}}"#, true),
        ] {
            let document = serde_json::from_str(text).unwrap();
            assert_eq!(
                has_lost_texts(text.as_bytes(), &document),
                is_lost,
                "{text}"
            );
        }
    }

    #[test]
    fn manifest_that_is_two_things_is_refused() {
        let bytes = br#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#
            .to_vec();
        let error = Manifest::parse(bytes, MediaType::OciIndex).unwrap_err();
        assert!(
            matches!(error, ManifestError::Disagreement { .. }),
            "{error}"
        );
    }

    #[test]
    fn manifest_that_could_be_either_is_refused() {
        let descriptor = r#"{"mediaType":"a","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
        let text = format!(r#"{{"config":{descriptor},"layers":[],"manifests":[]}}"#);
        for served in [MediaType::OciIndex, MediaType::OciManifest] {
            assert!(Manifest::parse(text.clone().into_bytes(), served).is_err());
        }
    }

    #[test]
    fn endless_list_is_refused() {
        let entry = r#"{"mediaType":"a","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;
        let read = |count| {
            let text = format!(r#"{{"manifests":[{}]}}"#, vec![entry; count].join(","));
            Manifest::parse(text.into_bytes(), MediaType::OciIndex)
        };
        assert!(read(LIST_MAX).is_ok());
        assert!(read(LIST_MAX + 1).is_err());
    }

    #[test]
    fn endless_annotations_are_refused() {
        let read = |count: usize| {
            let annotations: Vec<String> = (0..count).map(|n| format!(r#""{n}":"\\""#)).collect();
            let text = format!(
                r#"{{"manifests":[],"annotations":{{{}}}}}"#,
                annotations.join(",")
            );
            Manifest::parse(text.into_bytes(), MediaType::OciIndex)
        };
        // The document itself has two names.
        assert!(read(TEXTS_MAX / 2 - 1).is_ok());
        assert!(read(TEXTS_MAX / 2).is_err());
    }

    #[test]
    fn null_lists_are_empty() {
        let bytes = br#"{"manifests":null,"annotations":null}"#.to_vec();
        let manifest = Manifest::parse(bytes, MediaType::OciIndex).unwrap();
        assert!(
            matches!(manifest.kind(), ManifestKind::Index { manifests, .. } if manifests.is_empty())
        );
    }

    #[test]
    fn image_without_config_is_malformed() {
        let error = Manifest::parse(b"{}".to_vec(), MediaType::OciManifest).unwrap_err();
        assert!(matches!(error, ManifestError::Malformed { .. }), "{error}");
    }
}
