//! Reads a bundle as strictly as cosign does. Its reader follows the JSON form of Protocol Buffers: an unknown field, a
//! doubled one, or a value of another type makes the whole bundle unreadable. A bundle that others cannot read is no
//! signature, whatever a more tolerant reader finds in it.
//!
//! Source: Protocol Buffers, "`ProtoJSON` format"; Go, `google.golang.org/protobuf/encoding/protojson`;
//! `sigstore/protobuf-specs`, `sigstore_bundle.proto`, `sigstore_rekor.proto`, `sigstore_common.proto`, `envelope.proto`.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::refusal::Cause;

/// The length of a name that is printed.
const NAME_MAX_CHARS: usize = 200;

/// The type of a field.
#[derive(Clone, Copy)]
enum FieldKind {
    /// A text, or bytes in base64. The text is parsed later.
    Text,
    /// A number of 64 bits, written as a number or a text.
    Integer,
    /// The name or the number of a constant.
    Constant,
    Message(&'static [Field]),
    Texts,
    Messages(&'static [Field]),
}

/// A field: its name in JSON, its name in the definition, its type, and its group if only one of a group may be set.
struct Field(&'static str, &'static str, FieldKind, Option<&'static str>);

const fn field(name: &'static str, other: &'static str, kind: FieldKind) -> Field {
    Field(name, other, kind, None)
}

const BUNDLE: &[Field] = &[
    field("mediaType", "media_type", FieldKind::Text),
    field(
        "verificationMaterial",
        "verification_material",
        FieldKind::Message(MATERIAL),
    ),
    Field(
        "messageSignature",
        "message_signature",
        FieldKind::Message(MESSAGE_SIGNATURE),
        Some("content"),
    ),
    Field(
        "dsseEnvelope",
        "dsse_envelope",
        FieldKind::Message(ENVELOPE),
        Some("content"),
    ),
];
const MATERIAL: &[Field] = &[
    Field(
        "publicKey",
        "public_key",
        FieldKind::Message(&[field("hint", "hint", FieldKind::Text)]),
        Some("content"),
    ),
    Field(
        "x509CertificateChain",
        "x509_certificate_chain",
        FieldKind::Message(&[field(
            "certificates",
            "certificates",
            FieldKind::Messages(CERTIFICATE),
        )]),
        Some("content"),
    ),
    Field(
        "certificate",
        "certificate",
        FieldKind::Message(CERTIFICATE),
        Some("content"),
    ),
    field(
        "tlogEntries",
        "tlog_entries",
        FieldKind::Messages(LOG_ENTRY),
    ),
    field(
        "timestampVerificationData",
        "timestamp_verification_data",
        FieldKind::Message(&[field(
            "rfc3161Timestamps",
            "rfc3161_timestamps",
            FieldKind::Messages(&[field(
                "signedTimestamp",
                "signed_timestamp",
                FieldKind::Text,
            )]),
        )]),
    ),
];
const CERTIFICATE: &[Field] = &[field("rawBytes", "raw_bytes", FieldKind::Text)];
const LOG_ENTRY: &[Field] = &[
    field("logIndex", "log_index", FieldKind::Integer),
    field(
        "logId",
        "log_id",
        FieldKind::Message(&[field("keyId", "key_id", FieldKind::Text)]),
    ),
    field(
        "kindVersion",
        "kind_version",
        FieldKind::Message(&[
            field("kind", "kind", FieldKind::Text),
            field("version", "version", FieldKind::Text),
        ]),
    ),
    field("integratedTime", "integrated_time", FieldKind::Integer),
    field(
        "inclusionPromise",
        "inclusion_promise",
        FieldKind::Message(&[field(
            "signedEntryTimestamp",
            "signed_entry_timestamp",
            FieldKind::Text,
        )]),
    ),
    field(
        "inclusionProof",
        "inclusion_proof",
        FieldKind::Message(&[
            field("logIndex", "log_index", FieldKind::Integer),
            field("rootHash", "root_hash", FieldKind::Text),
            field("treeSize", "tree_size", FieldKind::Integer),
            field("hashes", "hashes", FieldKind::Texts),
            field(
                "checkpoint",
                "checkpoint",
                FieldKind::Message(&[field("envelope", "envelope", FieldKind::Text)]),
            ),
        ]),
    ),
    field("canonicalizedBody", "canonicalized_body", FieldKind::Text),
];
const MESSAGE_SIGNATURE: &[Field] = &[
    field(
        "messageDigest",
        "message_digest",
        FieldKind::Message(&[
            field("algorithm", "algorithm", FieldKind::Constant),
            field("digest", "digest", FieldKind::Text),
        ]),
    ),
    field("signature", "signature", FieldKind::Text),
];
const ENVELOPE: &[Field] = &[
    field("payload", "payload", FieldKind::Text),
    // The definition has this name too.
    field("payloadType", "payloadType", FieldKind::Text),
    field(
        "signatures",
        "signatures",
        FieldKind::Messages(&[
            field("sig", "sig", FieldKind::Text),
            field("keyid", "keyid", FieldKind::Text),
        ]),
    ),
];

/// The reason why a document is not a bundle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotABundle {
    #[error("it contains `{0}`, which a Sigstore bundle does not have")]
    Unknown(String),
    #[error("it contains `{0}` twice")]
    Twice(&'static str),
    #[error("it contains `{0}` together with a field that excludes it")]
    Beside(&'static str),
    #[error("its `{0}` does not have the type that a Sigstore bundle requires")]
    OtherType(&'static str),
}

/// Reads a bundle, and returns it with the usual names and without unset fields.
pub(super) fn read_bundle(text: &str) -> Result<Value, Cause> {
    let document: Json = serde_json::from_str(text)?;
    Ok(message(document, BUNDLE, "bundle")?)
}

fn message(
    document: Json,
    known: &'static [Field],
    within: &'static str,
) -> Result<Value, NotABundle> {
    let Json::Object(fields) = document else {
        return Err(NotABundle::OtherType(within));
    };
    let (mut read, mut seen, mut groups) = (Map::new(), Vec::new(), Vec::new());
    for (name, value) in fields {
        let is_it = |field: &&Field| [field.0, field.1].contains(&name.as_str());
        let Some(Field(name, _, kind, group)) = known.iter().find(is_it) else {
            let visible = name.chars().filter(|letter| !letter.is_control());
            return Err(NotABundle::Unknown(visible.take(NAME_MAX_CHARS).collect()));
        };
        if seen.contains(name) {
            return Err(NotABundle::Twice(name));
        }
        seen.push(name);
        // SPEC: `null` leaves a field unset.
        if matches!(value, Json::Null) {
            continue;
        }
        if let Some(group) = group {
            if groups.contains(group) {
                return Err(NotABundle::Beside(name));
            }
            groups.push(group);
        }
        read.insert((*name).to_owned(), typed(value, *kind, name)?);
    }
    Ok(Value::Object(read))
}

fn typed(value: Json, kind: FieldKind, name: &'static str) -> Result<Value, NotABundle> {
    match (kind, value) {
        (FieldKind::Text | FieldKind::Constant, Json::Text(text)) => Ok(Value::String(text)),
        (FieldKind::Constant, Json::Number(number)) => Ok(Value::Number(number)),
        (FieldKind::Integer, Json::Number(number)) if number.is_i64() => Ok(Value::Number(number)),
        (FieldKind::Integer, Json::Text(text)) if is_integer(&text) => Ok(Value::String(text)),
        (FieldKind::Message(known), value) => message(value, known, name),
        (FieldKind::Texts, Json::List(values)) => {
            let values = values.into_iter();
            let values: Result<_, _> = values
                .map(|one| typed(one, FieldKind::Text, name))
                .collect();
            values.map(Value::Array)
        }
        (FieldKind::Messages(known), Json::List(values)) => {
            let values = values.into_iter();
            let values: Result<_, _> = values.map(|one| message(one, known, name)).collect();
            values.map(Value::Array)
        }
        (
            FieldKind::Text
            | FieldKind::Constant
            | FieldKind::Integer
            | FieldKind::Texts
            | FieldKind::Messages(_),
            Json::Null
            | Json::Other
            | Json::Number(_)
            | Json::Text(_)
            | Json::List(_)
            | Json::Object(_),
        ) => Err(NotABundle::OtherType(name)),
    }
}

/// True if a text is a number as JSON writes it: `+1` and `01` are none.
fn is_integer(text: &str) -> bool {
    text.parse()
        .is_ok_and(|number: i64| number.to_string() == text)
}

/// A JSON value that keeps every field, even one with the name of another.
enum Json {
    Null,
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// A truth value, which no field has.
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Json, E> {
                Ok(Json::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture;
    use super::super::verify::read;
    use super::*;

    const FIXTURES: [&str; 9] = [
        "attestation",
        "cosign-rekor-v1",
        "cosign-rekor-v2",
        "cosign2-rekor-v1",
        "message-signature",
        "rekor-v1",
        "rekor-v1-other",
        "rekor-v2",
        "rekor-v2-other",
    ];

    fn text(name: &str) -> String {
        String::from_utf8(fixture(&format!("{name}.json"))).unwrap()
    }

    /// Adds `field` in front of the fields of every object of the bundle, one after the other.
    fn with(field: &str) -> Vec<String> {
        let bundle = text("cosign-rekor-v1");
        let objects = bundle.match_indices('{');
        objects
            .map(|(place, _)| format!("{}{field},{}", &bundle[..=place], &bundle[place + 1..]))
            .collect()
    }

    #[test]
    fn bundles_of_all_tools_are_read() {
        for name in FIXTURES {
            assert!(read_bundle(&text(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn other_names_and_white_space_are_read_alike() {
        for name in FIXTURES {
            let bundle = text(name);
            let usual = read(bundle.as_bytes()).unwrap();
            let names = [
                "mediaType",
                "verificationMaterial",
                "tlogEntries",
                "logIndex",
                "logId",
                "keyId",
                "rawBytes",
                "inclusionProof",
                "canonicalizedBody",
                "treeSize",
            ];
            let snake = names.iter().fold(bundle.clone(), |text, name| {
                let other: String = name.chars().fold(String::new(), |mut text, letter| {
                    if letter.is_uppercase() {
                        text.push('_');
                    }
                    text.extend(letter.to_lowercase());
                    text
                });
                text.replace(&format!("\"{name}\""), &format!("\"{other}\""))
            });
            assert_ne!(snake, bundle);
            assert_eq!(read(snake.as_bytes()).unwrap(), usual, "{name}");
            let value: Value = serde_json::from_str(&bundle).unwrap();
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(read(spaced.as_bytes()).unwrap(), usual, "{name}");
        }
    }

    #[test]
    fn unknown_field_is_refused_in_every_object() {
        for value in ["1", "null", "\"mine\"", "{}", "[]"] {
            for bundle in with(&format!("\"note\":{value}")) {
                let error = read_bundle(&bundle).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "it contains `note`, which a Sigstore bundle does not have"
                );
            }
        }
    }

    #[test]
    fn doubled_field_is_refused() {
        let bundle = text("cosign-rekor-v1");
        let value = read_bundle(&bundle).unwrap();
        let material = value["verificationMaterial"].to_string();
        for (name, twice) in [
            ("mediaType", r#""mediaType":null,"#.to_owned()),
            ("mediaType", r#""media_type":"a/b","#.to_owned()),
            (
                "verificationMaterial",
                format!("\"verificationMaterial\":{material},"),
            ),
        ] {
            let bundle = format!("{{{twice}{}", &bundle.trim_start()[1..]);
            let error = read_bundle(&bundle).unwrap_err();
            assert_eq!(error.to_string(), format!("it contains `{name}` twice"));
        }
    }

    #[test]
    fn value_of_another_type_is_refused() {
        let bundle = read_bundle(&text("cosign-rekor-v1")).unwrap();
        let entry = "/verificationMaterial/tlogEntries/0";
        for (place, value) in [
            ("/verificationMaterial/timestampVerificationData", "[]"),
            ("/verificationMaterial/tlogEntries", "[null]"),
            ("/verificationMaterial/tlogEntries", "{}"),
            ("/verificationMaterial/certificate", "[]"),
            ("/dsseEnvelope/signatures/0/keyid", "7"),
            (&format!("{entry}/logIndex"), "\"+1\""),
            (&format!("{entry}/logIndex"), "\"01\""),
            (&format!("{entry}/logIndex"), "1.0"),
            (&format!("{entry}/inclusionProof/hashes"), "[null]"),
        ] {
            let mut changed = bundle.clone();
            let (within, name) = place.rsplit_once('/').unwrap();
            changed.pointer_mut(within).unwrap()[name] = serde_json::from_str(value).unwrap();
            let error = read_bundle(&changed.to_string()).unwrap_err();
            assert!(error.to_string().contains(name), "{place} {error}");
        }
    }

    #[test]
    fn two_of_which_a_bundle_has_one_are_refused() {
        for (place, name, value) in [
            ("", "messageSignature", "{}"),
            ("/verificationMaterial", "publicKey", "{}"),
            ("/verificationMaterial", "x509CertificateChain", "{}"),
        ] {
            let mut bundle = read_bundle(&text("cosign-rekor-v1")).unwrap();
            let within = bundle.pointer_mut(place).unwrap();
            within[name] = serde_json::from_str(value).unwrap();
            let error = read_bundle(&bundle.to_string()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
