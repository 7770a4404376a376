//! Finds content in a signature's document beside what verification has read. Anyone who stores a signature can add to
//! it, and verifiers ignore what they do not recognise.

use serde::Serialize;
use serde_json::Value;

use crate::domain::has_lost_texts;

/// Fields of a bundle that are omitted if they are empty; some writers write them nevertheless.
const OMITTED: [&[&str]; 6] = [
    &["verificationMaterial", "tlogEntries", "integratedTime"],
    &["verificationMaterial", "tlogEntries", "inclusionPromise"],
    &["verificationMaterial", "tlogEntries", "inclusionProof"],
    &[
        "verificationMaterial",
        "tlogEntries",
        "inclusionProof",
        "checkpoint",
    ],
    &[
        "verificationMaterial",
        "timestampVerificationData",
        "rfc3161Timestamps",
    ],
    &["dsseEnvelope", "signatures", "keyid"],
];

/// Returns the name of the first field of `document` that `known`, its parsed form, does not account for. `None` if
/// there is none.
pub(super) fn unsigned_content(document: &[u8], known: &impl Serialize) -> Option<String> {
    let read = || -> serde_json::Result<(Value, Value)> {
        Ok((
            serde_json::from_slice(document)?,
            serde_json::to_value(known)?,
        ))
    };
    match read() {
        Ok((value, _)) if has_lost_texts(document, &value) => Some("a repeated name".to_owned()),
        Ok((value, known)) => beside(&value, &known, &mut Vec::new()),
        Err(error) => Some(error.to_string()),
    }
}

fn beside<'a>(value: &'a Value, known: &Value, path: &mut Vec<&'a str>) -> Option<String> {
    match (value, known) {
        (Value::Object(fields), Value::Object(known)) => fields.iter().find_map(|(name, value)| {
            path.push(name);
            let found = match known.get(name) {
                Some(known) => beside(value, known, path),
                None if OMITTED.contains(&path.as_slice()) && is_empty(value) => None,
                None => Some(name.clone()),
            };
            path.pop();
            found
        }),
        (Value::Array(values), Value::Array(known)) if values.len() == known.len() => {
            let mut pairs = values.iter().zip(known);
            pairs.find_map(|(value, known)| beside(value, known, path))
        }
        // SPEC: Protocol Buffers, "ProtoJSON format": a 64-bit number may be written as either.
        (Value::Number(value), Value::String(known)) if value.to_string() == *known => None,
        (value, known) if value == known || is_empty(value) => None,
        _ => Some(path.last().copied().unwrap_or_default().to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sigstore_types::Bundle;

    use super::super::tests::fixture;
    use super::*;

    fn found(document: &Value, known: &Value) -> Option<String> {
        unsigned_content(&serde_json::to_vec(document).unwrap(), known)
    }

    #[test]
    fn what_was_read_and_what_is_empty_is_no_surplus() {
        let known = json!({
            "a": {"b": ["x"], "index": "7"}, "data": {}, "dsseEnvelope": {"signatures": [{}]},
        });
        for document in [
            known.clone(),
            json!({"a": {"b": ["x"], "index": 7}, "data": null}),
            json!({"a": {"b": ["x"]}}),
            json!({"dsseEnvelope": {"signatures": [{"keyid": ""}]}}),
        ] {
            assert_eq!(found(&document, &known), None, "{document}");
        }
    }

    #[test]
    fn bundles_of_all_tools_hold_nothing_else() {
        for name in [
            "cosign-rekor-v1",
            "cosign-rekor-v2",
            "cosign2-rekor-v1",
            "rekor-v1",
            "rekor-v2",
            "attestation",
        ] {
            let bytes = fixture(&format!("{name}.json"));
            let bundle = Bundle::from_json(std::str::from_utf8(&bytes).unwrap()).unwrap();
            assert_eq!(unsigned_content(&bytes, &bundle), None, "{name}");
        }
    }

    #[test]
    fn what_was_not_read_is_named() {
        let known = json!({"a": {"b": ["x"], "index": "7"}});
        for (document, name) in [
            (json!({"a": {"b": ["x"]}, "note": "mine"}), "note"),
            (json!({"note": null}), "note"),
            (json!({"a": {"b": ["x", "y"]}}), "b"),
            (json!({"a": {"b": ["y"]}}), "b"),
            (json!({"a": {"index": 8}}), "index"),
            (json!({"a": "text"}), "a"),
            (json!({"a": {"keyid": "mine"}}), "keyid"),
            (json!({"a": {"keyid": ""}}), "keyid"),
            (json!({"keyid": null}), "keyid"),
        ] {
            assert_eq!(
                found(&document, &known).as_deref(),
                Some(name),
                "{document}"
            );
        }
    }

    #[test]
    fn name_that_is_there_twice_is_a_surplus() {
        let known = json!({"a": {"b": "x"}});
        for document in [
            r#"{"a":"mine","a":{"b":"x"}}"#,
            r#"{"a":{"b":"mine","b":"x"}}"#,
            r#"{"a":{"b":1,"b":"x"}}"#,
            r#"{"a":{"b":"x"},"\u0061":{"b":"x"}}"#,
        ] {
            let found = unsigned_content(document.as_bytes(), &known);
            assert_eq!(found.as_deref(), Some("a repeated name"), "{document}");
        }
    }
}
