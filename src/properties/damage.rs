//! The damage done to documents.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// The length limit of a document.
const LENGTH_MAX: usize = 64 * 1024;

/// Punctuation and short words with a meaning in some grammar.
const TOKENS: &[&str] = &[
    "\"", "\\", "\\u0000", "\\ud800", "{", "}", "[", "]", ":", ",", "=", "@", "/", "..", "#", "<",
    ">", ";", "&a ", "*a", "- ", "\n", "\r\n", "\t", "\0", "\u{202e}", "ſ", "::", "##[", "`", "|",
    "%00", "%zz", "null", "true", "-1", "0", "1e999", "-0.0", "sha256:", "rel=next", "Bearer ",
    "<<: *a", "(?:", "{1000}", "\\pL", "0\u{80}",
];
/// Numbers at the limits of their types, and longer words.
const LONG_TOKENS: &[&str] = &[
    "18446744073709551616",
    "9223372036854775807",
    "99999999999999999999h",
    "!!binary ",
    "-----BEGIN CERTIFICATE-----\n",
];
/// Openings that are repeated for deep nesting.
const NESTS: &[&str] = &[
    "[",
    "{\"a\":",
    "- ",
    "(",
    "{",
    "[{\"manifests\":",
    "0\u{7f}",
    "&a [*a,",
    "\\",
    "'",
];

/// A damaged document.
#[derive(Clone)]
pub(super) struct JsonDocument(pub(super) Vec<u8>);

impl std::fmt::Debug for JsonDocument {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.get(..2000).unwrap_or(&self.0);
        write!(formatter, "{:?}", String::from_utf8_lossy(shown))
    }
}

/// Replaces a range of bytes, which begins at a place and has a length.
#[derive(Debug, Clone)]
struct ByteChange(Index, usize, Piece);

#[derive(Debug, Clone)]
enum Piece {
    New(Vec<u8>),
    /// The bytes of the range, this many times.
    Repeated(usize),
}

/// Replaces the value at the end of a path of positions.
#[derive(Debug, Clone)]
struct JsonChange(Vec<Index>, Strange);

#[derive(Debug, Clone)]
enum Strange {
    Removed,
    UpperCaseName,
    Other(Value),
    Nested(usize),
    Repeated(usize),
    Damaged(ByteChange),
}

/// Makes damaged copies of the seeds.
pub(super) fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = JsonDocument> {
    let bytes = vec(byte_change(seeds.clone()), 1..=5);
    let changes = (
        vec(json_change(), 0..=3),
        prop_oneof![Just(Vec::new()), bytes],
    );
    (select(seeds), changes).prop_map(|(mut document, (in_json, in_bytes))| {
        if let Ok(mut value) = serde_json::from_slice::<Value>(&document)
            && !in_json.is_empty()
        {
            for JsonChange(path, strange) in in_json {
                strange.put(&mut value, &path);
            }
            document = value.to_string().into_bytes();
        }
        for change in in_bytes {
            change.put(&mut document);
        }
        document.truncate(LENGTH_MAX);
        JsonDocument(document)
    })
}

fn byte_change(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = ByteChange> {
    let text = |text: &str| text.as_bytes().to_vec();
    let depth = prop_oneof![19 => 1..300_usize, 1 => Just(10_000)];
    let new = prop_oneof![
        2 => Just(Vec::new()),
        2 => vec(any::<u8>(), 1..8),
        3 => "[0-9A-Za-z]{1,3}".prop_map(String::into_bytes),
        2 => select(TOKENS).prop_map(text),
        1 => select(LONG_TOKENS).prop_map(text),
        1 => (select(NESTS), depth).prop_map(|(nest, depth)| nest.repeat(depth).into_bytes()),
        1 => (select(seeds), any::<Index>()).prop_map(|(mut seed, from)| seed.split_off(from.index(seed.len()))),
    ];
    let piece =
        prop_oneof![8 => new.prop_map(Piece::New), 1 => (1..200_usize).prop_map(Piece::Repeated)];
    let length = prop_oneof![3 => Just(0), 2 => Just(1), 3 => 2..=32_usize, 1 => Just(LENGTH_MAX)];
    (any::<Index>(), length, piece).prop_map(|(at, length, piece)| ByteChange(at, length, piece))
}

fn json_change() -> impl Strategy<Value = JsonChange> {
    let ugly = "\n::error::\u{0}\u{1b}[31m`|<img>\u{202e}";
    let other = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(""),
        json!(ugly),
        json!({}),
    ];
    let strange = prop_oneof![
        1 => Just(Strange::Removed),
        3 => Just(Strange::UpperCaseName),
        4 => select(other.to_vec()).prop_map(Strange::Other),
        1 => (1..3000_usize).prop_map(|length| Strange::Other("x".repeat(length).into())),
        1 => (1..400_usize).prop_map(Strange::Nested),
        1 => (0..60_usize).prop_map(Strange::Repeated),
        6 => byte_change(vec![b"x".to_vec()]).prop_map(Strange::Damaged),
    ];
    let path = prop_oneof![1 => vec(any::<Index>(), 0..4), 3 => vec(any::<Index>(), 12)];
    (path, strange).prop_map(|(path, strange)| JsonChange(path, strange))
}

impl ByteChange {
    fn put(&self, bytes: &mut Vec<u8>) {
        let Self(at, length, piece) = self;
        let at = at.index(bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        let piece = match piece {
            Piece::New(piece) => piece.clone(),
            Piece::Repeated(times) => bytes[at..end].repeat(*times),
        };
        bytes.splice(at..end, piece);
    }
}

impl Strange {
    fn put(&self, value: &mut Value, path: &[Index]) {
        match (value, path.split_first()) {
            (Value::Array(items), Some((step, path))) if !items.is_empty() => {
                let at = step.index(items.len());
                self.put(&mut items[at], path);
            }
            (Value::Object(fields), Some((step, path))) if !fields.is_empty() => {
                let name = fields
                    .keys()
                    .nth(step.index(fields.len()))
                    .cloned()
                    .unwrap();
                let field = &mut fields[&name];
                let is_last = path.is_empty() || !(field.is_object() || field.is_array());
                match self {
                    Self::Removed if is_last => drop(fields.remove(&name)),
                    Self::UpperCaseName if is_last => {
                        let value = field.take();
                        fields.remove(&name);
                        fields.insert(name.to_uppercase(), value);
                    }
                    Self::Removed
                    | Self::UpperCaseName
                    | Self::Other(_)
                    | Self::Nested(_)
                    | Self::Repeated(_)
                    | Self::Damaged(_) => self.put(field, path),
                }
            }
            (value, _) => *value = self.instead_of(value.take()),
        }
    }

    fn instead_of(&self, old: Value) -> Value {
        match self {
            Self::Removed | Self::UpperCaseName => Value::Null,
            Self::Other(value) => value.clone(),
            Self::Nested(depth) => (0..*depth).fold(old, |inner, _| Value::Array(vec![inner])),
            Self::Repeated(times) => Value::Array(vec![old; *times]),
            Self::Damaged(change) => {
                let mut bytes = old.as_str().unwrap_or_default().as_bytes().to_vec();
                change.put(&mut bytes);
                String::from_utf8_lossy(&bytes).into()
            }
        }
    }
}
