//! Parses a list of referrers. Each entry is read by itself, so that an unreadable one hides no other. Only the needed
//! parts are kept, however long the list is.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::RegistryErrorKind;
use super::error_response::printable;
use crate::domain::{
    Descriptor, Digest, MediaType, PREDICATE_TYPE, SIGN_PREDICATE, StrictObject, other_predicate,
};

/// The most entries that are read of one list of referrers.
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
    /// The time of creation that its entry states.
    pub created: Option<Timestamp>,
}

/// The entries of a page or of a whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<T> {
    /// The readable entries, in their order. Writers append, so these are the last ones of a list that is too long.
    pub listed: Vec<T>,
    /// The number of unreadable entries.
    pub broken: usize,
    /// The number of entries beyond [`REFERRERS_MAX`], which are not in `listed`.
    pub omitted: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            broken: 0,
            omitted: 0,
        }
    }
}

impl<T> Entries<T> {
    /// Appends the entries of the next page.
    pub fn append(&mut self, page: Self) {
        self.listed.extend(page.listed);
        self.broken += page.broken;
        self.omitted += page.omitted;
    }
}

/// A type that can be read from an entry of a list.
pub trait Entry: Sized {
    /// True if a list without some of its entries is of no use.
    const NEEDS_ALL: bool = true;

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
    created: Option<Timestamp>,
}

impl Referrer {
    /// Reports whether this entry states nothing that a signature does not.
    #[must_use]
    pub fn may_be_signature(&self) -> bool {
        self.is_image && other_predicate(self.predicate.as_deref()).is_none()
    }
}

/// One signature among a part of the entries is enough.
impl Entry for Referrer {
    const NEEDS_ALL: bool = false;

    fn read(_: &str, fields: EntryFields, budget: &mut usize) -> Self {
        let mut predicate = fields.predicate;
        if let Some(other) = predicate.as_mut().filter(|text| *text != SIGN_PREDICATE) {
            match budget.checked_sub(other.len()) {
                Some(left) => *budget = left,
                None => *other = String::new(),
            }
        }
        Self {
            digest: fields.digest,
            is_image: fields.media_type.is_image(),
            predicate,
            created: fields.created,
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

/// Reads the entries of a list. `before` is the number of entries on earlier pages. Of a list that is too long the last
/// entries are kept; if all are needed, that is an error.
pub(super) fn read_list<T: Entry>(
    body: &[u8],
    before: usize,
) -> Result<Entries<T>, RegistryErrorKind> {
    let unusable =
        |error: serde_json::Error| RegistryErrorKind::NoList(printable(&error.to_string(), 300));
    let text = std::str::from_utf8(body)
        .map_err(|_| RegistryErrorKind::NoList("it is not UTF-8 text".to_owned()))?;
    let StrictObject(ListDocument(mut entries)) = serde_json::from_str(text).map_err(unusable)?;
    let room = REFERRERS_MAX.saturating_sub(before);
    let excess = entries.listed.len().saturating_sub(room);
    entries.listed.drain(..excess);
    entries.omitted += excess;
    if T::NEEDS_ALL {
        check_complete(&entries)?;
    }
    Ok(entries)
}

/// Checks that no entry was omitted.
pub(super) fn check_complete<T>(entries: &Entries<T>) -> Result<(), RegistryErrorKind> {
    match entries.omitted {
        0 => Ok(()),
        _ => Err(RegistryErrorKind::LongList(format!(
            "{REFERRERS_MAX} entries"
        ))),
    }
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
                let (mut listed, mut broken, mut omitted) = (VecDeque::new(), 0, 0);
                let mut budget = ANNOTATIONS_MAX_BYTES;
                while let Some(raw) = list.next_element::<&RawValue>()? {
                    let Some(fields) = fields(raw.get()).map_err(serde::de::Error::custom)? else {
                        broken += 1;
                        continue;
                    };
                    if listed.len() == REFERRERS_MAX {
                        listed.pop_front();
                        omitted += 1;
                    }
                    listed.push_back(T::read(raw.get(), fields, &mut budget));
                }
                Ok(EntryList(Entries {
                    listed: listed.into(),
                    broken,
                    omitted,
                }))
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
    let Annotations { predicate, created } = entry.annotations;
    Ok(Some(EntryFields {
        digest,
        media_type: MediaType::from(media_type.as_deref().unwrap_or_default()),
        size: entry.size.0,
        artifact_type: entry.artifact_type.text(),
        predicate,
        created,
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

/// The annotations with the predicate type and the time of creation.
#[derive(Default)]
struct Annotations {
    predicate: Option<String>,
    created: Option<Timestamp>,
}

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
        #[derive(Default, Deserialize)]
        struct Known {
            #[serde(default, rename = "dev.sigstore.bundle.predicateType")]
            predicate: Text,
            #[serde(default, rename = "org.opencontainers.image.created")]
            created: Text,
        }
        let raw = <&RawValue>::deserialize(deserializer)?;
        let known: Known = serde_json::from_str(raw.get()).unwrap_or_default();
        let created = known.created.text();
        Ok(Self {
            predicate: known.predicate.text(),
            created: created.and_then(|text| text.parse().ok()),
        })
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
    fn last_entries_of_a_long_list_are_kept_where_a_part_is_enough() {
        let mut entries = vec![entry("old", ""); REFERRERS_MAX];
        entries.extend([entry("new", ""), entry("newest", "")]);
        let newest = Digest::of(b"newest");
        for (before, kept) in [
            (0, REFERRERS_MAX),
            (REFERRERS_MAX - 2, 2),
            (REFERRERS_MAX, 0),
        ] {
            let read: Entries<Referrer> = read_list(&list(&entries), before).unwrap();
            assert_eq!(read.listed.len(), kept);
            assert_eq!(read.omitted, REFERRERS_MAX + 2 - kept);
            assert!(read.listed.last().is_none_or(|last| last.digest == newest));
        }
    }

    #[test]
    fn time_of_creation_is_read_if_it_is_one() {
        let created = |text: &str| {
            let rest = format!(r#","annotations":{{"org.opencontainers.image.created":{text}}}"#);
            let mut read: Entries<Referrer> = read_list(&list(&[entry("a", &rest)]), 0).unwrap();
            read.listed.remove(0).created
        };
        let second = created(r#""1970-01-01T01:00:01+01:00""#).unwrap();
        assert_eq!(second, Timestamp::from_second(1).unwrap());
        for none in [r#""yesterday""#, r#""""#, "7", "null"] {
            assert_eq!(created(none), None, "{none}");
        }
    }

    #[test]
    fn texts_of_many_predicate_types_take_little_memory() {
        let long = |number: usize| {
            let text = format!("{number}{}", "y".repeat(190));
            entry(
                &text,
                &format!(r#","annotations":{{"{PREDICATE_TYPE}":"{text}"}}"#),
            )
        };
        let body = list(&(0..5000).map(long).collect::<Vec<_>>());
        let read: Entries<Referrer> = read_list(&body, 0).unwrap();
        let texts = read
            .listed
            .iter()
            .filter_map(|entry| entry.predicate.as_ref());
        assert!(texts.map(String::len).sum::<usize>() <= ANNOTATIONS_MAX_BYTES);
        assert!(!read.listed.iter().any(Referrer::may_be_signature));
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
