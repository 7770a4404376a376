//! Parses a list of referrers. Each entry is read by itself, so that an unreadable one hides no other. Only the needed
//! parts are kept, however long the list is.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::RegistryErrorKind;
use super::error_response::printable;
use crate::domain::{Descriptor, Digest, MediaType, PREDICATE_TYPE, StrictObject, other_predicate};

/// The most referrers of one digest that are read. Beyond that, the result is unknown.
pub const REFERRERS_MAX: usize = 10_000;
/// The most characters that are kept of a text in an entry.
const TEXT_MAX_CHARS: usize = 200;
/// The most bytes of annotations that are kept of one list.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// A referrer as listed: enough to read it, or to decide that it need not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// The digest of its manifest.
    pub digest: Digest,
    /// True if its media type is that of an image or artifact manifest.
    pub is_image: bool,
    /// The predicate type that its entry states.
    pub predicate: Option<String>,
}

/// The entries of a page or of a whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<T> {
    /// The readable entries, in their order.
    pub listed: Vec<T>,
    /// The number of unreadable entries.
    pub broken: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            broken: 0,
        }
    }
}

impl<T> Entries<T> {
    /// Returns a list of one entry.
    pub fn of(entry: T) -> Self {
        Self {
            listed: vec![entry],
            broken: 0,
        }
    }
}

/// A type that can be read from an entry of a list.
pub trait Entry: Sized {
    /// Reads the entry `raw`, from which `fields` was parsed. `budget` is the number of bytes left for annotations of this
    /// list.
    fn read(raw: &str, fields: EntryFields, budget: &mut usize) -> Self;
}

/// The parts of an entry that every reader needs.
#[derive(Debug)]
pub struct EntryFields {
    digest: Digest,
    media_type: MediaType,
    size: u64,
    artifact_type: Option<String>,
    predicate: Option<String>,
}

impl Referrer {
    /// Reports whether this entry is opened to look for a signature. A writer who states falsely that it is none hides
    /// only their own referrer.
    #[must_use]
    pub fn may_be_signature(&self) -> bool {
        self.is_image && other_predicate(self.predicate.as_deref()).is_none()
    }
}

impl Entry for Referrer {
    fn read(_: &str, fields: EntryFields, _: &mut usize) -> Self {
        Self {
            digest: fields.digest,
            is_image: fields.media_type.is_image(),
            predicate: fields.predicate,
        }
    }
}

impl Entry for Digest {
    fn read(_: &str, fields: EntryFields, _: &mut usize) -> Self {
        fields.digest
    }
}

/// Keeps the whole descriptor while there is room. After that, only the annotation with the predicate type is kept.
impl Entry for Descriptor {
    fn read(raw: &str, fields: EntryFields, budget: &mut usize) -> Self {
        if let Some(left) = budget.checked_sub(raw.len())
            && let Ok(whole) = serde_json::from_str(raw)
        {
            *budget = left;
            return whole;
        }
        let mut entry = Self::new(fields.media_type, fields.size, fields.digest);
        entry.artifact_type = fields.artifact_type;
        let predicate = fields
            .predicate
            .map(|text| (PREDICATE_TYPE.to_owned(), text));
        entry.annotations.extend(predicate);
        entry
    }
}

/// Reads the entries of a list. `before` is the number of entries on earlier pages.
pub(super) fn read_list<T: Entry>(
    body: &[u8],
    before: usize,
) -> Result<Entries<T>, RegistryErrorKind> {
    let unusable =
        |error: serde_json::Error| RegistryErrorKind::NoList(printable(&error.to_string(), 300));
    let text = std::str::from_utf8(body)
        .map_err(|_| RegistryErrorKind::NoList("it is not UTF-8 text".to_owned()))?;
    let StrictObject(ListDocument(entries)) = serde_json::from_str(text).map_err(unusable)?;
    let read = entries.listed.len() + entries.broken + before;
    if read > REFERRERS_MAX {
        return Err(RegistryErrorKind::LongList(format!(
            "{REFERRERS_MAX} entries"
        )));
    }
    Ok(entries)
}

/// The document with the list. SPEC: `manifests` is required. A registry written in Go sends `null` for an empty list;
/// a document without the field is something else.
struct ListDocument<T>(Entries<T>);

impl<'de, T: Entry> Deserialize<'de> for ListDocument<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentFields<T>(PhantomData<T>);
        impl<'de, T: Entry> Visitor<'de> for DocumentFields<T> {
            type Value = ListDocument<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an index")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list: Option<Option<EntryList<T>>> = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "manifests" {
                        if list.is_some() {
                            return Err(serde::de::Error::duplicate_field("manifests"));
                        }
                        list = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                let list = list.ok_or_else(|| serde::de::Error::missing_field("manifests"))?;
                Ok(ListDocument(
                    list.map(|EntryList(entries)| entries).unwrap_or_default(),
                ))
            }
        }
        deserializer.deserialize_map(DocumentFields(PhantomData))
    }
}

struct EntryList<T>(Entries<T>);

impl<'de, T: Entry> Deserialize<'de> for EntryList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);
        impl<'de, T: Entry> Visitor<'de> for Each<T> {
            type Value = EntryList<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<EntryList<T>, A::Error> {
                let (mut listed, mut broken) = (Vec::new(), 0);
                let mut budget = ANNOTATIONS_MAX_BYTES;
                while let Some(raw) = list.next_element::<&RawValue>()? {
                    // The rest of a list that is too long is counted, but not kept.
                    if listed.len() + broken > REFERRERS_MAX {
                        continue;
                    }
                    match fields(raw.get()).map_err(serde::de::Error::custom)? {
                        Some(fields) => listed.push(T::read(raw.get(), fields, &mut budget)),
                        None => broken += 1,
                    }
                }
                Ok(EntryList(Entries { listed, broken }))
            }
        }
        deserializer.deserialize_seq(Each(PhantomData))
    }
}

/// Reads the needed parts of an entry. Returns `None` for a digest that this program does not support, such as one of
/// another algorithm. Anything that is not an entry is an error, because the document is then not a list.
fn fields(raw: &str) -> Result<Option<EntryFields>, serde_json::Error> {
    let StrictObject(entry): StrictObject<RawEntry> = serde_json::from_str(raw)?;
    let Text::Text(digest) = &entry.digest else {
        return Err(serde::de::Error::missing_field("digest"));
    };
    let Ok(digest) = digest.parse() else {
        if digest.contains(':') {
            return Ok(None);
        }
        return Err(serde::de::Error::custom("an entry names no digest"));
    };
    let media_type = entry.media_type.text();
    let Annotations(predicate) = entry.annotations;
    Ok(Some(EntryFields {
        digest,
        media_type: MediaType::from(media_type.as_deref().unwrap_or_default()),
        size: entry.size.0,
        artifact_type: entry.artifact_type.text(),
        predicate,
    }))
}

/// An entry whose fields may have any type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    media_type: Text,
    #[serde(default)]
    size: Size,
    #[serde(default)]
    artifact_type: Text,
    #[serde(default)]
    annotations: Annotations,
}

/// The start of a text, if the value is one.
#[derive(Default)]
enum Text {
    #[default]
    Other,
    Text(String),
}

impl Text {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other => None,
        }
    }
}

/// A size, or 0 if the value is not one.
#[derive(Default)]
struct Size(u64);

/// The annotation with the predicate type.
#[derive(Default)]
struct Annotations(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text: Result<String, _> = serde_json::from_str(raw.get());
        Ok(text.map_or(Self::Other, |text| {
            Self::Text(text.chars().take(TEXT_MAX_CHARS).collect())
        }))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Known {
            #[serde(default, rename = "dev.sigstore.bundle.predicateType")]
            predicate: Text,
        }
        let raw = <&RawValue>::deserialize(deserializer)?;
        let known: Result<Known, _> = serde_json::from_str(raw.get());
        Ok(Self(known.ok().and_then(|known| known.predicate.text())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn list(entries: &[String]) -> Vec<u8> {
        format!(r#"{{"x":[1],"manifests":[{}]}}"#, entries.join(",")).into_bytes()
    }

    fn entry(seed: &str, rest: &str) -> String {
        let digest = Digest::of(seed.as_bytes());
        format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1{rest}}}"#)
    }

    #[test]
    fn entry_that_cannot_be_read_hides_no_other() {
        let sha512 = r#"{"mediaType":"a/b","digest":"sha512:00","size":1}"#;
        let odd = entry(
            "odd",
            r#","annotations":[1],"artifactType":7,"urls":{},"platform":"x""#,
        );
        let body = list(&[sha512.to_owned(), odd, entry("good", "")]);
        let read: Entries<Digest> = read_list(&body, 0).unwrap();
        assert_eq!(read.listed, [Digest::of(b"odd"), Digest::of(b"good")]);
        assert_eq!(read.broken, 1);
        let whole: Entries<Descriptor> = read_list(&body, 0).unwrap();
        assert_eq!(whole.listed.len(), 2);
    }

    #[test]
    fn document_that_is_no_list_is_an_error() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"manifests":[1]}"#,
            r#"{"manifests":[{}]}"#,
            r#"{"manifests":[{"digest":"x"}]}"#,
            r#"{"manifests":[],"manifests":null}"#,
            r#"{"manifests":{}}"#,
            r#"{"manifests":[],"Manifests":[]}"#,
            "{\"manifests\":[],\"manifest\u{17f}\":[]}",
            r#"{"manifests":[],"MediaType":"a/b"}"#,
        ] {
            assert!(read_list::<Digest>(body.as_bytes(), 0).is_err(), "{body}");
        }
        for name in ["Digest", "Size", "MEDIATYPE", "ArtifactType", "Annotations"] {
            let body = list(&[entry("a", &format!(r#","{name}":1"#))]);
            assert!(read_list::<Digest>(&body, 0).is_err(), "{name}");
        }
        let none: Entries<Digest> = read_list(br#"{"manifests":null}"#, 0).unwrap();
        assert_eq!((none.listed.len(), none.broken), (0, 0));
    }

    #[test]
    fn entries_are_counted_over_all_pages() {
        let body = list(&vec![entry("a", ""); 10]);
        assert!(read_list::<Digest>(&body, REFERRERS_MAX - 10).is_ok());
        assert!(read_list::<Digest>(&body, REFERRERS_MAX - 9).is_err());
        let body = list(&vec![entry("a", ""); REFERRERS_MAX + 1]);
        assert!(read_list::<Digest>(&body, 0).is_err());
    }

    #[test]
    fn statement_is_told_by_its_annotation() {
        let said = |annotations: &str| {
            let rest = format!(r#","annotations":{annotations}"#);
            let body = list(&[entry("a", &rest)]);
            let mut read: Entries<Referrer> = read_list(&body, 0).unwrap();
            read.listed.remove(0).predicate
        };
        let of = |text: &str| format!(r#"{{"a":"b","{PREDICATE_TYPE}":{text}}}"#);
        assert_eq!(said(&of(r#""x""#)).as_deref(), Some("x"));
        let long = format!("\"{}\"", "y".repeat(100_000));
        assert_eq!(said(&of(&long)).map(|text| text.len()), Some(200));
        for none in [of("7"), "{}".to_owned(), "null".to_owned(), "[]".to_owned()] {
            assert_eq!(said(&none), None, "{none}");
        }
    }

    #[test]
    fn long_annotations_are_dropped_and_the_entry_stays() {
        let long = format!(
            r#","annotations":{{"a":"{}","{PREDICATE_TYPE}":"p"}}"#,
            "x".repeat(ANNOTATIONS_MAX_BYTES)
        );
        let short = r#","annotations":{"a":"b"},"artifactType":"t""#;
        let body = list(&[entry("long", &long), entry("short", short)]);
        let read: Entries<Descriptor> = read_list(&body, 0).unwrap();
        let [long, short] = read.listed.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!(long.annotations[PREDICATE_TYPE], "p");
        assert_eq!((long.annotations.len(), long.size), (1, 1));
        assert_eq!(short.annotations["a"], "b");
        assert_eq!(short.artifact_type.as_deref(), Some("t"));
    }
}
